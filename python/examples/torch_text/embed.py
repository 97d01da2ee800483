"""Text embeddings with torch, on the worker's GPU where it has one.

A worker imports this module once, so the model is loaded once for each worker and stays on its device. Fettle sets
``CUDA_VISIBLE_DEVICES`` for each worker to the GPUs that are its own, so ``cuda`` is the right one without further choice.
"""

from __future__ import annotations

import zlib
from typing import Any

import torch

DIMENSIONS = 256
BUCKETS = 1 << 16
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load_model() -> torch.nn.EmbeddingBag:
    """A mean of random projections of trigrams: no weights to fetch. Load your own model here."""
    torch.manual_seed(0)
    return torch.nn.EmbeddingBag(BUCKETS, DIMENSIONS, mode="mean").eval().to(DEVICE)


MODEL = load_model()
print(f"the model is on {DEVICE}")


def trigrams(text: str) -> list[int]:
    """The buckets of a text's trigrams; at least one."""
    data = text.encode()
    return [zlib.crc32(data[at : at + 3]) % BUCKETS for at in range(max(1, len(data) - 2))]


@torch.inference_mode()
def run(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A vector for each row, computed together."""
    bags = [trigrams(row["text"]) for row in rows]
    starts = [0]
    for bag in bags[:-1]:
        starts.append(starts[-1] + len(bag))
    tokens = torch.tensor([token for bag in bags for token in bag], device=DEVICE)
    vectors = MODEL(tokens, torch.tensor(starts, device=DEVICE))
    vectors = torch.nn.functional.normalize(vectors).cpu().tolist()
    return [{"device": DEVICE.type, "vectors": {"torch_text_v1_embedding": vector}} for vector in vectors]

"""The same rows through Fettle on a Ray cluster, through plain Ray tasks and through Ray Data, in one run on the same cluster.

    cargo build && python3 -m venv .venv-ray-bench && .venv-ray-bench/bin/pip install -r benches/requirements-ray.txt
    scripts/with-ray .venv-ray-bench .venv-ray-bench/bin/python benches/ray_overhead.py

Each way begins with nothing but the files and the cluster: a batch is submitted, or a job over Ray's own Jobs interface, and
the clock stops when it is told that it is over. The plain jobs read and embed the same texts with lexical vectors of the same
length and write JSON lines; Fettle keeps documents, vectors and outcomes durably. Prints one JSON object a line.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import throughput

DASHBOARD = "http://127.0.0.1:8265"
ROWS_AT_ONCE = 64
DIMENSIONS = 384

# What a user would write without Fettle.
PLAIN = """
import hashlib, json, math, os, re, sys
from pathlib import Path
import ray

how, work, files, out = sys.argv[1], sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4])

def lexical(text):
    vector = [0.0] * DIMENSIONS
    for word in re.findall(r"[a-z0-9]+", text.lower()):
        place = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")
        vector[place % DIMENSIONS] += 1.0 if place >> 63 else -1.0
    length = math.sqrt(sum(value * value for value in vector)) or 1.0
    return [value / length for value in vector]

def one(path):
    text = Path(path).read_text()
    row = {"path": str(path), "text": text, "size": len(text)}
    if work == "text":
        row["vector"] = lexical(text)
    return row

def keep(rows, name):
    with open(out / f"{name}.jsonl", "w") as file:
        for row in rows:
            file.write(json.dumps(row) + "\\n")
        file.flush()
        os.fsync(file.fileno())
    return len(rows)

ray.init(address="auto", log_to_driver=False)
paths = sorted(str(path) for path in files.iterdir())
if how == "tasks":
    @ray.remote
    def some(paths):
        return keep([one(path) for path in paths], Path(paths[0]).stem)
    done = sum(ray.get([some.remote(paths[at : at + AT_ONCE]) for at in range(0, len(paths), AT_ONCE)]))
else:
    import ray.data
    def some(batch):
        done = keep([one(path) for path in batch["item"]], Path(batch["item"][0]).stem)
        return {"done": [done]}
    done = sum(row["done"] for row in ray.data.from_items(paths).map_batches(some, batch_size=AT_ONCE).take_all())
assert done == len(paths), done
"""


def plain(how: str, work: str, files: Path, folder: Path) -> float:
    """Seconds of a job that does the work with Ray alone."""
    from ray.job_submission import JobSubmissionClient

    out = Path(tempfile.mkdtemp(dir=folder))
    script = out / "plain.py"
    script.write_text(f"DIMENSIONS, AT_ONCE = {DIMENSIONS}, {ROWS_AT_ONCE}\n{PLAIN}")
    client = JobSubmissionClient(DASHBOARD)
    started = time.monotonic()
    job = client.submit_job(entrypoint=f"exec python {script} {how} {work} {files} {out}")
    while not (status := client.get_job_status(job)).is_terminal():
        time.sleep(0.05)
    elapsed = time.monotonic() - started
    if status.name != "SUCCEEDED":
        raise RuntimeError(client.get_job_logs(job)[-4000:])
    return elapsed


def fettle(server: throughput.Server, work: str, files: list[Path], run: int) -> float:
    """Seconds of a batch."""
    extractor = {"passthrough": "passthrough_extractor", "text": "text_extractor"}[work]
    parameters: dict[str, Any] = {"embedding": "lexical"} if work == "text" else {}
    batch = throughput.draft(server, files, f"{work}-{run}", extractor, parameters)
    started = time.monotonic()
    server.call("POST", f"{batch}/submit", {"resources": {"0": {"num_cpus": 2}}})
    while (state := server.call("GET", batch))["status"] not in throughput.TERMINAL:
        time.sleep(0.05)
    elapsed = time.monotonic() - started
    if state["status"] != "COMPLETED":
        raise RuntimeError(json.dumps(state, indent=2)[:4000])
    return elapsed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--binary", type=Path, default=Path("target/debug/fettle"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "files").mkdir()
        files = [folder / "files" / f"{number:06}.txt" for number in range(options.rows)]
        for number, file in enumerate(files):
            file.write_text(f"File {number} speaks of rivers, apples and the number {number}.\n" * 5)
        # The cluster is told by the environment of `scripts/with-ray`.
        server = throughput.Server(options.binary, folder)
        try:
            for work in ("passthrough", "text"):
                times: dict[str, list[float]] = {"fettle": [], "tasks": [], "data": []}
                # Taken in turns, so that whatever else the machine does befalls all alike.
                for run in range(options.runs):
                    times["fettle"].append(fettle(server, work, files, run))
                    times["tasks"].append(plain("tasks", work, folder / "files", folder))
                    times["data"].append(plain("data", work, folder / "files", folder))
                    shown = {way: round(seconds[-1], 2) for way, seconds in times.items()}
                    print(json.dumps({"work": work, "rows": len(files), "seconds": shown}), flush=True)
                best = {way: min(seconds) for way, seconds in times.items()}
                ratios = {f"ratio_to_{way}": round(best["fettle"] / best[way], 2) for way in ("tasks", "data")}
                print(json.dumps({"what": "best of each", "work": work, **ratios}), flush=True)
        finally:
            server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Rows per second through a real `fettle serve`, beside Dask Bag on the same files in the same run.

    cargo build && .venv/bin/pip install 'dask[bag]==2026.8.0' && .venv/bin/python benches/throughput.py --rows 20000

Prints one JSON object a line: submit to first worker, rows per second with 1 and 2 workers, memory of the server.
Dask reads and parses the same files into JSON lines without keeping any state, so its figure is an upper bound for
what files and Python allow; the ratio tells what durable outcomes, an index and evidence cost.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from datetime import datetime
from pathlib import Path
from typing import Any

KEY = "fk_bench_0123456789abcdefghijklmnopqrst"
TERMINAL = {"COMPLETED", "COMPLETED_WITH_ERRORS", "FAILED", "CANCELED"}


class Server:
    """A `fettle serve` of our own."""

    def __init__(self, binary: Path, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.base = f"http://127.0.0.1:{port}"
        log = (folder / "serve.log").open("w")
        self.process = subprocess.Popen(
            [binary, "serve", "--data-dir", folder / "data", "--listen", f"127.0.0.1:{port}", "--allow-file-root", folder],
            env={**os.environ, "FETTLE_API_KEY": KEY},
            stdout=log,
            stderr=log,
        )
        for _ in range(300):
            try:
                self.call("GET", "/v1/health/liveness")
                return
            except OSError:
                time.sleep(0.1)
        raise RuntimeError("the server does not answer")

    def call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data=data, method=method)
        request.add_header("Authorization", f"Bearer {KEY}")
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)

    def rss_mib(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) / 1024

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


def seconds(earlier: str, later: str) -> float:
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()


def objects_of(server: Server, bucket: str, files: list[Path]) -> list[str]:
    ids: list[str] = []
    for start in range(0, len(files), 100):
        objects = [
            {"blobs": [{"property": "file", "type": "text", "data": f"file://{file}"}]} for file in files[start : start + 100]
        ]
        answer = server.call("POST", f"/v1/buckets/{bucket}/objects/batch", {"objects": objects})
        ids += [item["object_id"] for item in answer["succeeded"]]
    return ids


def draft(server: Server, files: list[Path], name: str, extractor: str, parameters: dict[str, Any]) -> str:
    """The path of a batch of the files, in a bucket and a collection of its own, that is not submitted yet."""
    schema = {"properties": {"file": {"type": "text"}}}
    bucket = server.call("POST", "/v1/buckets", {"bucket_name": name, "bucket_schema": schema})["bucket_id"]
    collection = {
        "collection_name": name,
        "source": {"type": "bucket", "bucket_ids": [bucket]},
        "feature_extractor": {"feature_extractor_name": extractor, "version": "v1", "parameters": parameters},
    }
    server.call("POST", "/v1/collections", collection)
    ids = objects_of(server, bucket, files)
    batch = server.call("POST", f"/v1/buckets/{bucket}/batches", {"object_ids": ids})["batch_id"]
    return f"/v1/buckets/{bucket}/batches/{batch}"


def run(server: Server, files: list[Path], extractor: str, parameters: dict[str, Any], workers: int) -> dict[str, Any]:
    batch = draft(server, files, f"{extractor}-{workers}", extractor, parameters)
    submitted = time.monotonic()
    server.call("POST", f"{batch}/submit", {"resources": {"0": {"num_cpus": workers}}})
    first_worker = None
    peak = 0.0
    while True:
        state = server.call("GET", batch)
        peak = max(peak, server.rss_mib())
        tier = state["tier_tasks"][0]
        if first_worker is None and tier.get("ray_job_status") == "RUNNING":
            first_worker = time.monotonic() - submitted
        if state["status"] in TERMINAL:
            break
        time.sleep(0.05)
    if state["status"] != "COMPLETED":
        raise RuntimeError(json.dumps(state, indent=2)[:4000])
    elapsed = seconds(tier["ray_job_started_at"], tier["ray_job_completed_at"])
    return {
        "what": "fettle",
        "extractor": extractor,
        "workers": workers,
        "rows": len(files),
        "rows_per_second": round(len(files) / elapsed),
        "submit_to_running_seconds": first_worker and round(first_worker, 2),
        "serve_rss_peak_mib": round(peak),
    }


def dask(files: list[Path], folder: Path, workers: int) -> float:
    """Rows per second of Dask Bag that reads, parses and writes JSON lines."""
    import dask.bag

    started = time.monotonic()
    bag = dask.bag.from_sequence([str(file) for file in files], npartitions=workers * 8)
    rows = bag.map(read_row).map(json.dumps)
    rows.to_textfiles(str(folder / "dask-*.jsonl"), compute_kwargs={"scheduler": "processes", "num_workers": workers})
    return len(files) / (time.monotonic() - started)


def read_row(path: str) -> dict[str, Any]:
    text = Path(path).read_text()
    return {"path": path, "text": text, "words": len(text.split())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--binary", type=Path, default=Path("target/debug/fettle"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        files = []
        (folder / "files").mkdir()
        for number in range(options.rows):
            file = folder / "files" / f"{number:06}.txt"
            file.write_text(f"File {number} speaks of rivers, apples and the number {number}.\n" * 5)
            files.append(file)
        server = Server(options.binary, folder)
        try:
            time.sleep(2)
            print(json.dumps({"what": "idle", "serve_rss_mib": round(server.rss_mib())}), flush=True)
            peer = {workers: dask(files, folder, workers) for workers in (1, 2)}
            for extractor, parameters in (("passthrough_extractor", {}), ("text_extractor", {"embedding": "lexical"})):
                for workers in (1, 2):
                    result = run(server, files, extractor, parameters, workers)
                    result["ratio_to_dask"] = round(result["rows_per_second"] / peer[workers], 3)
                    print(json.dumps(result), flush=True)
            for workers, rate in peer.items():
                print(json.dumps({"what": "dask", "workers": workers, "rows_per_second": round(rate)}), flush=True)
        finally:
            server.stop()


if __name__ == "__main__":
    sys.exit(main())

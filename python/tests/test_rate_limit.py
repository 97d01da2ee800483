"""Limits on the requests of a key."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import requests
from conftest import KEY, Server, binary, free_port, wait_until_ready

# At this rate the key may make one request and gets no second one while the test runs.
REQUESTS_PER_SECOND = "0.01"


def test_a_key_that_asks_too_often_is_told_when_to_come_back(tmp_path: Path) -> None:
    port = free_port()
    arguments = ["serve", "--listen", f"127.0.0.1:{port}", "--data-dir", str(tmp_path / "data")]
    log = tmp_path / "serve.log"
    environment = {**os.environ, "FETTLE_API_KEY": KEY, "NO_COLOR": "1", "FETTLE_RATE_LIMIT": REQUESTS_PER_SECOND}
    with log.open("wb") as out:
        process = subprocess.Popen([str(binary()), *arguments], stdout=out, stderr=out, env=environment)
    server = Server(f"http://127.0.0.1:{port}", KEY, tmp_path, process, log)
    try:
        wait_until_ready(server)
        headers = {"Authorization": f"Bearer {KEY}"}
        answers = [requests.get(f"{server.base}/buckets", headers=headers, timeout=30) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 429, 429]
        refused = answers[-1]
        assert 0 < int(refused.headers["Retry-After"]) <= 100
        error = refused.json()["error"]
        assert error["type"] == "TooManyRequestsError"
        assert error["details"]["retryable"] is True
        assert refused.headers["x-request-id"]
        assert requests.get(f"{server.base}/health", timeout=30).status_code == 200
    finally:
        process.terminate()
        process.wait(timeout=30)

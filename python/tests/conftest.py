"""Starts the real binary and speaks to it as a user does."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests

ROOT = Path(__file__).resolve().parents[2]
KEY = "fk_python_tests_0123456789abcdef"
# A server opens its stores within seconds; a debug build on a busy machine takes longer.
START_SECONDS = 60.0
# A batch of a few rows ends within seconds.
BATCH_SECONDS = 120.0
OVER = {"COMPLETED", "COMPLETED_WITH_ERRORS", "FAILED", "CANCELED"}


def binary() -> Path:
    """The binary under test; `make test` builds it first."""
    path = Path(os.environ.get("FETTLE_BIN", ROOT / "target" / "debug" / "fettle"))
    assert path.is_file(), f"{path} is missing; build it with `make build` or name it with FETTLE_BIN"
    return path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Server:
    """A running `fettle serve`."""

    url: str
    key: str
    files: Path
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def base(self) -> str:
        return f"{self.url}/v1"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("files"), free_port()) as running:
        yield running


@contextlib.contextmanager
def serving(data: Path, files: Path, port: int, *more: str) -> Iterator[Server]:
    """A server that answers, until it is not needed."""
    running = start_server(data, files, port, *more)
    try:
        wait_until_ready(running)
        yield running
    finally:
        stop_server(running)


def start_server(data: Path, files: Path, port: int, *more: str) -> Server:
    log = data / "serve.log"
    arguments = ["serve", "--listen", f"127.0.0.1:{port}", "--data-dir", str(data / "fettle")]
    arguments += ["--allow-file-root", str(files), "--allow-webhook-host", "127.0.0.1", *more]
    environment = {**os.environ, "FETTLE_API_KEY": KEY, "NO_COLOR": "1"}
    environment.pop("FETTLE_URL", None)
    with log.open("ab") as out:
        process = subprocess.Popen([str(binary()), *arguments], stdout=out, stderr=out, env=environment)
    return Server(f"http://127.0.0.1:{port}", KEY, files, process, log)


def stop_server(running: Server) -> None:
    running.process.send_signal(signal.SIGTERM)
    try:
        running.process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        running.process.kill()
        raise


def wait_until_ready(server: Server) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        code = server.process.poll()
        assert code is None, f"serve ended with {code}:\n{server.log.read_text(errors='replace')[-4000:]}"
        try:
            if requests.get(f"{server.base}/health", timeout=2).status_code == 200:
                return
        except (requests.ConnectionError, requests.Timeout):
            pass
        time.sleep(0.1)
    pytest.fail(f"serve did not answer:\n{server.log.read_text(errors='replace')[-4000:]}")


@dataclass
class Api:
    """A tenant's view of the server."""

    server: Server
    namespace: str
    key: str = KEY
    headers: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.headers = {"Authorization": f"Bearer {self.key}", "X-Namespace": self.namespace}

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        options.setdefault("timeout", 30)
        return requests.request(method, f"{self.server.base}{path}", headers=self.headers, **options)

    def ok(self, method: str, path: str, **options: Any) -> Any:
        answer = self.call(method, path, **options)
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json()

    def refused(self, status: int, method: str, path: str, **options: Any) -> dict[str, Any]:
        """The error of a call that must be refused; its envelope is checked."""
        answer = self.call(method, path, **options)
        assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text}"
        envelope = answer.json()
        assert envelope["success"] is False
        assert envelope["status"] == status
        error: dict[str, Any] = envelope["error"]
        assert set(error) >= {"type", "message", "details"}
        assert error["message"]
        return error

    def bucket(self, properties: dict[str, Any]) -> str:
        body = {"bucket_name": unique("bucket"), "bucket_schema": {"properties": properties}}
        return str(self.ok("POST", "/buckets", json=body)["bucket_id"])

    def collection(self, bucket: str, extractor: str, mappings: dict[str, str], parameters: dict[str, Any] | None = None) -> str:
        body = {
            "collection_name": unique("collection"),
            "source": {"type": "bucket", "bucket_ids": [bucket]},
            "feature_extractor": {
                "feature_extractor_name": extractor,
                "version": "v1",
                "input_mappings": mappings,
                "parameters": parameters or {},
            },
        }
        return str(self.ok("POST", "/collections", json=body)["collection_id"])

    def objects(self, bucket: str, objects: list[dict[str, Any]]) -> list[str]:
        answer = self.ok("POST", f"/buckets/{bucket}/objects/batch", json={"objects": objects})
        assert answer["failed_count"] == 0, answer["failed"]
        return [made["object_id"] for made in answer["succeeded"]]

    def batch(self, bucket: str, objects: list[str]) -> str:
        answer = self.ok("POST", f"/buckets/{bucket}/batches", json={"object_ids": objects})
        return str(answer["batch_id"])

    def submit(self, bucket: str, batch: str, **body: Any) -> None:
        self.ok("POST", f"/buckets/{bucket}/batches/{batch}/submit", json=body)

    def wait(self, bucket: str, batch: str) -> dict[str, Any]:
        """The batch once it has ended."""
        deadline = time.monotonic() + BATCH_SECONDS
        while time.monotonic() < deadline:
            model: dict[str, Any] = self.ok("GET", f"/buckets/{bucket}/batches/{batch}")
            if model["status"] in OVER:
                return model
            time.sleep(0.1)
        pytest.fail(f"{batch} did not end: {model}")


@dataclass
class Ended:
    """A batch that has ended, with what it was made of."""

    bucket: str
    batch: str
    collection: str
    model: dict[str, Any]


def unique(name: str) -> str:
    return f"{name}-{uuid.uuid4().hex[:12]}"


def make_api(server: Server) -> Api:
    namespace = unique("tests")
    headers = {"Authorization": f"Bearer {KEY}"}
    answer = requests.post(f"{server.base}/namespaces", headers=headers, json={"namespace_name": namespace}, timeout=30)
    assert answer.ok, answer.text
    return Api(server, answer.json()["namespace_id"])


@pytest.fixture(scope="session")
def api(server: Server) -> Api:
    return make_api(server)


@pytest.fixture(scope="session")
def other(server: Server) -> Api:
    """Another namespace of the same server."""
    return make_api(server)


def run_texts(api: Api) -> Ended:
    """Three texts through the text extractor with lexical vectors."""
    bucket = api.bucket({"body": {"type": "text"}})
    collection = api.collection(bucket, "text_extractor", {"text": "body"}, {"embedding": "lexical"})
    texts = ["the cat sat on the mat", "a dog in the fog", "rain over the plain"]
    blobs = [{"blobs": [{"property": "body", "type": "text", "data": text}]} for text in texts]
    batch = api.batch(bucket, api.objects(bucket, blobs))
    api.submit(bucket, batch)
    return Ended(bucket, batch, collection, api.wait(bucket, batch))


@pytest.fixture(scope="session")
def completed(api: Api) -> Ended:
    return run_texts(api)


def run_with_a_gone_file(api: Api) -> Ended:
    """One file that can be read and one that is gone before the batch runs."""
    bucket = api.bucket({"file": {"type": "text"}})
    collection = api.collection(bucket, "universal_extractor", {"file": "file"})
    files = api.server.files
    (files / "there.txt").write_text("I am here")
    gone = files / "gone.txt"
    gone.write_text("I will be gone")
    addresses = [f"file://{files}/there.txt", f"file://{gone}"]
    blobs = [{"blobs": [{"property": "file", "type": "text", "data": address}]} for address in addresses]
    objects = api.objects(bucket, blobs)
    gone.unlink()
    batch = api.batch(bucket, objects)
    api.submit(bucket, batch)
    return Ended(bucket, batch, collection, api.wait(bucket, batch))


@pytest.fixture(scope="session")
def with_errors(api: Api) -> Ended:
    return run_with_a_gone_file(api)


def run_out_of_memory(api: Api) -> Ended:
    """A tier that gets less memory than the sentence model needs."""
    if not os.environ.get("FETTLE_MODEL_DIR"):
        pytest.skip("FETTLE_MODEL_DIR names no sentence model; `make test` fetches it")
    bucket = api.bucket({"body": {"type": "text"}})
    collection = api.collection(bucket, "text_extractor", {"text": "body"}, {"embedding": "minilm"})
    blob = {"property": "body", "type": "text", "data": "a text that needs a model"}
    batch = api.batch(bucket, api.objects(bucket, [{"blobs": [blob]}]))
    api.submit(bucket, batch, resources={"0": {"memory_bytes": 96 << 20}})
    return Ended(bucket, batch, collection, api.wait(bucket, batch))


@pytest.fixture(scope="session")
def out_of_memory(api: Api) -> Ended:
    return run_out_of_memory(api)

"""The entrypoint of an attempt on a node, up to where it becomes the driver."""

from __future__ import annotations

import io
import json
import os
import stat
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from engine.pipelines import entrypoint

SPEC = {"attempt_id": "job_1-a1", "resources": {"num_cpus": 1.5}}


class Serve(ThreadingHTTPServer):
    """Answers with what it is told, one after the other; the last answer stays."""

    answers: list[tuple[int, str]]
    tokens: list[str | None]


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Serve)
        assert self.path.startswith("/v1/internal/attempts/job_1-a1/")
        self.server.tokens.append(self.headers["Authorization"])
        answers = self.server.answers
        status, body = answers.pop(0) if len(answers) > 1 else answers[0]
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def serve() -> Iterator[Serve]:
    server = Serve(("127.0.0.1", 0), Handler)
    server.answers, server.tokens = [], []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def fetch(serve: Serve, wait_seconds: float = 30) -> bytes:
    door = entrypoint.Serve(f"http://127.0.0.1:{serve.server_port}", "job_1-a1", "secret", wait_seconds)
    return door.fetch("spec")


def test_a_serve_that_is_away_is_waited_for(serve: Serve) -> None:
    serve.answers = [(503, "starting"), (200, json.dumps(SPEC))]
    assert json.loads(fetch(serve)) == SPEC
    assert serve.tokens == ["Bearer secret"] * 2


def test_an_attempt_that_no_longer_counts_is_not_begun(serve: Serve) -> None:
    for status in (404, 409, 410):
        serve.answers = [(status, "gone")]
        with pytest.raises(entrypoint.SupersededError):
            fetch(serve)


def test_a_refusal_is_told_at_once_and_silence_after_a_while(serve: Serve) -> None:
    serve.answers = [(401, "not the token")]
    with pytest.raises(entrypoint.UnreachableError, match="401: not the token"):
        fetch(serve)
    serve.answers = [(500, "broken")]
    with pytest.raises(entrypoint.UnreachableError, match="500: broken"):
        fetch(serve, wait_seconds=0.1)


def test_the_folder_is_private_and_worker_logs_lie_among_rays(tmp_path: Path) -> None:
    package = tmp_path / "session" / "runtime_resources" / "working_dir_files" / "_ray_pkg_1"
    package.mkdir(parents=True)
    logs = tmp_path / "session" / "logs"
    logs.mkdir()
    session = entrypoint.session_dir(package)
    assert session == tmp_path / "session"
    # Twice, as when Ray starts the job again.
    entrypoint.prepare(SPEC, "secret", session, "job_1-a1", range(2))
    spec = entrypoint.prepare(SPEC, "secret", session, "job_1-a1", range(2))
    assert json.loads(spec.read_text()) == SPEC
    folder = spec.parent
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "token").stat().st_mode) == 0o600
    links = sorted(path.name for path in folder.iterdir() if path.is_symlink())
    assert links == ["worker-0.err", "worker-1.err"]
    assert os.readlink(folder / "worker-1.err") == str(logs / "fettle-job_1-a1-worker-1.err")
    assert "secret" not in "".join(path.read_text() for path in logs.iterdir())


def archive() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        program = zipfile.ZipInfo("words")
        program.external_attr = 0o755 << 16
        file.writestr(program, "#!/bin/sh\n")
    return content.getvalue()


def test_what_is_not_on_the_node_is_fetched_once(tmp_path: Path) -> None:
    fetched: list[str] = []

    class Door(entrypoint.Serve):
        def fetch(self, path: str) -> bytes:
            fetched.append(path)
            return archive() if path.startswith("blobs/plugins/") else path.encode()

    door = Door("http://10.0.0.1:8420", "job_1-a1", "secret")
    source = {"kind": "plugin", "directory": "/not/here/plugins/abc", "archive_hash": "abc"}
    elsewhere = {
        "blob_base": "file:///not/here/blobs",
        "manifest": {"key": "manifests/m.parquet"},
        "model_dir": "/not/here/model",
    }
    for _ in range(2):
        spec = {**elsewhere, "extractor_source": dict(source)}
        entrypoint.localize(spec, door, tmp_path)
    assert spec["blob_base"] == "http://10.0.0.1:8420/v1/internal/attempts/job_1-a1/blobs"
    assert (Path(str(spec["model_dir"])) / "tokenizer.json").read_bytes() == b"model/tokenizer.json"
    program = Path(spec["extractor_source"]["directory"]) / "words"  # type: ignore[index]
    assert os.access(program, os.X_OK)
    assert len(fetched) == 4


def test_what_is_shared_with_serve_is_left_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "blobs" / "manifests").mkdir(parents=True)
    (tmp_path / "blobs" / "manifests" / "m.parquet").touch()
    base = (tmp_path / "blobs").as_uri()
    shared = {"blob_base": base, "manifest": {"key": "manifests/m.parquet"}, "model_dir": str(tmp_path)}
    door = entrypoint.Serve("http://10.0.0.1:8420", "job_1-a1", "secret")
    spec = dict(shared)
    entrypoint.localize(spec, door, tmp_path)
    assert spec == shared
    spec["blob_base"] = "s3://bucket/prefix"
    entrypoint.localize(spec, door, tmp_path)
    assert spec["blob_base"] == "s3://bucket/prefix"

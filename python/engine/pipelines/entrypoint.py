"""The entrypoint of an attempt on a Ray node.

It fetches the attempt's spec from `fettle serve`, and the model and the plugin where the node has none, makes the attempt's
folder in the node's session, and becomes the driver: from there on it is the same `fettle job` as on a single machine. It needs
Python's standard library alone. The attempt's token comes in the environment and goes to a file that only its owner may read;
what the driver starts does not inherit it.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import shutil
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

# `fettle serve` may be restarted or updated meanwhile; a node that cannot reach it at all must not wait for ever.
WAIT_SECONDS = 300.0
# A model has some hundred megabytes.
TIMEOUT_SECONDS = 120.0
LONGEST_WAIT_SECONDS = 5.0
# The exit codes of drivers: stopped on request, and something that the driver needs is gone.
CANCELLED = 90
DRIVER_FAILED = 93
TOKEN_ENV = "FETTLE_ATTEMPT_TOKEN"
MARKER_ENV = "FETTLE_ATTEMPT_ID"


class SupersededError(Exception):
    """`fettle serve` says that the attempt no longer counts."""


class UnreachableError(Exception):
    """`fettle serve` did not answer in time, or refuses."""


class Serve:
    """The attempt's door at `fettle serve`."""

    def __init__(self, control_url: str, attempt: str, token: str, wait_seconds: float = WAIT_SECONDS) -> None:
        self.url = f"{control_url}/v1/internal/attempts/{attempt}"
        self.headers = {"Authorization": f"Bearer {token}"}
        self.wait_seconds = wait_seconds
        # The cluster and `serve` see each other directly.
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def fetch(self, path: str) -> bytes:
        """What is at `path`; waits for a `fettle serve` that is away."""
        url = f"{self.url}/{path}"
        request = urllib.request.Request(url, headers=self.headers)
        deadline = time.monotonic() + self.wait_seconds
        wait = 0.2
        while True:
            try:
                with self.opener.open(request, timeout=TIMEOUT_SECONDS) as answer:
                    content: bytes = answer.read()
                    return content
            except urllib.error.HTTPError as error:
                text = error.read(2000).decode(errors="replace")
                if error.code in (404, 409, 410):
                    raise SupersededError(text) from error
                if error.code < 500 and error.code not in (408, 429):
                    raise UnreachableError(f"{url} answered {error.code}: {text}") from error
                said = f"{error.code}: {text}"
            except OSError as error:
                said = str(error)
            if time.monotonic() + wait > deadline:
                raise UnreachableError(f"nothing from {url} within {self.wait_seconds:.0f} s: {said}")
            time.sleep(wait)
            wait = min(wait * 2, LONGEST_WAIT_SECONDS)


def localize(spec: dict[str, Any], serve: Serve, session: Path) -> None:
    """Brings what lies in `fettle serve`'s own folders to this node, where they are not shared with it."""
    base = urllib.parse.urlparse(spec["blob_base"])
    manifest = Path(urllib.parse.unquote(base.path)) / spec["manifest"]["key"]
    if base.scheme == "file" and not manifest.is_file():
        spec["blob_base"] = f"{serve.url}/blobs"
    model = spec.get("model_dir")
    if model and not Path(model).is_dir():
        name = hashlib.sha256(model.encode()).hexdigest()[:16]
        spec["model_dir"] = str(unpacked(session / "fettle" / f"model-{name}", lambda folder: fetch_model(serve, folder)))
    source = spec.get("extractor_source", {})
    if source.get("kind") == "plugin" and not Path(source["directory"]).is_dir():
        name = source["archive_hash"]
        source["directory"] = str(
            unpacked(session / "fettle" / f"plugin-{name}", lambda folder: fetch_plugin(serve, name, folder))
        )


def fetch_model(serve: Serve, folder: Path) -> None:
    """The files of the sentence model."""
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (folder / name).write_bytes(serve.fetch(f"model/{name}"))


def fetch_plugin(serve: Serve, archive_hash: str, folder: Path) -> None:
    """The plugin's archive, unpacked with its right to execute."""
    with zipfile.ZipFile(io.BytesIO(serve.fetch(f"blobs/plugins/{archive_hash}.zip"))) as archive:
        for member in archive.infolist():
            path = Path(archive.extract(member, folder))
            if path.is_file():
                path.chmod(0o644 | (member.external_attr >> 16) & 0o111)


def unpacked(folder: Path, fill: Callable[[Path], None]) -> Path:
    """The folder, filled once for all attempts of this node."""
    if folder.is_dir():
        return folder
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=folder.parent))
    fill(unfinished)
    try:
        unfinished.rename(folder)
    except OSError:
        # Another attempt was quicker.
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def session_dir(package_dir: Path) -> Path:
    """The node's Ray session: packages are unpacked three folders below it."""
    session = package_dir.resolve().parents[2]
    return session if (session / "logs").is_dir() else package_dir


def write_private(path: Path, text: str) -> None:
    """Writes a file for its owner alone."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)


def link_logs(folder: Path, session: Path, attempt: str, workers: Iterable[int]) -> None:
    """Lets the workers' logs lie among the session's, where Ray shows them and keeps them."""
    for worker in workers:
        name = folder / f"worker-{worker}.err"
        if not name.is_symlink() and not name.exists():
            name.symlink_to(session / "logs" / f"fettle-{attempt}-worker-{worker}.err")


def prepare(spec: dict[str, Any], token: str, session: Path, name: str, workers: Iterable[int]) -> Path:
    """Makes the folder `name` for the attempt; its `spec.json`."""
    folder = session / "fettle" / name
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    link_logs(folder, session, str(spec["attempt_id"]), workers)
    write_private(folder / "token", token)
    path = folder / "spec.json"
    write_private(path, json.dumps(spec))
    return path


def main() -> int:
    """Becomes the driver; returns only when that is not to be."""
    parser = argparse.ArgumentParser(description="Becomes the driver of an attempt.")
    parser.add_argument("--attempt", required=True)
    parser.add_argument("--control-url", required=True)
    parser.add_argument("--workers-max", type=int, default=0)
    arguments = parser.parse_args()
    token = os.environ.pop(TOKEN_ENV, "")
    package = Path.cwd()
    session = session_dir(package)
    serve = Serve(arguments.control_url.rstrip("/"), arguments.attempt, token)
    try:
        spec = json.loads(serve.fetch("spec"))
        localize(spec, serve, session)
    except SupersededError as error:
        print(f"the attempt no longer counts: {error}", file=sys.stderr)
        return CANCELLED
    except UnreachableError as error:
        print(f"the driver cannot begin: {error}", file=sys.stderr)
        return DRIVER_FAILED
    workers = max(1, -int(-float(spec["resources"]["num_cpus"]) // 1))
    path = prepare(spec, token, session, arguments.attempt, range(workers))
    os.environ[MARKER_ENV] = arguments.attempt
    program = package / "fettle"
    # Ray unpacks packages without the right to execute.
    program.chmod(0o755)
    os.chdir(path.parent)
    sys.stdout.flush()
    command = [str(program), "job", "--spec", str(path), "--last-word-to-stdout"]
    if arguments.workers_max > workers:
        command += ["--broker", sys.executable, str(package), "--workers-max", str(arguments.workers_max)]
    os.execv(program, command)


if __name__ == "__main__":
    sys.exit(main())

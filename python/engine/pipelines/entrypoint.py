"""The entrypoint of an attempt on a Ray node.

It fetches the attempt's spec from `fettle serve`, makes the attempt's folder in the node's session, and becomes the driver: from
there on it is the same `fettle job` as on a single machine. It needs Python's standard library alone. The attempt's token comes
in the environment and goes to a file that only its owner may read; what the driver starts does not inherit it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

# `fettle serve` may be restarted or updated meanwhile; a node that cannot reach it at all must not wait for ever.
SPEC_WAIT_SECONDS = 300.0
SPEC_TIMEOUT_SECONDS = 10.0
LONGEST_WAIT_SECONDS = 5.0
# The exit codes of drivers: stopped on request, and something that the driver needs is gone.
CANCELLED = 90
DRIVER_FAILED = 93
TOKEN_ENV = "FETTLE_ATTEMPT_TOKEN"
MARKER_ENV = "FETTLE_ATTEMPT_ID"


class SupersededError(Exception):
    """`fettle serve` says that the attempt no longer counts."""


class UnreachableError(Exception):
    """`fettle serve` did not give the spec in time, or refuses it."""


def fetch_spec(control_url: str, attempt: str, token: str, wait_seconds: float = SPEC_WAIT_SECONDS) -> dict[str, Any]:
    """The attempt's spec; waits for a `fettle serve` that is away."""
    url = f"{control_url}/v1/internal/attempts/{attempt}/spec"
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    # The cluster and `serve` see each other directly.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + wait_seconds
    wait = 0.2
    while True:
        try:
            with opener.open(request, timeout=SPEC_TIMEOUT_SECONDS) as answer:
                spec: dict[str, Any] = json.load(answer)
                return spec
        except urllib.error.HTTPError as error:
            text = error.read(2000).decode(errors="replace")
            if error.code in (404, 409, 410):
                raise SupersededError(text) from error
            if error.code < 500 and error.code not in (408, 429):
                raise UnreachableError(f"{url} answered {error.code}: {text}") from error
            said = f"{error.code}: {text}"
        except (OSError, ValueError) as error:
            said = str(error)
        if time.monotonic() + wait > deadline:
            raise UnreachableError(f"no spec from {url} within {wait_seconds:.0f} s: {said}")
        time.sleep(wait)
        wait = min(wait * 2, LONGEST_WAIT_SECONDS)


def session_dir(package_dir: Path) -> Path:
    """The node's Ray session: packages are unpacked three folders below it."""
    session = package_dir.resolve().parents[2]
    return session if (session / "logs").is_dir() else package_dir


def write_private(path: Path, text: str) -> None:
    """Writes a file for its owner alone."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)


def link_logs(folder: Path, session: Path, attempt: str, workers: int) -> None:
    """Lets the workers' logs lie among the session's, where Ray shows them and keeps them."""
    for worker in range(workers):
        name = folder / f"worker-{worker}.err"
        if not name.is_symlink() and not name.exists():
            name.symlink_to(session / "logs" / f"fettle-{attempt}-worker-{worker}.err")


def prepare(spec: dict[str, Any], token: str, session: Path) -> Path:
    """Makes the attempt's folder; its `spec.json`."""
    attempt = str(spec["attempt_id"])
    folder = session / "fettle" / attempt
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    workers = max(1, -int(-float(spec["resources"]["num_cpus"]) // 1))
    link_logs(folder, session, attempt, workers)
    write_private(folder / "token", token)
    path = folder / "spec.json"
    write_private(path, json.dumps(spec))
    return path


def main() -> int:
    """Becomes the driver; returns only when that is not to be."""
    parser = argparse.ArgumentParser(description="Becomes the driver of an attempt.")
    parser.add_argument("--attempt", required=True)
    parser.add_argument("--control-url", required=True)
    arguments = parser.parse_args()
    token = os.environ.pop(TOKEN_ENV, "")
    package = Path.cwd()
    try:
        spec = fetch_spec(arguments.control_url, arguments.attempt, token)
    except SupersededError as error:
        print(f"the attempt no longer counts: {error}", file=sys.stderr)
        return CANCELLED
    except UnreachableError as error:
        print(f"the driver cannot begin: {error}", file=sys.stderr)
        return DRIVER_FAILED
    path = prepare(spec, token, session_dir(package))
    os.environ[MARKER_ENV] = arguments.attempt
    program = package / "fettle"
    # Ray unpacks packages without the right to execute.
    program.chmod(0o755)
    os.chdir(path.parent)
    sys.stdout.flush()
    os.execv(program, [str(program), "job", "--spec", str(path), "--last-word-to-stdout"])


if __name__ == "__main__":
    sys.exit(main())

"""A host of an attempt on a Ray node: an actor that carries lines to and from the `fettle host` below it.

The actor holds what its place takes of the node (cores, memory, GPUs), and its death tells how the place was lost. What is done
there, `fettle host` does, as the attempt's driver tells it.
"""

from __future__ import annotations

import collections
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from engine.pipelines import entrypoint

# Lines that are handed over at once at most; a line has some hundred bytes.
LINES_MAX = 1000
# What is read and not yet fetched; beyond this `fettle host` waits.
BACKLOG_MAX = 10_000


class Host:
    """One place on this node."""

    def __init__(self, attempt: str, control_url: str, worker: int) -> None:
        self.attempt = attempt
        self.control_url = control_url
        self.worker = worker
        self.process: subprocess.Popen[bytes] | None = None
        self.lines: collections.deque[str] = collections.deque()
        self.changed = threading.Condition()
        self.is_over = False

    def start(self) -> None:
        """Brings what the attempt needs to this node, and starts `fettle host`."""
        token = os.environ.pop(entrypoint.TOKEN_ENV, "")
        package = Path(entrypoint.__file__).resolve().parents[2]
        session = entrypoint.session_dir(package)
        serve = entrypoint.Serve(self.control_url, self.attempt, token)
        spec: dict[str, Any] = json.loads(serve.fetch("spec"))
        entrypoint.localize(spec, serve, session)
        path = entrypoint.prepare(spec, token, session, f"{self.attempt}-host-{self.worker}", [self.worker])
        program = package / "fettle"
        # Ray unpacks packages without the right to execute.
        program.chmod(0o755)
        command = [str(program), "host", "--spec", str(path), "--worker", str(self.worker)]
        environment = {**os.environ, entrypoint.MARKER_ENV: self.attempt}
        with (session / "logs" / f"fettle-{self.attempt}-host-{self.worker}.err").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, cwd=path.parent, env=environment
            )
        threading.Thread(target=self.collect, daemon=True).start()

    def collect(self) -> None:
        """Takes in what `fettle host` says until it ends."""
        assert self.process is not None
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self.changed:
                self.changed.wait_for(lambda: len(self.lines) < BACKLOG_MAX)
                self.lines.append(line.decode(errors="replace").rstrip("\n"))
                self.changed.notify_all()
        self.process.wait()
        with self.changed:
            self.is_over = True
            self.changed.notify_all()

    def read(self) -> list[str] | None:
        """What was said since; waits for something. None when `fettle host` has ended and all is told."""
        with self.changed:
            self.changed.wait_for(lambda: self.lines or self.is_over)
            if not self.lines:
                return None
            some = [self.lines.popleft() for _ in range(min(len(self.lines), LINES_MAX))]
            self.changed.notify_all()
            return some

    def write(self, lines: list[str]) -> None:
        """Passes lines on."""
        assert self.process is not None
        assert self.process.stdin is not None
        try:
            self.process.stdin.write("".join(line + "\n" for line in lines).encode())
            self.process.stdin.flush()
        except OSError as error:
            # That it has ended is told by `read`.
            print(f"fettle host takes no lines: {error}", file=sys.stderr)

    def stop(self) -> int | None:
        """Ends `fettle host`, which leaves nothing behind; its exit status."""
        if self.process is None:
            return None
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait()

"""A real Ray cluster of two nodes on this host, in a network namespace with only a loopback interface.

Ray listens on every address that it finds, whatever it is told. In the namespace there is none but loopback, so nothing of it
can be reached from outside, and whatever is left at the end is known by its namespace.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
import requests
from conftest import ROOT

CLONE_NEWNET = 0x40000000
SIOCSIFFLAGS = 0x8914
IFF_UP_AND_RUNNING = 0x41
T = TypeVar("T")
DASHBOARD = "http://127.0.0.1:8265"
HEAD = "127.0.0.2"
NODE = "127.0.0.3"
PORT = 6390
# A head takes seven seconds on an idle machine with two cores.
START_SECONDS = 300.0
# Nodes are found dead within seconds instead of a quarter of a minute, and may be slow to start on a busy machine.
SETTINGS = {
    "RAY_raylet_start_wait_time_s": "120",
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "3000",
    "RAY_health_check_failure_threshold": "8",
}


def ray_binary() -> Path:
    """The `ray` of the environment that `make test` installs."""
    return Path(os.environ.get("FETTLE_RAY_VENV", ROOT / ".venv-ray")) / "bin" / "ray"


def release() -> tuple[int, int]:
    """Ray's release there, such as 2.60."""
    told = subprocess.run([ray_binary(), "--version"], capture_output=True, text=True, timeout=120, check=True).stdout
    major, minor = told.split()[-1].split(".")[:2]
    return int(major), int(minor)


def reason_to_skip() -> str | None:
    """Why no cluster can be started here."""
    if not ray_binary().is_file():
        return f"{ray_binary()} is missing; `make test` installs Ray"
    if os.geteuid() != 0:
        return "a network namespace needs root, and outside of one Ray would listen on every address of this machine"
    return None


def libc_call(name: str, *arguments: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{name}: {os.strerror(error)}")


@contextlib.contextmanager
def only_loopback() -> Iterator[None]:
    """This thread, and what it starts, in a network namespace of its own."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        libc_call("unshare", CLONE_NEWNET)
    except OSError as error:
        os.close(before)
        pytest.skip(f"a network namespace cannot be made: {error}")
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP_AND_RUNNING))
        yield
    finally:
        kill_all_of_this_namespace()
        libc_call("setns", before, CLONE_NEWNET)
        os.close(before)


def kill_all_of_this_namespace() -> None:
    """Ends what is left, but for this process."""
    deadline = time.monotonic() + 20
    while (left := processes_of_this_namespace()) and time.monotonic() < deadline:
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)


def processes_of_this_namespace() -> list[int]:
    own = os.readlink("/proc/thread-self/ns/net")
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if os.readlink(entry / "ns" / "net") == own and "State:\tZ" not in (entry / "status").read_text():
                    found.append(int(entry.name))
    return found


def processes(matches: Callable[[str], bool]) -> list[int]:
    """Processes of this namespace by their command line."""
    found = []
    for pid in processes_of_this_namespace():
        with contextlib.suppress(OSError):
            if matches(Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")):
                found.append(pid)
    return found


def wait_for(what: str, look: Callable[[], T | None], seconds: float = 120.0) -> T:
    """What `look` gives as soon as it gives something."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        seen = look()
        if seen:
            return seen
        time.sleep(0.1)
    pytest.fail(f"{what}: not within {seconds:.0f} s")


class Cluster:
    """A head with one core, and a node with two; `gpus` says how many each has.

    They do not see the folder `hidden`, and with `apart` not each other's files.
    """

    def __init__(
        self, hidden: Path, apart: bool = False, gpus: tuple[int, int] = (0, 1), settings: dict[str, str] | None = None
    ) -> None:
        self.gpus = gpus
        self.hidden = hidden
        self.apart = apart
        # Of the head alone.
        self.settings = settings or {}
        # Ray makes sockets below it, whose paths may be a hundred bytes long.
        self.folder = Path(tempfile.mkdtemp(prefix="fr", dir="/tmp"))
        self.port = PORT
        self.starts = 0

    def ray(self, *arguments: str, check: bool = True, full: str | None = None, settings: dict[str, str] | None = None) -> None:
        path = f"{ray_binary().parent}:{os.environ['PATH']}"
        more = self.settings if "--head" in arguments else settings or {}
        environment = {**os.environ, **SETTINGS, **more, "PATH": path, "RAY_USAGE_STATS_ENABLED": "0"}
        # As on other machines: nothing but Ray, and a way to `serve`.
        steps = [f"mount -t tmpfs none {self.hidden}"]
        if full:
            place = (self.folder / "session_latest").resolve() / full
            steps = [f"mkdir -p {place}", f"mount -t tmpfs -o size=64k none {place}", *steps]
        if self.apart and arguments[0] == "start" and "--head" not in arguments:
            # What comes back is another machine: folders of one that was killed a moment ago are still in use.
            self.starts += 1
            own = f"{self.folder}-node-{self.starts}"
            steps = [f"mkdir -p {own}", f"mount --bind {own} {self.folder}", *steps]
        hide = " && ".join([*steps, 'exec "$@"'])
        command = ["unshare", "--mount", "sh", "-c", hide, "sh", str(ray_binary()), *arguments]
        result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=START_SECONDS, check=False)
        assert result.returncode == 0 or not check, result.stdout + result.stderr

    def start(self) -> None:
        self.start_head()
        self.start_node()

    def start_head(self, *more: str) -> None:
        head = [
            "start",
            "--head",
            f"--port={self.port}",
            f"--node-ip-address={HEAD}",
            "--num-cpus=1",
            f"--num-gpus={self.gpus[0]}",
        ]
        dashboard = ["--dashboard-host=127.0.0.1", "--dashboard-port=8265", "--disable-usage-stats"]
        self.ray(*head, *dashboard, *more, "--object-store-memory=100000000", f"--temp-dir={self.folder}")
        wait_for("the head answers", self.answers)

    def start_node(self, full: str | None = None, settings: dict[str, str] | None = None) -> None:
        """Starts the second node, with a folder of its session that holds nothing more and with settings of Ray's."""
        node = [
            "start",
            f"--address={HEAD}:{self.port}",
            f"--node-ip-address={NODE}",
            "--num-cpus=2",
            f"--num-gpus={self.gpus[1]}",
        ]
        ports = ["--dashboard-agent-listen-port=52466"]
        self.ray(*node, "--object-store-memory=100000000", *ports, full=full, settings=settings)
        wait_for("the node is there", lambda: "ALIVE" in [node["state"] for node in self.nodes() if not node["is_head_node"]])

    def answers(self) -> bool:
        try:
            return requests.get(f"{DASHBOARD}/api/version", timeout=5).ok
        except requests.RequestException:
            return False

    def nodes(self) -> list[dict[str, object]]:
        listed = requests.get(f"{DASHBOARD}/api/v0/nodes?detail=1", timeout=10).json()
        found: list[dict[str, object]] = listed["data"]["result"]["result"]
        return found

    def job(self, attempt: str) -> dict[str, object] | None:
        """What Ray says of a job; nothing when it does not know it."""
        answer = requests.get(f"{DASHBOARD}/api/jobs/{attempt}", timeout=10)
        return answer.json() if answer.ok else None

    def driver_log(self, attempt: str) -> str:
        """What the driver of the attempt has printed, if it runs on the head."""
        return (self.folder / "session_latest" / "logs" / f"job-driver-{attempt}.log").read_text()

    def kill_node(self) -> None:
        """Ends the second node's raylet without a word, as a machine that loses power."""
        os.kill(self.raylet(NODE), signal.SIGKILL)

    def prepared(self) -> set[str]:
        """The attempts that the node that was started last has made an environment for; with `apart`."""
        # The link to the latest session leads to the folder of the head.
        logs = Path(f"{self.folder}-node-{self.starts}").glob("session_2*/logs/runtime_env_agent.log")
        made = [line for log in logs for line in log.read_text().splitlines() if "Creating runtime env" in line]
        return {attempt for line in made for attempt in re.findall(r'"FETTLE_ATTEMPT_ID": "([^"]+)"', line)}

    def raylet(self, ip: str) -> int:
        """The process of a node that Ray's others go with."""
        raylets = processes(lambda line: "/raylet" in line.split(" ")[0] and f"--node_ip_address={ip}" in line)
        assert len(raylets) == 1, raylets
        return raylets[0]

    def drain_node(self, deadline_seconds: int) -> None:
        """Tells the cluster that the second node will be taken away."""
        is_it = [str(node["node_id"]) for node in self.nodes() if node["state"] == "ALIVE" and node["node_ip"] == NODE]
        reason = ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "spot instance reclaimed"]
        deadline = ["--deadline-remaining-seconds", str(deadline_seconds)]
        self.ray("drain-node", f"--address={HEAD}:{self.port}", "--node-id", is_it[0], *reason, *deadline)

    def replace(self) -> None:
        """Ends all of Ray, with what runs in it, and starts another cluster at the same address."""
        for pid in processes(lambda line: " serve --listen" not in line and "pytest" not in line):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.port += 1
        self.start()

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        for number in range(1, self.starts + 1):
            shutil.rmtree(f"{self.folder}-node-{number}", ignore_errors=True)

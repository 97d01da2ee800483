"""Every way a cluster fails, for real: run by `make ray-gauntlet`, which writes what was seen to docs/ray-gauntlet.md."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import ray_cluster
import requests
from conftest import OVER, Api, Server, unique
from ray_cluster import DASHBOARD, NODE, Cluster, processes, wait_for
from test_plugins import MANIFEST, fettle
from test_ray import Run, api, cluster, data, driver, port, server, slow, workers
from test_ray_heal import remove, status, submit

__all__ = ["api", "cluster", "data", "port", "server"]

PAGE = os.environ.get("FETTLE_RAY_GAUNTLET", "")
pytestmark = [
    pytest.mark.skipif(ray_cluster.reason_to_skip() is not None, reason=str(ray_cluster.reason_to_skip())),
    pytest.mark.skipif(not PAGE, reason="it takes minutes; `make ray-gauntlet` runs it"),
]

# A fault is found within this; a node that is lost without a word takes Ray seconds of it.
FOUND_SECONDS = 120.0
# From what Ray shows to the verdict.
VERDICT_SECONDS = 5.0
ENDED_SECONDS = 400.0

# Sleeps as long as its row says, writes down when, and then does what the row says.
DEEDS = """
import time
from pathlib import Path


def run(rows):
    return [{"words": deed(*row["text"].split())} for row in rows]


def deed(seconds, what, mark="", *_):
    time.sleep(float(seconds))
    if mark.startswith("/") and not Path(mark).exists():
        Path(mark).write_text(str(time.time()))
    if what == "hang":
        time.sleep(1_000_000)
    if what == "raise":
        raise ValueError("bad latitude 999")
    if what == "memory":
        return len(bytearray(400_000_000)) and 1
    return 2
"""

HEADER = """# The gauntlet on Ray

`make ray-gauntlet` does each of these for real to a cluster of two nodes on one machine, one after the other, under the healing
policy `auto`, and writes this page. The health checks of that cluster find a lost node within about nine seconds; Ray's
default is fourteen.

- *category / event / case*: of the diagnosis when the batch had ended; a batch that went on to its end has no category.
- *Ray shows it*: from the fault to when Ray itself shows it. A dash where it never does:
  a worker is not a process that Ray knows.
- *verdict*: from the fault to when the diagnosis, or the healing of an outage, names it.
- *recovery*: from the fault to the next row that was finished. *none needed*: the work went on all the time.
- *lost*, *doubled*: rows without a document that are not told as failed, and documents above one for each row.

| fault | category / event / case | evidence | Ray shows it | verdict | recovery | lost | doubled |
|---|---|---|---|---|---|---|---|
"""
LINES: list[str] = []


@pytest.fixture(scope="module", autouse=True)
def page(server: Server) -> Iterator[None]:
    """The page, as far as the faults got."""
    yield
    if "/" in PAGE:
        Path(PAGE).write_text(HEADER + "".join(LINES))


@pytest.fixture(scope="module")
def deeds(server: Server, api: Api, tmp_path_factory: pytest.TempPathFactory) -> str:
    api.ok("PATCH", f"/namespaces/{api.namespace}", json={"healing": {"mode": "auto"}})
    folder = tmp_path_factory.mktemp("deeds")
    name = unique("deeds").replace("-", "_")
    (folder / "fettle-plugin.toml").write_text(MANIFEST.format(name=name, kind="python", entry="deeds:run"))
    (folder / "deeds.py").write_text(DEEDS)
    fettle(server, api, "plugin", "add", str(folder))
    return name


def seconds(value: float | None, otherwise: str = "-") -> str:
    return otherwise if value is None else f"{value:.1f} s"


@dataclass
class Trial:
    """A fault, from the moment that it is done to the end of the batch."""

    name: str
    run: Run
    rows: int
    failed: int = 0
    at: float = field(default_factory=time.monotonic)
    shown: float | None = None
    verdict: float | None = None
    recovery: float | None = None
    evidence: str = ""
    done: int = 0

    def inject(self, act: Callable[[], object]) -> None:
        self.at = time.monotonic()
        act()
        self.done = len(self.run.documents())

    def began(self, mark: Path) -> None:
        """The fault is a row's own doing, at the time that it wrote down."""
        text = wait_for(f"{self.name}: it begins", lambda: mark.read_text() if mark.exists() else None)
        self.at = time.monotonic() - (time.time() - float(text))

    def found(self, told: str, shown: Callable[[], bool] | None = None, heal: bool = False) -> None:
        """Waits until the diagnosis, or the healing of the tier, holds `told`; and until Ray shows it."""

        def look() -> bool:
            if shown and self.shown is None and shown():
                self.shown = self.since()
            if self.verdict is None:
                text = self.findings() if heal else str(self.run.diagnosis())
                if told in text:
                    self.verdict = self.since()
                    self.evidence = told
            return self.verdict is not None and (shown is None or self.shown is not None)

        wait_for(f"{self.name}: {told}", look, FOUND_SECONDS)

    def findings(self) -> str:
        path = f"/buckets/{self.run.bucket}/batches/{self.run.batch}/tiers/0/heal"
        return str(self.run.api.ok("POST", path, json={"action": "sync_status", "dry_run": True}, timeout=120)["findings"])

    def since(self) -> float:
        return time.monotonic() - self.at

    def goes_on(self) -> None:
        """Waits until a row is finished that was not before the fault."""
        wait_for(f"{self.name}: a row after it", lambda: len(self.run.documents()) > self.done or self.over(), ENDED_SECONDS)
        self.recovery = self.since()

    def over(self) -> bool:
        return self.run.model()["status"] in OVER

    def ended(self, status: str = "COMPLETED", category: str | None = None, event: str | None = None, quick: bool = True) -> Any:
        """Waits for the end; checks it, and adds the fault's line to the page."""
        wait_for(f"{self.name}: the end", self.over, ENDED_SECONDS)
        told = self.run.diagnosis()
        events = sorted({it["event_type"] for it in told["infrastructure_events"]})
        documents = len(self.run.documents())
        lost, doubled = max(0, self.rows - self.failed - documents), max(0, documents - self.rows)
        names = f"{told['failure_category'] or '-'} / {', '.join(events) or '-'} / {told['case'] or '-'}"
        times = f"{seconds(self.shown)} | {seconds(self.verdict)} | {seconds(self.recovery, 'none needed')}"
        LINES.append(f"| {self.name} | {names} | `{self.evidence}` | {times} | {lost} | {doubled} |\n")
        print(LINES[-1], end="")
        assert told["status"] == status, told
        assert (lost, doubled) == (0, 0), told["audit"]
        assert told["failure_category"] == category, told
        assert event is None or event in events, told
        if quick and self.verdict is not None:
            assert self.verdict - (self.shown or 0) < VERDICT_SECONDS, LINES[-1]
        return told


def begun(api: Api, extractor: str, rows: int, pause: float = 0.5, **resources: float) -> tuple[Run, str]:
    """A run with a row done, and its attempt."""
    run = Run(api, extractor, slow(rows, pause), **resources)
    attempt = run.attempt()
    wait_for("a row is done", lambda: len(run.documents()) > 0)
    return run, attempt


def send(signal_number: int, *pids: int) -> None:
    for pid in pids:
        os.kill(pid, signal_number)


def is_over(attempt: str) -> Callable[[], bool]:
    return lambda: status(attempt) in (None, "FAILED", "STOPPED")


def is_dead(cluster: Cluster, ip: str) -> Callable[[], bool]:
    return lambda: all(node["state"] == "DEAD" for node in cluster.nodes() if node["node_ip"] == ip)


def test_a_worker_is_killed(api: Api, deeds: str) -> None:
    run, attempt = begun(api, deeds, 20)
    trial = Trial("worker kill -9", run, 20)
    trial.inject(lambda: send(signal.SIGKILL, workers(attempt)[0]))
    trial.found("signal 9 (SIGKILL)")
    trial.goes_on()
    trial.ended(event="unknown")


def test_a_driver_is_killed(api: Api, deeds: str) -> None:
    run, attempt = begun(api, deeds, 20)
    trial = Trial("driver kill -9", run, 20)
    trial.inject(lambda: send(signal.SIGKILL, driver(attempt)[0]))
    trial.found("signal 9 (SIGKILL)", is_over(attempt))
    trial.goes_on()
    trial.ended(event="unknown")


def test_a_job_is_stopped_in_ray(api: Api, deeds: str) -> None:
    run, attempt = begun(api, deeds, 20)
    trial = Trial("`ray job stop` by hand", run, 20)
    trial.inject(lambda: requests.post(f"{DASHBOARD}/api/jobs/{attempt}/stop", timeout=30))
    trial.found("the job was stopped in Ray, not by this server", is_over(attempt))
    trial.goes_on()
    trial.ended(event="unknown")


def test_an_attempt_is_submitted_twice(api: Api, deeds: str) -> None:
    run, attempt = begun(api, deeds, 60)
    known = requests.get(f"{DASHBOARD}/api/jobs/{attempt}", timeout=10).json()
    trial = Trial("duplicate submission", run, 60)
    same = {"submission_id": attempt, "entrypoint": known["entrypoint"], "metadata": known["metadata"]}

    def again() -> None:
        # The same id is refused by Ray; another one runs the same entrypoint a second time.
        assert requests.post(f"{DASHBOARD}/api/jobs/", json=same, timeout=60).status_code == 500
        url = known["entrypoint"].partition("--control-url ")[2].split()[0]
        submit("twice-1", f"exec sleep 600 # --control-url {url}", known["metadata"])

    trial.inject(again)
    trial.found("a run that does not count (twice-1) was ended", lambda: status("twice-1") is not None)
    trial.ended(quick=False)


def test_a_worker_runs_out_of_memory(api: Api, deeds: str) -> None:
    texts = [*slow(4, 0.2), "0.2 memory", *slow(4, 0.2)]
    run = Run(api, deeds, texts, memory_bytes=256 << 20)
    trial = Trial("plugin out of memory, cgroup", run, len(texts))
    trial.inject(lambda: wait_for("rows are done", lambda: len(run.documents()) >= 4))
    trial.found("for lack of memory")
    trial.ended(event="oom", quick=False)
    # The row was tried again with more.
    assert len(run.documents()) == len(texts)


def test_a_row_raises(api: Api, deeds: str, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    texts = [*slow(2, 0.1), f"0.1 raise {mark}", *slow(2, 0.1)]
    run = Run(api, deeds, texts)
    trial = Trial("exception of a plugin", run, len(texts), failed=1)
    trial.began(mark)
    trial.found("bad latitude 999")
    told = trial.ended("COMPLETED_WITH_ERRORS", "pipeline")
    assert "Traceback" in str(told), told


def test_a_row_hangs(api: Api, deeds: str) -> None:
    texts = [*slow(2, 0.1), "0.1 hang", *slow(2, 0.1)]
    run = Run(api, deeds, texts)
    trial = Trial("hang of a row", run, len(texts), failed=1)
    trial.inject(lambda: wait_for("rows are done", lambda: len(run.documents()) >= 2))
    trial.found("timeout")
    trial.ended("COMPLETED_WITH_ERRORS", "timeout", quick=False)


def test_more_is_asked_for_than_any_node_has(api: Api, deeds: str) -> None:
    run = Run(api, deeds, slow(1, 0.1), num_cpus=3)
    trial = Trial("infeasible resources", run, 1, failed=1)
    trial.inject(lambda: None)
    trial.found("no node of the cluster can hold 3 CPU core(s)")
    trial.ended("FAILED", "validation")


def test_the_head_does_not_answer_for_a_while(api: Api, deeds: str) -> None:
    # Hosts help, and it must outlast the outage.
    run, attempt = begun(api, deeds, 100, 1.5)
    trial = Trial("head unreachable for 30 s", run, 100)
    heads = processes(lambda line: "ray-dashboard" in line or "dashboard/dashboard.py" in line)
    assert heads
    try:
        trial.inject(lambda: send(signal.SIGSTOP, *heads))
        trial.found("the backend cannot say whether it runs", heal=True)
        wait_for("half a minute without the head", lambda: trial.since() > 30)
        assert driver(attempt)
    finally:
        send(signal.SIGCONT, *heads)
    trial.ended(quick=False)
    assert not driver(attempt.replace("-a1", "-a2"))


def test_a_node_that_an_attempt_does_not_use_is_lost(api: Api, cluster: Cluster, deeds: str) -> None:
    submit("room-1", "exec sleep 600", {}, entrypoint_num_cpus=2)
    wait_for("the second node is full", lambda: status("room-1") == "RUNNING")
    run, attempt = begun(api, deeds, 60)
    trial = Trial("raylet kill -9, a node that the attempt does not use", run, 60)
    trial.inject(cluster.kill_node)
    wait_for("Ray shows it", is_dead(cluster, NODE))
    trial.shown = trial.since()
    trial.evidence = "no finding: nothing of this batch ran there"
    cluster.start_node()
    trial.ended()
    assert not driver(attempt.replace("-a1", "-a2"))
    remove("room-1")


def node_trial(api: Api, cluster: Cluster, deeds: str, name: str, act: Callable[[], object], told: str, event: str) -> None:
    """Two cores are on the second node alone, so its loss is the driver's."""
    run, _ = begun(api, deeds, 60, num_cpus=2)
    trial = Trial(name, run, 60)
    trial.inject(act)
    trial.found(told, is_dead(cluster, NODE))
    cluster.start_node()
    trial.goes_on()
    trial.ended(event=event)


def test_the_drivers_node_is_lost(api: Api, cluster: Cluster, deeds: str) -> None:
    told = "is DEAD: Unexpected termination: health check failed"
    node_trial(api, cluster, deeds, "raylet kill -9, the driver's node", cluster.kill_node, told, "node_failure")


def test_the_drivers_node_is_told_to_end(api: Api, cluster: Cluster, deeds: str) -> None:
    told = "Expected termination: received SIGTERM"

    def end() -> None:
        send(signal.SIGTERM, cluster.raylet(NODE))

    node_trial(api, cluster, deeds, "raylet SIGTERM, the driver's node", end, told, "rolling_update")


def test_the_drivers_node_is_preempted(api: Api, cluster: Cluster, deeds: str) -> None:
    def preempt() -> None:
        cluster.drain_node(deadline_seconds=1)
        time.sleep(2)
        cluster.kill_node()

    told = "Terminated due to preemption: spot instance reclaimed"
    node_trial(api, cluster, deeds, "drain with preemption, killed after its deadline", preempt, told, "preemption")


def test_the_drivers_node_is_taken_away_before_its_time(api: Api, cluster: Cluster, deeds: str) -> None:
    def preempt() -> None:
        cluster.drain_node(deadline_seconds=600)
        cluster.kill_node()

    told = "Ray had been told that it would be taken away"
    node_trial(api, cluster, deeds, "drain with preemption, killed before its deadline", preempt, told, "preemption")


def test_ray_kills_for_lack_of_memory(api: Api, cluster: Cluster, deeds: str) -> None:
    # A node whose limit is a gigabyte above what the machine uses now, and then something that takes two.
    memory = {key: int(value.split()[0]) << 10 for key, value in (line.split(":") for line in meminfo())}
    used = memory["MemTotal"] - memory["MemAvailable"]
    threshold = (used + (1200 << 20)) / memory["MemTotal"]
    cluster.kill_node()
    wait_for("the old node is dead", is_dead(cluster, NODE))
    cluster.start_node(settings={"RAY_memory_usage_threshold": f"{threshold:.3f}", "RAY_memory_monitor_refresh_ms": "100"})
    run, attempt = begun(api, deeds, 60, num_cpus=2)
    trial = Trial("node out of memory, Ray's memory monitor", run, 60)
    hog: list[subprocess.Popen[bytes]] = []
    eat = "import time; kept = bytearray(b'x' * (2 << 30)); time.sleep(600)"
    try:
        trial.inject(lambda: hog.append(subprocess.Popen([sys.executable, "-c", eat])))
        trial.found("were killed due to the node running low on memory", is_over(attempt))
    finally:
        for process in hog:
            process.kill()
            process.wait()
    trial.goes_on()
    trial.ended(event="oom")


def meminfo() -> list[str]:
    return [line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("Mem")]


def test_the_environment_cannot_be_made(api: Api, cluster: Cluster, deeds: str) -> None:
    # The node's disk is full where Ray unpacks what jobs need.
    cluster.kill_node()
    wait_for("the old node is dead", is_dead(cluster, NODE))
    cluster.start_node(full="runtime_resources/working_dir_files")
    run = Run(api, deeds, slow(2, 0.1), num_cpus=2)
    trial = Trial("bad runtime_env: no space left to unpack it", run, 2, failed=2)
    trial.inject(lambda: None)
    trial.found("runtime_env setup failed")
    trial.ended("FAILED", "infrastructure", quick=False)
    cluster.kill_node()
    wait_for("the full node is dead", is_dead(cluster, NODE))
    cluster.start_node()


def test_the_control_store_is_killed(api: Api, cluster: Cluster, deeds: str) -> None:
    run, attempt = begun(api, deeds, 100, 1.0, num_cpus=2)
    trial = Trial("gcs_server kill -9, then another head", run, 100)

    def is_sick() -> bool:
        try:
            return not requests.get(f"{DASHBOARD}/api/gcs_healthz", timeout=2).ok
        except requests.RequestException:
            return True

    trial.inject(lambda: send(signal.SIGKILL, *processes(lambda line: "gcs/gcs_server" in line)))
    trial.found("the backend cannot say whether it runs", is_sick, heal=True)
    assert driver(attempt)
    cluster.replace()
    wait_for("it is told", lambda: "the cluster was replaced" in str(run.diagnosis()))
    trial.goes_on()
    trial.ended(event="rolling_update", quick=False)


def test_the_head_is_replaced(api: Api, cluster: Cluster, deeds: str) -> None:
    run, _ = begun(api, deeds, 60, num_cpus=2)
    trial = Trial("cluster replaced", run, 60)
    trial.inject(cluster.replace)
    trial.shown = trial.since()
    trial.found("the cluster was replaced")
    trial.goes_on()
    trial.ended(event="rolling_update")

"""One batch of one collection on several nodes: its workers spread over them, and the loss of any of them costs nothing."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray_cluster
from conftest import Api, Server, unique
from ray_cluster import Cluster, processes, wait_for
from test_plugins import MANIFEST, fettle
from test_ray import Run, api, data, driver, port, server

__all__ = ["api", "data", "port", "server"]

pytestmark = pytest.mark.skipif(ray_cluster.reason_to_skip() is not None, reason=str(ray_cluster.reason_to_skip()))

HEAD = "127.0.0.2"
NODE = "127.0.0.3"

# As many as one list shows.
ROWS = 100

# Takes its time until it may be quick, and says which worker did the row: the folder of the attempt is another one on each host.
PROGRAM = """#!/usr/bin/env python3
import json
import os
import sys
import time
from pathlib import Path

worker = Path(f"/proc/{os.getppid()}/cmdline").read_bytes().decode().split("\\0")
folder = worker[worker.index("--attempt-dir") + 1]
number_of_worker = worker[worker.index("--worker") + 1]
for line in sys.stdin:
    number, until, seconds = json.loads(line)["inputs"]["text"].split()
    deadline = time.monotonic() + float(seconds)
    while not Path(until).exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    print(f"row {number} is done by worker {number_of_worker}", file=sys.stderr, flush=True)
    seen = number_of_worker + " sees " + os.environ.get("CUDA_VISIBLE_DEVICES", "")
    print(json.dumps({"words": int(number), "folder": folder, "gpus": seen}), flush=True)
"""


FOLDER = """
[[outputs]]
name = "folder"
type = "string"

[[outputs]]
name = "gpus"
type = "string"
"""


@pytest.fixture(scope="module")
def cluster(data: Path) -> Iterator[Cluster]:
    """Only the head at first: a driver that is started then is on it."""
    with ray_cluster.only_loopback():
        cluster = Cluster(data, apart=True, gpus=(1, 2))
        try:
            cluster.start_head()
            yield cluster
        finally:
            ray_cluster.kill_all_of_this_namespace()
            cluster.remove()


@pytest.fixture(scope="module")
def plugin(server: Server, api: Api, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("plugin")
    name = unique("where").replace("-", "_")
    (folder / "fettle-plugin.toml").write_text(MANIFEST.format(name=name, kind="exec", entry="words") + FOLDER)
    program = folder / "words"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    fettle(server, api, "plugin", "add", str(folder))
    return name


class Spread(Run):
    """A batch whose rows take some seconds each until they need not any more."""

    def __init__(self, api: Api, extractor: str, folder: Path, seconds: float = 2, **resources: float) -> None:
        self.may_be_quick = folder / "quick"
        super().__init__(api, extractor, [f"{row} {self.may_be_quick} {seconds}" for row in range(ROWS)], **resources)

    def hosted(self, attempt: str) -> int:
        """A worker on another node, once that has done a row."""

        def look() -> list[int]:
            is_used = any(folder.startswith(f"{attempt}-host-") for folder in self.folders())
            return hosted_workers(attempt) if is_used else []

        return wait_for("a worker on another node has done a row", look)[0]

    def folders(self) -> set[str]:
        """Where its rows were done."""
        return {Path(document["folder"]).name for document in self.documents()}

    def gpus(self) -> set[str]:
        """What its workers say that they see."""
        return {document["gpus"] for document in self.documents()}

    def finish(self) -> None:
        """It is done, with each of its documents once."""
        self.may_be_quick.touch()
        model = self.ended()
        assert model["status"] == "COMPLETED", model
        assert sorted(document["words"] for document in self.documents()) == list(range(ROWS))

    def nodes(self) -> list[str]:
        """Where it ran."""
        groups: list[str] = self.model()["tier_tasks"][0]["worker_groups"]
        return groups


def hosts(attempt: str) -> list[int]:
    return processes(lambda line: "fettle host" in line and attempt in line)


def hosted_workers(attempt: str) -> list[int]:
    return processes(lambda line: "fettle worker" in line and f"{attempt}-host-" in line)


@contextlib.contextmanager
def halted_broker(attempt: str) -> Iterator[None]:
    """The broker of the attempt says nothing for a while."""
    brokers = processes(lambda line: f"engine.pipelines.broker --attempt {attempt}" in line)
    for pid in brokers:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in brokers:
            os.kill(pid, signal.SIGCONT)


def is_node_there() -> bool:
    return bool(processes(lambda line: "/raylet" in line.split(" ")[0] and f"--node_ip_address={NODE}" in line))


def kill_and_see_another_host(run: Spread, what: str) -> None:
    """Kills all such processes; a host that was not there before has done a row then."""
    before = run.folders()
    for pid in processes(lambda line: what in line):
        os.kill(pid, signal.SIGKILL)
    wait_for(f"another host after the end of {what}", lambda: run.folders() - before)


def only_the_head(cluster: Cluster) -> None:
    """The cluster without its second node."""
    if is_node_there():
        cluster.kill_node()
    wait_for("there is only the head", lambda: [node["state"] for node in cluster.nodes()].count("ALIVE") == 1)


def spread_from_the_head(api: Api, cluster: Cluster, plugin: str, folder: Path) -> tuple[Spread, str]:
    """A batch whose driver is on the head, with a worker on the node; and the attempt."""
    only_the_head(cluster)
    run = Spread(api, plugin, folder)
    attempt = run.attempt()
    wait_for("a row is done", lambda: len(run.documents()) > 0)
    assert not hosts(attempt)
    cluster.start_node()
    run.hosted(attempt)
    return run, attempt


def test_a_node_that_joins_takes_rows_of_a_batch_that_runs(api: Api, cluster: Cluster, plugin: str, tmp_path: Path) -> None:
    run, attempt = spread_from_the_head(api, cluster, plugin, tmp_path)
    assert attempt in run.folders()
    run.finish()
    assert run.nodes() == [HEAD, NODE]
    # What the program printed on the other node is here, to the last line.
    logs = {log["log"]: log["text"] for log in api.ok("GET", f"/buckets/{run.bucket}/batches/{run.batch}/logs")["logs"]}
    elsewhere = [document for document in run.documents() if "-host-" in document["folder"]]
    for document in elsewhere:
        worker = document["gpus"].split()[0]
        assert f"row {document['words']} is done by worker {worker}" in logs[f"worker-{worker}"], logs.keys()
    wait_for("nothing is left", lambda: not driver(attempt) + hosts(attempt) + hosted_workers(attempt))


def test_a_killed_worker_broker_and_actor_are_replaced_and_cost_no_row(
    api: Api, cluster: Cluster, plugin: str, tmp_path: Path
) -> None:
    if not is_node_there():
        cluster.start_node()
    run = Spread(api, plugin, tmp_path, seconds=4)
    attempt = run.attempt()
    os.kill(run.hosted(attempt), signal.SIGKILL)
    wait_for("its end is known", lambda: "signal 9 (SIGKILL)" in str(run.diagnosis()))
    # Else the first row of the other one of before would pass for one of another host.
    wait_for("both hosts have done a row", lambda: len(run.folders()) == 3)
    kill_and_see_another_host(run, f"engine.pipelines.broker --attempt {attempt}")
    kill_and_see_another_host(run, "ray::Host")
    # The broker waits first for the death of the node, which would be the cause.
    wait_for("the loss is told", lambda: "ActorDiedError" in str(run.diagnosis()))
    run.finish()
    tier = run.model()["tier_tasks"][0]
    assert tier["retry_count"] == 0, tier
    assert tier["audit"]["lost"] == 0, tier
    told = str(run.diagnosis())
    for what in ("signal 9 (SIGKILL)", "the broker has ended", "ActorDiedError"):
        assert what in told, told


def test_a_node_that_is_lost_costs_nothing_and_is_named(api: Api, cluster: Cluster, plugin: str, tmp_path: Path) -> None:
    run, attempt = spread_from_the_head(api, cluster, plugin, tmp_path)
    with halted_broker(attempt):
        # It may be that the driver is told to give back what it has there before it is told that that is lost.
        cluster.kill_node()
        wait_for("its room is asked back", lambda: "a host is given back" in cluster.driver_log(attempt))
    wait_for("nothing is left of it", lambda: not hosts(attempt) + hosted_workers(attempt))
    known = len(run.documents())
    wait_for("the driver's own worker goes on", lambda: len(run.documents()) > known)
    run.finish()
    assert run.model()["tier_tasks"][0]["retry_count"] == 0
    told = run.diagnosis()
    lost = [event for event in told["infrastructure_events"] if event["event_type"] == "node_failure"]
    assert lost, told
    assert lost[0]["node_id"] == NODE, lost
    assert "DEAD" in str(told), told


@pytest.mark.skipif(not os.environ.get("FETTLE_RAY_GAUNTLET"), reason="it takes long; `make ray-gauntlet` runs it")
def test_another_node_that_is_taken_away_is_told_as_that(api: Api, cluster: Cluster, plugin: str, tmp_path: Path) -> None:
    run, attempt = spread_from_the_head(api, cluster, plugin, tmp_path)
    cluster.drain_node(deadline_seconds=600)
    cluster.kill_node()
    wait_for("nothing is left of it", lambda: not hosts(attempt) + hosted_workers(attempt))
    wait_for("the loss is told", lambda: run.diagnosis()["infrastructure_events"])
    run.finish()
    told = run.diagnosis()
    events = {(event["event_type"], event["node_id"]) for event in told["infrastructure_events"]}
    assert events == {("preemption", NODE)}, told


def test_room_is_given_back_to_a_job_that_asks_for_it(api: Api, cluster: Cluster, plugin: str, tmp_path: Path) -> None:
    run, attempt = spread_from_the_head(api, cluster, plugin, tmp_path)
    # Only the node has two cores.
    other = Run(api, "text_extractor", ["one two"], num_cpus=2)
    assert other.ended()["status"] == "COMPLETED"
    assert driver(attempt)
    run.finish()


def test_a_job_for_a_gpu_waits_for_the_node_that_has_it_and_says_so(
    api: Api, cluster: Cluster, plugin: str, tmp_path: Path
) -> None:
    if not is_node_there():
        cluster.start_node()
    only_the_head(cluster)
    wait_for("serve has seen that", lambda: api.ok("GET", "/batches/queue")["capacity"]["num_gpus"] == 1)
    run = Spread(api, plugin, tmp_path, num_gpus=2)
    wait_for("it is scaling", lambda: run.model()["health"] == "scaling")
    context = run.model()["queue_context"]
    assert context["jobs"][0]["waits_for"] == "nodes", context
    assert f"{NODE} was lost" in context["reason"], context
    told = run.diagnosis()
    assert "has waited" in told["summary"], told
    assert f"{NODE} was lost" in told["summary"], told
    shown = api.ok("GET", f"/analytics/performance/batches/{run.batch}/diagnostics")
    assert shown["health"] == "scaling", shown
    assert shown["blocked_reason"].startswith("cluster_cold_start: it lacks a node with "), shown
    # What not even a lost node has is refused at once.
    refused = Run(api, plugin, ["1 / 0"], num_gpus=9).ended()
    assert "no node of the cluster can hold 1 CPU core(s), 9 GPU(s)" in str(refused), refused
    cluster.start_node()
    run.finish()
    # The head has only one, so there is room for no other worker.
    assert run.gpus() == {"0 sees 0,1"}
    assert run.nodes() == [f"{NODE} (GPU 0, 1)"]
    # A node that joins unpacks nothing for the jobs that are over: that would be over what this one uses.
    jobs = [job["ray_job_id"] for job in run.model()["tier_tasks"][0]["extractor_jobs"]]
    assert {attempt.rpartition("-a")[0] for attempt in cluster.prepared()} == set(jobs)


def test_each_worker_sees_its_own_gpu_on_every_node(api: Api, cluster: Cluster, plugin: str, tmp_path: Path) -> None:
    if not is_node_there():
        cluster.start_node()
    run = Spread(api, plugin, tmp_path, num_cpus=2, num_gpus=2)
    attempt = run.attempt()
    run.hosted(attempt)
    run.finish()
    assert {"0 sees 0", "1 sees 1"} < run.gpus(), run.gpus()
    # The one of the head, by its own number.
    assert {seen.split()[-1] for seen in run.gpus() - {"0 sees 0", "1 sees 1"}} == {"0"}, run.gpus()
    assert run.nodes() == [f"{HEAD} (GPU 0)", f"{NODE} (GPU 0, 1)"]

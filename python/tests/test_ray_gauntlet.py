"""The faults of a cluster that take long to show: run by `make ray-gauntlet`."""

from __future__ import annotations

import os
import signal
import time

import pytest
import ray_cluster
from conftest import Api
from ray_cluster import Cluster, processes, wait_for
from test_ray import Run, api, cluster, data, driver, plugin, server, slow

__all__ = ["api", "cluster", "data", "plugin", "server"]

pytestmark = [
    pytest.mark.skipif(ray_cluster.reason_to_skip() is not None, reason=str(ray_cluster.reason_to_skip())),
    pytest.mark.skipif(not os.environ.get("FETTLE_RAY_GAUNTLET"), reason="it takes minutes; `make ray-gauntlet` runs it"),
]


def events(run: Run) -> list[str]:
    """The infrastructure events of a diagnosis, by type."""
    return [event["event_type"] for event in run.diagnosis().get("infrastructure_events", [])]


def on_the_second_node(api: Api, plugin: str, rows: int) -> tuple[Run, str]:
    """A run whose driver has to be on the second node, with a row done."""
    run = Run(api, plugin, slow(rows, 0.5), num_cpus=2)
    attempt = run.attempt()
    wait_for("a row is done", lambda: len(run.documents()) > 0)
    return run, attempt


def raylet() -> int:
    """The second node's."""
    found = processes(lambda line: "/raylet" in line.split(" ")[0] and "--node_ip_address=127.0.0.3" in line)
    assert len(found) == 1, found
    return found[0]


def finished(run: Run, rows: int) -> str:
    """The diagnosis of a run that went on to its end with every document once."""
    assert run.ended()["status"] == "COMPLETED"
    assert len(run.documents()) == rows
    return str(run.diagnosis())


def test_a_head_that_does_not_answer_for_a_while_ends_nothing(api: Api, cluster: Cluster, plugin: str) -> None:
    run = Run(api, plugin, slow(100, 0.5))
    attempt = run.attempt()
    heads = processes(lambda line: "ray-dashboard" in line or "dashboard/dashboard.py" in line)
    assert heads
    for pid in heads:
        os.kill(pid, signal.SIGSTOP)
    try:
        until = time.monotonic() + 30
        wait_for("half a minute without the head", lambda: time.monotonic() > until)
        assert driver(attempt)
    finally:
        for pid in heads:
            os.kill(pid, signal.SIGCONT)
    finished(run, 100)
    assert not driver(attempt.replace("-a1", "-a2"))


def test_a_node_that_is_told_to_end_is_told_within_seconds(api: Api, cluster: Cluster, plugin: str) -> None:
    run, _ = on_the_second_node(api, plugin, 40)
    os.kill(raylet(), signal.SIGTERM)
    since = time.monotonic()
    wait_for("the attempt is over", lambda: "node_failure" in events(run) or "received SIGTERM" in str(run.diagnosis()))
    assert time.monotonic() - since < 10
    cluster.start_node()
    told = finished(run, 40)
    assert "received SIGTERM" in told, told


def test_a_preempted_node_is_told_as_such(api: Api, cluster: Cluster, plugin: str) -> None:
    run, _ = on_the_second_node(api, plugin, 80)
    node = next(str(node["node_id"]) for node in cluster.nodes() if node["state"] == "ALIVE" and not node["is_head_node"])
    reason = ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "spot instance reclaimed"]
    cluster.ray("drain-node", f"--address={ray_cluster.HEAD}", "--node-id", node, *reason, "--deadline-remaining-seconds", "1")
    until = time.monotonic() + 2
    wait_for("the deadline is over", lambda: time.monotonic() > until)
    os.kill(raylet(), signal.SIGKILL)
    wait_for("the node is dead", lambda: "preemption" in str([n["state_message"] for n in cluster.nodes()]))
    cluster.start_node()
    told = finished(run, 80)
    assert "spot instance reclaimed" in told, told
    assert "preemption" in events(run), told

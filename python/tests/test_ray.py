"""Batches on a real Ray cluster: from the submission to the documents, and what is said and done when something dies."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray_cluster
import requests
from conftest import Api, Server, free_port, make_api, serving, start_server, unique, wait_until_ready
from ray_cluster import DASHBOARD, Cluster, processes, wait_for
from test_plugins import MANIFEST, fettle

pytestmark = pytest.mark.skipif(ray_cluster.reason_to_skip() is not None, reason=str(ray_cluster.reason_to_skip()))

# Answers at once, but for rows that say how long they take, and what they do then.
PROGRAM = """#!/usr/bin/env python3
import json
import sys
import time

for line in sys.stdin:
    text = json.loads(line)["inputs"]["text"]
    time.sleep(float(text.split()[0]))
    held = bytearray(400 << 20 if "memory" in text else 0)
    print(json.dumps({"words": len(text.split())}), flush=True)
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of serve, which the nodes do not see."""
    return tmp_path_factory.mktemp("hidden")


@pytest.fixture(scope="module")
def port() -> int:
    """Where serve listens."""
    return free_port()


@pytest.fixture(scope="module")
def cluster(data: Path, port: int) -> Iterator[Cluster]:
    """A cluster that tells serve what befalls its nodes."""
    with ray_cluster.only_loopback():
        # It does not find the cluster, and has said by then where that may tell.
        start_server(data, data, port, "--executor", "ray", "--ray-address", DASHBOARD).process.wait(timeout=60)
        address = (data / "fettle" / "ray-events-url").read_text().strip()
        agent = "RAY_DASHBOARD_AGGREGATOR_AGENT"
        events = {f"{agent}_EVENTS_EXPORT_ADDR": address, f"{agent}_EXPOSABLE_EVENT_TYPES": "NODE_LIFECYCLE_EVENT"}
        cluster = Cluster(data, apart=True, settings={"RAY_enable_ray_event": "1", **events})
        try:
            cluster.start()
            yield cluster
        finally:
            ray_cluster.kill_all_of_this_namespace()
            cluster.remove()


@pytest.fixture(scope="module")
def server(cluster: Cluster, data: Path, port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    files = tmp_path_factory.mktemp("files")
    with serving(data, files, port, "--executor", "ray", "--ray-address", DASHBOARD) as running:
        yield running


@pytest.fixture(scope="module")
def api(server: Server) -> Api:
    return make_api(server)


@pytest.fixture(scope="module")
def plugin(server: Server, api: Api, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("plugin")
    name = unique("slow").replace("-", "_")
    (folder / "fettle-plugin.toml").write_text(MANIFEST.format(name=name, kind="exec", entry="words"))
    program = folder / "words"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    fettle(server, api, "plugin", "add", str(folder))
    return name


class Run:
    """A batch of texts that is under way."""

    def __init__(self, api: Api, extractor: str, texts: list[str], **resources: float) -> None:
        self.api = api
        self.bucket = api.bucket({"body": {"type": "text"}})
        self.collection = api.collection(self.bucket, extractor, {"text": "body"})
        blobs = [{"blobs": [{"property": "body", "type": "text", "data": text}]} for text in texts]
        self.batch = api.batch(self.bucket, api.objects(self.bucket, blobs))
        api.submit(self.bucket, self.batch, **({"resources": {"0": resources}} if resources else {}))

    def model(self) -> Any:
        return self.api.ok("GET", f"/buckets/{self.bucket}/batches/{self.batch}")

    def ended(self) -> Any:
        return self.api.wait(self.bucket, self.batch)

    def diagnosis(self) -> Any:
        return self.api.ok("GET", f"/buckets/{self.bucket}/batches/{self.batch}/diagnose")

    def documents(self) -> list[Any]:
        listed: list[Any] = self.api.ok("POST", f"/collections/{self.collection}/documents/list", json={"limit": 100})["results"]
        return listed

    def attempt(self, number: int = 1) -> str:
        """The id of an attempt once its driver runs."""

        def look() -> str | None:
            jobs = [job for tier in self.model()["tier_tasks"] for job in tier.get("extractor_jobs", [])]
            drivers = [f"{job['ray_job_id']}-a{number}" for job in jobs]
            return next((attempt for attempt in drivers if driver(attempt)), None)

        return wait_for(f"attempt {number} runs", look)


def driver(attempt: str) -> list[int]:
    return processes(lambda line: "fettle job --spec" in line and f"/{attempt}/" in line)


def workers(attempt: str) -> list[int]:
    return processes(lambda line: "fettle worker" in line and attempt in line)


def slow(rows: int, seconds: float) -> list[str]:
    return [f"{seconds} row {row}" for row in range(rows)]


def test_a_batch_runs_on_the_cluster_and_leaves_nothing_there(api: Api, cluster: Cluster) -> None:
    run = Run(api, "text_extractor", ["the cat sat on the mat", "a dog in the fog"])
    model = run.ended()
    assert model["status"] == "COMPLETED", model
    assert len(run.documents()) == 2
    params = model["tier_tasks"][0]["submission_params"]
    assert params["deployment_mode"] == "ray"
    assert params["entrypoint"].startswith("exec python -m engine.pipelines.entrypoint ")
    # Its evidence is kept here, so Ray's own list stays short.
    wait_for("Ray's record is removed", lambda: requests.get(f"{DASHBOARD}/api/jobs/", timeout=10).json() == [])
    logs = api.ok("GET", f"/buckets/{run.bucket}/batches/{run.batch}/logs")
    assert "worker started" in str(logs), logs


def test_what_no_node_can_hold_is_refused_at_once(api: Api) -> None:
    # Three cores are there, but not on one node.
    model = Run(api, "text_extractor", ["one"], num_cpus=3).ended()
    assert model["status"] == "FAILED"
    assert "no node of the cluster can hold 3 CPU core(s)" in str(model), model


def test_a_killed_worker_is_replaced_and_named(api: Api, plugin: str) -> None:
    run = Run(api, plugin, slow(6, 0.5))
    attempt = run.attempt()
    victim = wait_for("a worker", lambda: workers(attempt))[0]
    wait_for("a row is done", lambda: len(run.documents()) > 0)
    os.kill(victim, signal.SIGKILL)
    assert run.ended()["status"] == "COMPLETED"
    assert len(run.documents()) == 6
    told = str(run.diagnosis())
    assert "signal 9 (SIGKILL)" in told, told


def test_a_plugin_that_runs_out_of_memory_gets_more(api: Api, plugin: str) -> None:
    api.ok("PATCH", f"/namespaces/{api.namespace}", json={"healing": {"mode": "auto"}})
    run = Run(api, plugin, [*slow(2, 0.1), "0.1 memory", *slow(2, 0.1)], memory_bytes=256 << 20)
    model = run.ended()
    api.ok("PATCH", f"/namespaces/{api.namespace}", json={"healing": None})
    assert model["status"] == "COMPLETED", run.diagnosis()
    assert len(run.documents()) == 5
    told = run.diagnosis()
    assert {event["event_type"] for event in told["infrastructure_events"]} == {"oom"}, told
    assert "1 failed row(s) alone with 512 MiB for each worker, not 256: worked" in str(told["timeline"]), told


def test_a_killed_driver_and_a_stop_in_ray_are_told_and_the_work_is_finished(api: Api, plugin: str) -> None:
    run = Run(api, plugin, slow(16, 0.5))
    first = run.attempt()
    wait_for("a row is done", lambda: len(run.documents()) > 0)
    os.kill(driver(first)[0], signal.SIGKILL)
    second = run.attempt(2)
    assert requests.post(f"{DASHBOARD}/api/jobs/{second}/stop", timeout=30).ok
    run.attempt(3)
    supervisor = wait_for("one supervisor", lambda: processes(lambda line: "ray::JobSupervisor" in line))
    os.kill(supervisor[0], signal.SIGKILL)
    assert run.ended()["status"] == "COMPLETED"
    assert len(run.documents()) == 16
    told = str(run.diagnosis())
    assert "signal 9 (SIGKILL)" in told, told
    assert "not by this server" in told, told
    # Ray's own words for it name the OOM killer among the possible causes.
    assert "the job's supervisor has died: WORKER_DIED" in told, told
    assert "'oom'" not in told, told


def test_a_canceled_batch_leaves_no_process(api: Api, cluster: Cluster, plugin: str) -> None:
    run = Run(api, plugin, slow(50, 1))
    attempt = run.attempt()
    wait_for("a worker", lambda: workers(attempt))
    api.ok("POST", f"/buckets/{run.bucket}/batches/{run.batch}/cancel", json={})
    assert run.ended()["status"] == "CANCELED"
    assert driver(attempt) + workers(attempt) == []


def test_the_loss_of_the_drivers_node_is_told_and_the_work_waits_for_a_node(api: Api, cluster: Cluster, plugin: str) -> None:
    # Two cores are on the second node alone.
    run = Run(api, plugin, slow(12, 0.5), num_cpus=2)
    run.attempt()
    wait_for("a row is done", lambda: len(run.documents()) > 0)
    cluster.kill_node()
    wait_for("the node is dead", lambda: "DEAD" in [node["state"] for node in cluster.nodes()])
    cluster.start_node()
    run.ended()
    told = run.diagnosis()
    assert "is DEAD: Unexpected termination: health check failed" in str(told), told
    if ray_cluster.release() < (2, 54):
        # From now on no job starts there.
        assert "ray_bug" in [event["event_type"] for event in told["infrastructure_events"]], told
        cluster.replace()
        return
    assert told["status"] == "COMPLETED", told
    assert len(run.documents()) == 12


def test_a_node_that_is_taken_away_before_its_time_is_told_as_that(
    api: Api, server: Server, cluster: Cluster, plugin: str
) -> None:
    if ray_cluster.release() < (2, 60):
        pytest.skip("earlier releases tell less")
    run = Run(api, plugin, slow(40, 0.5), num_cpus=2)
    run.attempt()
    wait_for("a row is done", lambda: len(run.documents()) > 0)
    cluster.drain_node(deadline_seconds=600)
    cluster.kill_node()
    wait_for("the node is dead", lambda: "ALIVE" not in [node["state"] for node in cluster.nodes() if not node["is_head_node"]])
    cluster.start_node()
    assert run.ended()["status"] == "COMPLETED"
    told = run.diagnosis()
    assert [event["event_type"] for event in told["infrastructure_events"]] == ["preemption"], told
    assert "Ray had been told that it would be taken away" in str(told), told
    # The address is a secret.
    secret = (server.log.parent / "fettle" / "ray-events-url").read_text().strip().rsplit("/", 1)[1]
    assert secret not in server.log.read_text()


def restart(server: Server, *more: str, forget: Callable[[Path], object] = lambda data: None) -> None:
    """Kills serve and starts the next one on its data folder, with what `forget` leaves of it."""
    server.process.kill()
    server.process.wait(timeout=30)
    port = int(server.url.rsplit(":", 1)[1])
    data: Path = server.log.parent
    forget(data / "fettle")
    server.process = start_server(data, server.files, port, "--executor", "ray", "--ray-address", DASHBOARD, *more).process
    wait_until_ready(server)


def test_serve_is_killed_and_the_next_one_takes_the_job_up(api: Api, server: Server, cluster: Cluster, plugin: str) -> None:
    run = Run(api, plugin, slow(30, 0.5))
    attempt = run.attempt()
    wait_for("a row is done", lambda: len(run.documents()) > 0)
    restart(server)
    known = len(run.documents())
    wait_for("it goes on", lambda: len(run.documents()) > known)
    # What was written down of the attempt is gone, too: Ray knows it still.
    restart(server, forget=lambda data: shutil.rmtree(data / "attempts" / attempt))
    assert driver(attempt)
    assert run.ended()["status"] == "COMPLETED"
    assert len(run.documents()) == 30
    assert not driver(attempt.replace("-a1", "-a2"))
    assert run.model()["tier_tasks"][0]["retry_count"] == 0

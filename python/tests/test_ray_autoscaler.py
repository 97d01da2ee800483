"""Nodes that a real autoscaler of Ray starts because a job needs them, and ends when none does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray_cluster
from conftest import Api, Server, serving
from ray_cluster import DASHBOARD, HEAD, Cluster, wait_for
from test_ray import Run, api, data, port
from test_ray_nodes import NODE, Spread, hosts, plugin

__all__ = ["api", "data", "plugin", "port"]

pytestmark = pytest.mark.skipif(ray_cluster.reason_to_skip() is not None, reason=str(ray_cluster.reason_to_skip()))

TYPE = "name=gpu-worker,max_workers=1,num_cpus=2,num_gpus=2,memory=4GiB"


@pytest.fixture(scope="module")
def may_start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With this file the provider of nodes starts what the autoscaler orders."""
    return tmp_path_factory.mktemp("provider") / "may-start"


@pytest.fixture(scope="module")
def cluster(data: Path, may_start: Path) -> Iterator[Cluster]:
    """A head without a GPU, and an autoscaler that may start a node that has one."""
    with ray_cluster.only_loopback():
        cluster = Cluster(
            data, gpus=(0, 0), settings={"PYTHONPATH": str(Path(__file__).parent), "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
        )
        file = cluster.folder / "autoscaler.yaml"
        file.write_text(json.dumps(autoscaling(f"{HEAD}:{cluster.port}", may_start)))
        try:
            cluster.start_head(f"--autoscaling-config={file}")
            yield cluster
        finally:
            ray_cluster.kill_all_of_this_namespace()
            cluster.remove()


def autoscaling(address: str, may_start: Path) -> dict[str, Any]:
    """A configuration of Ray's cluster launcher, of which only the autoscaler is used."""
    node = {"CPU": 2, "GPU": 2, "memory": 4 << 30}
    return {
        "cluster_name": "local",
        "max_workers": 1,
        "upscaling_speed": 1,
        "idle_timeout_minutes": 0.1,
        "provider": {
            "type": "external",
            "module": "local_nodes.LocalNodes",
            "gcs_address": address,
            "head_ip": HEAD,
            "head_type": "head",
            "may_start": str(may_start),
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
        },
        "head_node_type": "head",
        "available_node_types": {
            "head": {"resources": {"CPU": 1}, "node_config": {}, "max_workers": 0},
            "gpu-worker": {"resources": node, "node_config": {}, "min_workers": 0, "max_workers": 1},
        },
        "auth": {},
        "file_mounts": {},
        "cluster_synced_files": [],
        "file_mounts_sync_continuously": False,
        "rsync_exclude": [],
        "rsync_filter": [],
        "initialization_commands": [],
        "setup_commands": [],
        "head_setup_commands": [],
        "worker_setup_commands": [],
        "head_start_ray_commands": [],
        "worker_start_ray_commands": [],
    }


@pytest.fixture(scope="module")
def server(cluster: Cluster, data: Path, port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    ray = ["--executor", "ray", "--ray-address", DASHBOARD, "--ray-node-type", TYPE]
    with serving(data, tmp_path_factory.mktemp("files"), port, *ray) as running:
        yield running


def gpus(api: Api) -> tuple[float, float]:
    """Those that are there, and those that come on demand."""
    queue = api.ok("GET", "/batches/queue")
    return queue["capacity"]["num_gpus"], queue["on_demand"]["num_gpus"]


def test_a_job_for_a_gpu_has_the_autoscaler_start_the_node_that_has_it(api: Api, may_start: Path) -> None:
    assert gpus(api) == (0, 2)
    both = [Run(api, "text_extractor", ["one two"], num_gpus=1) for _ in range(2)]
    for run in both:
        wait_for("it is scaling", lambda run=run: run.model()["health"] == "scaling")  # type: ignore[misc]
    starting = "the autoscaler is starting 1 gpu-worker"
    wait_for("that is told", lambda: starting in run.model()["queue_context"]["reason"])
    context = run.model()["queue_context"]
    assert context["jobs"][0]["waits_for"] == "nodes", context
    assert "has had no place for it" in run.diagnosis()["summary"], run.diagnosis()
    # What not even such a node has is refused at once.
    refused = Run(api, "text_extractor", ["one"], num_gpus=3).ended()
    assert "the most on one node are 2 cores, 2 GPUs" in str(refused), refused
    may_start.touch()
    # Both start at the same moment on a node that has nothing of this server yet.
    tiers = [run.ended()["tier_tasks"][0] for run in both]
    assert [(tier["status"], tier["retry_count"]) for tier in tiers] == [("COMPLETED", 0)] * 2, tiers
    assert sorted(tier["worker_groups"] for tier in tiers) == [[f"{NODE} (GPU 0)"], [f"{NODE} (GPU 1)"]]
    wait_for("it is ended when it is not needed", lambda: gpus(api) == (0, 2))


def test_a_batch_with_work_for_more_has_a_node_started_and_grows_onto_it(api: Api, plugin: str, tmp_path: Path) -> None:
    run = Spread(api, plugin, tmp_path)
    attempt = run.attempt()
    run.hosted(attempt)
    assert gpus(api) == (2, 0)
    run.finish()
    assert len(run.nodes()) == 2, run.nodes()
    assert run.diagnosis()["infrastructure_events"] == []
    wait_for("its places are given back", lambda: not hosts(attempt))

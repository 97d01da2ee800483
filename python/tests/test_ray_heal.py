"""What runs on a cluster and should not, what waits there, and how many jobs it is given."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray_cluster
import requests
from conftest import Api, Server, serving
from ray_cluster import DASHBOARD, Cluster, wait_for
from test_ray import Run, api, cluster, data, driver, plugin, port, restart, slow

__all__ = ["api", "cluster", "data", "plugin", "port"]

pytestmark = pytest.mark.skipif(ray_cluster.reason_to_skip() is not None, reason=str(ray_cluster.reason_to_skip()))

# Jobs of this server at the same time; the cluster has three cores.
JOBS_MAX = 2


@pytest.fixture(scope="module")
def server(cluster: Cluster, data: Path, port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    files = tmp_path_factory.mktemp("files")
    ray = ["--executor", "ray", "--ray-address", DASHBOARD, "--ray-max-concurrent-jobs", str(JOBS_MAX)]
    with serving(data, files, port, *ray) as running:
        yield running


def submit(submission_id: str, entrypoint: str, metadata: dict[str, str], **resources: float) -> None:
    """A job of somebody else."""
    body = {"submission_id": submission_id, "entrypoint": entrypoint, "metadata": metadata, **resources}
    answer = requests.post(f"{DASHBOARD}/api/jobs/", json=body, timeout=60)
    assert answer.ok, answer.text


def status(submission_id: str) -> str | None:
    """What Ray says of a job; nothing when it does not know it."""
    answer = requests.get(f"{DASHBOARD}/api/jobs/{submission_id}", timeout=10)
    return str(answer.json()["status"]) if answer.ok else None


def wait_until(submission_id: str, *states: str | None) -> None:
    wait_for(f"{submission_id} is one of {states}", lambda: status(submission_id) in states)


def remove(*submission_ids: str) -> None:
    for submission_id in submission_ids:
        requests.post(f"{DASHBOARD}/api/jobs/{submission_id}/stop", timeout=30)
        wait_until(submission_id, "STOPPED", "FAILED", "SUCCEEDED", None)
        requests.delete(f"{DASHBOARD}/api/jobs/{submission_id}", timeout=30)


def heal(run: Run, action: str, dry_run: bool = False) -> list[dict[str, Any]]:
    path = f"/buckets/{run.bucket}/batches/{run.batch}/tiers/0/heal"
    found: list[dict[str, Any]] = run.api.ok("POST", path, json={"action": action, "dry_run": dry_run}, timeout=120)["findings"]
    return found


def supervisors() -> list[dict[str, Any]]:
    """The supervisors that live, or are to be started."""
    listed = requests.get(f"{DASHBOARD}/api/v0/actors?detail=1&limit=10000", timeout=30).json()
    actors: list[dict[str, Any]] = listed["data"]["result"]["result"]
    return [it for it in actors if it["class_name"] == "JobSupervisor" and it["state"] != "DEAD"]


def test_a_second_run_of_an_attempt_and_one_that_is_unknown_are_found_and_ended(api: Api, plugin: str) -> None:
    run = Run(api, plugin, slow(100, 2))
    attempt = run.attempt()
    known = requests.get(f"{DASHBOARD}/api/jobs/{attempt}", timeout=10).json()
    url = known["entrypoint"].partition("--control-url ")[2].split()[0]
    # The same attempt again by hand, under another id; an attempt that never was; and the job of another server.
    submit("again-1", f"sleep 600 # --control-url {url}", known["metadata"])
    stray = attempt.replace("-a1", "-a9")
    submit(stray, f"sleep 600 # --control-url {url}", {**known["metadata"], "fettle_attempt": stray})
    submit("other-1", "sleep 600 # --control-url http://127.0.0.1:1", known["metadata"])
    # The server looks by itself and ends what must not run; its own run and that of another server go on.
    for job in ("again-1", stray):
        wait_until(job, "STOPPED", "FAILED", None)
    wait_until("other-1", "RUNNING")
    assert driver(attempt)
    told = "a run that does not count (again-1) was ended: Ray has stopped the driver"
    wait_for("it is told", lambda: told in str(run.diagnosis()["timeline"]))
    assert heal(run, "kill_duplicates") == heal(run, "adopt_orphans") == []
    remove("other-1")
    api.ok("POST", f"/buckets/{run.bucket}/batches/{run.batch}/cancel", json={})
    assert run.ended()["status"] == "CANCELED"


def test_a_job_that_waits_in_ray_is_withdrawn_with_proof(api: Api, plugin: str) -> None:
    # Others take all cores, which Fettle does not count.
    submit("full-1", "exec sleep 600", {}, entrypoint_num_cpus=1)
    submit("full-2", "exec sleep 600", {}, entrypoint_num_cpus=2)
    wait_for("the cluster is full", lambda: status("full-1") == status("full-2") == "RUNNING")
    run = Run(api, plugin, slow(4, 0.1))
    jobs = wait_for("a job", lambda: [job for tier in run.model()["tier_tasks"] for job in tier.get("extractor_jobs", [])])
    attempt = f"{jobs[0]['ray_job_id']}-a1"
    wait_until(attempt, "PENDING")
    api.ok("POST", f"/buckets/{run.bucket}/batches/{run.batch}/cancel", json={})
    assert run.ended()["status"] == "CANCELED"
    # It is gone before there is room for it: nothing is left that could be started.
    left = [it for it in supervisors() if it["name"].endswith(f"_{attempt}")]
    assert not left, (left, status(attempt), run.diagnosis()["timeline"])
    assert status(attempt) in (None, "FAILED")
    remove("full-1", "full-2")
    wait_for("nothing of it is left", lambda: attempt not in requests.get(f"{DASHBOARD}/api/jobs/", timeout=10).text)


def test_no_more_jobs_are_on_the_cluster_than_may(api: Api, plugin: str) -> None:
    runs = [Run(api, plugin, slow(3, 0.3)) for _ in range(6)]
    waits: set[str] = set()
    most = 0
    deadline = time.monotonic() + 240
    while not all(run.model()["status"] == "COMPLETED" for run in runs):
        assert time.monotonic() < deadline, [run.model()["status"] for run in runs]
        most = max(most, len(supervisors()))
        for run in runs:
            waits.update(job["reason"] for job in (run.model().get("queue_context") or {}).get("jobs", []))
    assert most == JOBS_MAX
    assert any(f"a place among the {JOBS_MAX} job(s) that may run at once" in reason for reason in waits), waits


@pytest.mark.skipif(not os.environ.get("FETTLE_RAY_GAUNTLET"), reason="it takes long; `make ray-gauntlet` runs it")
def test_a_run_that_a_lost_memory_had_begun_is_taken_over(api: Api, server: Server, plugin: str, tmp_path: Path) -> None:
    sleeper = Run(api, plugin, slow(1, 600))
    sleeper.attempt()
    run = Run(api, plugin, slow(60, 0.5))
    first = run.attempt()
    wait_for("a row is done", lambda: len(run.documents()) > 0)
    # The next attempt waits for a second at least; what is stored in that time does not know it.
    requests.post(f"{DASHBOARD}/api/jobs/{first}/stop", timeout=30)
    wait_for("the next attempt waits", lambda: "retry in" in str(run.diagnosis()["timeline"]))
    stored = [f"state.sqlite{end}" for end in ("", "-wal", "-shm")]

    def remember(data: Path) -> None:
        for name in stored:
            if (data / name).exists():
                shutil.copy(data / name, tmp_path / name)

    def forget(data: Path) -> None:
        for name in stored:
            (data / name).unlink(missing_ok=True)
            if (tmp_path / name).exists():
                shutil.copy(tmp_path / name, data / name)
        shutil.rmtree(data / "attempts" / second)

    jobs_max = ["--ray-max-concurrent-jobs"]
    restart(server, *jobs_max, str(JOBS_MAX), forget=remember)
    second = run.attempt(2)
    begun = driver(second)
    known = len(run.documents())
    wait_for("it does rows", lambda: len(run.documents()) > known)
    # Now there is a place for the sleeper alone, so the job goes on waiting, while its next attempt runs already.
    restart(server, *jobs_max, "1", forget=forget)
    wait_for("it is taken over", lambda: "was found running and is taken over" in str(run.diagnosis()["timeline"]))
    assert driver(second) == begun
    api.ok("POST", f"/buckets/{sleeper.bucket}/batches/{sleeper.batch}/cancel", json={})
    assert run.ended()["status"] == "COMPLETED", run.diagnosis()
    assert len(run.documents()) == 60
    restart(server, *jobs_max, str(JOBS_MAX))


def test_an_attempt_that_an_older_copy_of_the_data_starts_anew_is_taken_over_where_it_runs(
    api: Api, server: Server, plugin: str, tmp_path: Path
) -> None:
    jobs_max, older = "--ray-max-concurrent-jobs", tmp_path / "older"
    sleeper = Run(api, plugin, slow(1, 600))
    sleeper.attempt()
    restart(server, jobs_max, "1")
    run = Run(api, plugin, slow(20, 0.5))
    wait_for("it waits for a place", lambda: "a place among the 1 job(s)" in str(run.model().get("queue_context")))

    def restore(data: Path) -> None:
        shutil.rmtree(data)
        shutil.copytree(older, data)

    restart(server, jobs_max, str(JOBS_MAX), forget=lambda data: shutil.copytree(data, older))
    attempt = run.attempt()
    begun = driver(attempt)
    # Rows that are told to a memory that will be lost are not told again.
    wait_for("rows are done", lambda: len(run.documents()) > 3)
    # There is room, so the attempt is planned at once, and its id is taken in Ray.
    restart(server, jobs_max, str(JOBS_MAX), forget=restore)
    wait_for("rows are told", lambda: len(run.documents()) > 0)
    assert driver(attempt) == begun
    assert run.ended()["status"] == "COMPLETED", run.diagnosis()
    assert len(run.documents()) == 20
    assert "is taken over" in str(run.diagnosis()["timeline"])
    api.ok("POST", f"/buckets/{sleeper.bucket}/batches/{sleeper.batch}/cancel", json={})
    assert sleeper.ended()["status"] == "CANCELED"


def resident(matches: str) -> float:
    """Proportional memory of the processes whose command line holds a word, in MiB."""
    total = 0
    for pid in ray_cluster.processes(lambda line: matches in line):
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def cpu_seconds(matches: str) -> float:
    """CPU time of the processes whose command line holds a word."""
    ticks = 0
    for pid in ray_cluster.processes(lambda line: matches in line):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


@pytest.mark.skipif(not os.environ.get("FETTLE_RAY_GAUNTLET"), reason="it takes minutes; `make ray-gauntlet` runs it")
def test_two_hundred_queued_jobs_do_not_hurt_the_head(api: Api, cluster: Cluster, plugin: str) -> None:
    def head() -> float:
        return sum(resident(name) for name in ("gcs_server", "dashboard/dashboard.py", "dashboard/agent.py"))

    def cpu() -> float:
        return sum(cpu_seconds(name) for name in ("gcs_server", "dashboard/dashboard.py", "dashboard/agent.py"))

    idle_mib, begun, idle_cpu = head(), time.monotonic(), cpu()
    time.sleep(20)
    idle_load = (cpu() - idle_cpu) / (time.monotonic() - begun)
    runs = [Run(api, plugin, slow(20, 10)) for _ in range(200)]
    wait_for("jobs run", lambda: len(supervisors()) == JOBS_MAX)
    most, answers, begun, before = 0, [], time.monotonic(), cpu()
    while time.monotonic() < begun + 60:
        asked = time.monotonic()
        most = max(most, len(supervisors()))
        answers.append(time.monotonic() - asked)
        time.sleep(1)
    load = (cpu() - before) / (time.monotonic() - begun)
    full_mib = head()
    print(f"\n200 queued jobs, {JOBS_MAX} at once: {most} supervisors at most")
    print("of the control store, the dashboard's main process and the agents:")
    print(f"memory {idle_mib:.0f} MiB idle, {full_mib:.0f} MiB then")
    print(f"CPU {idle_load:.2f} cores idle, {load:.2f} then")
    print(f"the head's answer to a list of actors: {sorted(answers)[len(answers) // 2] * 1000:.0f} ms in the median")
    for run in runs:
        api.ok("POST", f"/buckets/{run.bucket}/batches/{run.batch}/cancel", json={})
    for run in runs:
        assert run.ended()["status"] == "CANCELED"
    assert most == JOBS_MAX
    assert full_mib < idle_mib + 200

"""The broker of an attempt: has Ray place hosts on other nodes, and carries lines between them and the driver.

It is a child of `fettle job` and, within the same Ray job, a Ray driver: its actors end with it. It decides nothing. Lines on
standard input: `ask WORKER {resources}`, `tell WORKER LINE`, `release WORKER `; on standard output: `placed WORKER {"node"}`,
`said WORKER LINE`, `lost WORKER {"message"}`.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import re
import sys
import threading
import time
from pathlib import Path
from typing import Any, TextIO

import ray

from engine.pipelines.host import Host

# Where Ray tells a driver what its job is.
JOB_CONFIG_ENV = "RAY_JOB_CONFIG_JSON_ENV_VAR"
# A host that is told to stop ends at once, as a rule.
STOP_SECONDS = 10.0
# Ray finds a lost node within fourteen seconds by default.
NODE_SECONDS = 15.0
# Lines that go to a host in one call at most.
LINES_MAX = 1000


class Output:
    """What the driver reads."""

    def __init__(self, file: TextIO) -> None:
        self.file = file
        self.lock = threading.Lock()

    def say(self, verb: str, worker: int, rest: list[str]) -> None:
        """One line for each of `rest`."""
        text = "".join(f"{verb} {worker} {line}\n" for line in rest)
        with self.lock:
            try:
                self.file.write(text)
                self.file.flush()
            except OSError:
                # The driver is gone.
                os._exit(0)


class Place:
    """A worker's place: asked for, then held by an actor."""

    def __init__(self, worker: int, attempt: str, control_url: str, resources: dict[str, float], output: Output) -> None:
        self.worker = worker
        self.output = output
        self.to_host: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.is_placed = False
        self.is_released = False
        actor = ray.remote(Host).options(
            num_cpus=resources["num_cpus"],
            num_gpus=resources["num_gpus"],
            memory=int(resources["memory_bytes"]),
            scheduling_strategy="SPREAD",
            max_restarts=0,
            max_task_retries=0,
            # One call reads while another writes.
            max_concurrency=4,
        )
        self.actor = actor.remote(attempt, control_url, worker)
        threading.Thread(target=self.carry, daemon=True).start()

    def carry(self) -> None:
        """Tells the driver all about the place until it is gone."""
        node_id = node = ""
        try:
            node_id, node = ray.get(self.actor.__ray_call__.remote(node_of))
            ray.get(self.actor.start.remote())
            self.is_placed = True
            self.output.say("placed", self.worker, [json.dumps({"node": node})])
            threading.Thread(target=self.write, daemon=True).start()
            while (lines := ray.get(self.actor.read.remote())) is not None:
                self.output.say("said", self.worker, lines)
            message = "the host has ended by itself; its log is on its node"
        except Exception as error:
            message = told(error) + node_state(node_id, node, error)
        if not self.is_released:
            self.output.say("lost", self.worker, [json.dumps({"message": message})])

    def write(self) -> None:
        """Carries the driver's lines, in their order."""
        while True:
            lines = [self.to_host.get()]
            while len(lines) < LINES_MAX and not self.to_host.empty():
                lines.append(self.to_host.get())
            try:
                ray.get(self.actor.write.remote(lines))
            except Exception:
                # Whoever reads is told why.
                return

    def release(self) -> None:
        """Gives the place back; nothing of it is left then."""
        self.is_released = True
        threading.Thread(target=self.end, daemon=True).start()

    def end(self) -> None:
        """Ends the host in good order, or else with its actor."""
        if self.is_placed:
            try:
                ray.get(self.actor.stop.remote(), timeout=STOP_SECONDS)
            except Exception as error:
                print(f"a host does not stop: {told(error)}", file=sys.stderr)
        ray.kill(self.actor)


def node_of(_host: Any) -> tuple[str, str]:
    """The id and the address of the node that this runs on."""
    return str(ray.get_runtime_context().get_node_id()), str(ray.util.get_node_ip_address())


def told(error: BaseException) -> str:
    """An error of Ray with its type, in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def node_state(node_id: str, ip: str, error: BaseException) -> str:
    """What Ray knows of a node that an actor is lost on; waits for its end where that alone can be the cause."""
    if getattr(error, "preempted", False) or was_draining(node_id):
        return f" | node {node_id} ({ip}) was draining: Ray had been told that it would be taken away"
    deadline = time.monotonic() + (NODE_SECONDS if names_no_cause(error) else 0)
    while True:
        try:
            dead = [node for node in ray.nodes() if node["NodeID"] == node_id and not node["Alive"]]
        except Exception:
            return ""
        if dead:
            return f" | node {node_id} ({ip}) is DEAD: {dead[0].get('DeathReasonMessage') or dead[0].get('DeathReason')}"
        if time.monotonic() > deadline:
            return ""
        time.sleep(0.5)


def names_no_cause(error: BaseException) -> bool:
    """Whether Ray merely no longer reaches an actor: where it knows more, that stands behind what describes the actor."""
    is_bare = re.search(r"\b(actor_id|pid|name|namespace|ip): \S*$", str(error).strip())
    return isinstance(error, ray.exceptions.ActorUnavailableError) or is_bare is not None


def was_draining(node_id: str) -> bool:
    """Whether a node drained when it was last heard of. Ray keeps that of a dead one, too, and no public call shows it."""
    try:
        nodes = ray._private.worker.global_worker.gcs_client.get_all_node_info()
        snapshots = [node.state_snapshot for key, node in nodes.items() if key.hex() == node_id]
        return any(snapshot.state == snapshot.DRAINING for snapshot in snapshots)
    except Exception:
        # Another release of Ray.
        return False


def own_node() -> str | None:
    """The address of the node whose raylet this is below. Left to itself Ray prefers a head on the same machine."""
    option, pid = "--node_ip_address=", os.getppid()
    try:
        while pid > 1:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
            if command[0].endswith("/raylet"):
                return next((argument[len(option) :] for argument in command if argument.startswith(option)), None)
            # The name stands in parentheses, and may hold anything.
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        pass
    return None


def be_lazy() -> None:
    """Has the environment of the job made where an actor needs it.

    Ray would make it on every node that joins, as long as it remembers the job, and unpack the package over the one in use there.
    """
    config = json.loads(os.environ.get(JOB_CONFIG_ENV, "{}"))
    config.setdefault("runtime_env", {})["config"] = {"eager_install": False}
    os.environ[JOB_CONFIG_ENV] = json.dumps(config)


def connect() -> None:
    """Joins the cluster as a part of the job; what Ray prints is for the job's log."""
    be_lazy()
    ray.init(address="auto", log_to_driver=False, logging_level="ERROR", _node_ip_address=own_node())


def main() -> int:
    """Carries lines until the driver closes its end."""
    parser = argparse.ArgumentParser(description="Has Ray place hosts for an attempt.")
    parser.add_argument("--attempt", required=True)
    parser.add_argument("--control-url", required=True)
    arguments = parser.parse_args()
    # Nothing that a library prints gets among the lines.
    output = Output(os.fdopen(os.dup(1), "w"))
    os.dup2(2, 1)
    places: dict[int, Place] = {}
    connect()
    for line in sys.stdin:
        verb, number, rest = line.rstrip("\n").split(" ", 2)
        worker = int(number)
        if verb == "ask":
            places[worker] = Place(worker, arguments.attempt, arguments.control_url, json.loads(rest), output)
        elif verb == "tell" and worker in places:
            places[worker].to_host.put(rest)
        elif verb == "release" and worker in places:
            places.pop(worker).release()
    # The actors end with this process, whatever its threads wait for.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())

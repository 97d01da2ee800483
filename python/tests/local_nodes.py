"""Nodes of a Ray cluster that its autoscaler starts on this host: what a cloud is elsewhere. Ray's own process imports this."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from ray.autoscaler import tags
from ray.autoscaler.node_provider import NodeProvider

HEAD = "head"


def is_of_this_network(process: Path) -> bool:
    """Clusters of other tests have nodes with the same addresses."""
    return os.readlink(process / "ns" / "net") == os.readlink("/proc/self/ns/net")


class LocalNodes(NodeProvider):  # type: ignore[misc]
    """Starts nodes at 127.0.0.3 and so on, once there is the file that `may_start` names."""

    def __init__(self, provider_config: dict[str, Any], cluster_name: str) -> None:
        super().__init__(provider_config, cluster_name)
        head = {tags.TAG_RAY_NODE_KIND: tags.NODE_KIND_HEAD, tags.TAG_RAY_USER_NODE_TYPE: provider_config["head_type"]}
        self.tags = {HEAD: self.complete(HEAD, head)}
        self.ips = {HEAD: provider_config["head_ip"]}
        self.started = 0

    def complete(self, name: str, given: dict[str, str]) -> dict[str, str]:
        return {**given, tags.TAG_RAY_NODE_NAME: name, tags.TAG_RAY_NODE_STATUS: tags.STATUS_UP_TO_DATE}

    def non_terminated_nodes(self, tag_filters: dict[str, str]) -> list[str]:
        return [name for name, own in list(self.tags.items()) if tag_filters.items() <= own.items()]

    def is_running(self, node_id: str) -> bool:
        return node_id in self.tags

    def is_terminated(self, node_id: str) -> bool:
        return node_id not in self.tags

    def node_tags(self, node_id: str) -> dict[str, str]:
        return self.tags[node_id]

    def external_ip(self, node_id: str) -> str:
        return str(self.ips[node_id])

    def internal_ip(self, node_id: str) -> str:
        return str(self.ips[node_id])

    def create_node_with_resources_and_labels(
        self, node_config: dict[str, Any], tags_of_node: dict[str, str], count: int, resources: dict[str, int], labels: object
    ) -> None:
        while not Path(self.provider_config["may_start"]).exists():
            time.sleep(0.1)
        for _ in range(count):
            self.create_one(tags_of_node, resources)

    def create_one(self, tags_of_node: dict[str, str], resources: dict[str, int]) -> None:
        self.started += 1
        name, ip = f"node-{self.started}", f"127.0.0.{self.started + 2}"
        command = ["ray", "start", f"--address={self.provider_config['gcs_address']}", f"--node-ip-address={ip}"]
        amounts = [f"--num-cpus={resources['CPU']}", f"--num-gpus={resources['GPU']}", f"--memory={resources['memory']}"]
        ports = [f"--dashboard-agent-listen-port={52466 + self.started}"]
        # As KubeRay and Ray's own launcher do.
        environment = {
            **os.environ,
            "RAY_CLOUD_INSTANCE_ID": name,
            "RAY_NODE_TYPE_NAME": tags_of_node[tags.TAG_RAY_USER_NODE_TYPE],
        }
        subprocess.run([*command, *amounts, *ports, "--object-store-memory=100000000"], env=environment, check=True)
        self.ips[name] = ip
        self.tags[name] = self.complete(name, tags_of_node)

    def terminate_node(self, node_id: str) -> None:
        del self.tags[node_id]
        its_own = f"--node_ip_address={self.ips.pop(node_id)}"
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                command = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                if command[0].endswith("/raylet") and its_own in command and is_of_this_network(entry):
                    os.kill(int(entry.name), signal.SIGTERM)

    @staticmethod
    def bootstrap_config(cluster_config: dict[str, Any]) -> dict[str, Any]:
        return cluster_config

"""The example of a plugin with torch. What needs torch is skipped without it: its wheel has half a gigabyte, and CUDA more."""

from __future__ import annotations

import ast
import importlib.util
import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from conftest import ROOT, Api, Server
from test_plugins import fettle

EXAMPLE = ROOT / "python" / "examples" / "torch_text"
MANIFEST = tomllib.loads((EXAMPLE / "fettle-plugin.toml").read_text())


def test_its_manifest_is_taken_and_names_what_the_code_has(server: Server, api: Api, tmp_path: Path) -> None:
    module, function = MANIFEST["entry"].split(":")
    code = ast.parse((EXAMPLE / f"{module}.py").read_text())
    assert function in [node.name for node in code.body if isinstance(node, ast.FunctionDef)]
    dimensions = [node for node in code.body if ast.unparse(node).startswith("DIMENSIONS = ")]
    assert ast.unparse(dimensions[0]) == f"DIMENSIONS = {MANIFEST['vectors'][0]['dimensions']}"
    # All but the installation of torch.
    folder = tmp_path / "plugin"
    shutil.copytree(EXAMPLE, folder)
    manifest = folder / "fettle-plugin.toml"
    lines = manifest.read_text().splitlines()
    manifest.write_text("\n".join(line for line in lines if not line.startswith("requirements")))
    fettle(server, api, "plugin", "add", str(folder))
    assert "torch_text_v1" in fettle(server, api, "plugin", "ls")


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed here")
def test_rows_become_vectors_of_one_model_on_the_device_that_is_there() -> None:
    module, function = MANIFEST["entry"].split(":")
    start = {"type": "start", "folder": str(EXAMPLE), "module": module, "function": function, "parameters": {}}
    texts = ["a cat on a mat", "a cat on the mat", "", "Ω"]
    rows = [{"source_id": text, "inputs": {"text": text}} for text in texts]
    lines = [start, {"type": "rows", "rows": rows}, {"type": "rows", "rows": rows[:1]}]
    host = [sys.executable, str(ROOT / "python" / "fettle_plugin_host.py")]
    sent = "".join(json.dumps(line) + "\n" for line in lines)
    ended = subprocess.run(host, input=sent, capture_output=True, text=True, timeout=300, check=True)
    ready, together, alone = (json.loads(line) for line in ended.stdout.splitlines())
    assert ready == {"type": "ready"}
    documents = [result["documents"][0] for result in together["results"]]
    assert ended.stderr.count(f"the model is on {documents[0]['device']}") == 1
    name = MANIFEST["vectors"][0]["name"]
    vectors = [document["vectors"][name] for document in documents]
    assert {len(vector) for vector in vectors} == {MANIFEST["vectors"][0]["dimensions"]}

    def likeness(one: list[float], other: list[float]) -> float:
        return sum(a * b for a, b in zip(one, other, strict=True))

    assert likeness(vectors[0], vectors[1]) > likeness(vectors[0], vectors[3]) + 0.2
    assert likeness(alone["results"][0]["documents"][0]["vectors"][name], vectors[0]) > 0.999

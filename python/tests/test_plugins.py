"""Plugins from the command line to the documents that they make."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from conftest import KEY, Api, Server, binary, unique

MANIFEST = """
name = "{name}"
version = "v1"
kind = "{kind}"
entry = "{entry}"

[[inputs]]
key = "text"
types = ["text", "string"]

[[outputs]]
name = "words"
type = "integer"
"""

PYTHON = """
def run(rows):
    return [{"words": len(row["text"].split())} for row in rows]
"""

PROGRAM = """#!/usr/bin/env python3
import json
import sys

for line in sys.stdin:
    row = json.loads(line)
    print(json.dumps({"words": len(row["inputs"]["text"].split())}), flush=True)
"""


def fettle(server: Server, api: Api, *arguments: str) -> str:
    own = {"FETTLE_URL": server.url, "FETTLE_API_KEY": KEY, "FETTLE_NAMESPACE": api.namespace, "NO_COLOR": "1"}
    result = subprocess.run(
        [binary(), *arguments], capture_output=True, text=True, env={**os.environ, **own}, timeout=120, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def counts_words(server: Server, api: Api, folder: Path, name: str) -> None:
    """Registers the folder and sends two texts through it."""
    fettle(server, api, "plugin", "add", str(folder))
    assert f"{name}_v1" in fettle(server, api, "plugin", "ls")
    bucket = api.bucket({"body": {"type": "text"}})
    collection = api.collection(bucket, name, {"text": "body"})
    texts = ["one", "one two three"]
    blobs = [{"blobs": [{"property": "body", "type": "text", "data": text}]} for text in texts]
    batch = api.batch(bucket, api.objects(bucket, blobs))
    api.submit(bucket, batch)
    model = api.wait(bucket, batch)
    assert model["status"] == "COMPLETED", model["failure_reason"]
    documents = api.ok("POST", f"/collections/{collection}/documents/list", json={})["results"]
    assert sorted(document["words"] for document in documents) == [1, 3]
    params = model["tier_tasks"][0]["submission_params"]
    assert params["plugin_archives"], params


def test_a_python_plugin_makes_documents(server: Server, api: Api, tmp_path: Path) -> None:
    name = unique("count").replace("-", "_")
    (tmp_path / "fettle-plugin.toml").write_text(MANIFEST.format(name=name, kind="python", entry="words:run"))
    (tmp_path / "words.py").write_text(PYTHON)
    counts_words(server, api, tmp_path, name)


def test_a_program_in_any_language_makes_documents(server: Server, api: Api, tmp_path: Path) -> None:
    name = unique("program").replace("-", "_")
    (tmp_path / "fettle-plugin.toml").write_text(MANIFEST.format(name=name, kind="exec", entry="words"))
    program = tmp_path / "words"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    counts_words(server, api, tmp_path, name)

"""Whatever is sent, the answer is one that the OpenAPI document tells of, and never a fault of the server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from conftest import KEY, Api, Server, make_api, unique

# Requests are made for so long; the seed makes them the same each time, as far as the time reaches.
SECONDS = 35
STATEFUL_SECONDS = 15
SEED = 20260101
CHECKS = "not_a_server_error,response_schema_conformance,content_type_conformance,status_code_conformance"


def resources(api: Api) -> dict[str, str]:
    """Something of each kind, so that requests find what their paths name."""
    bucket = api.bucket({"body": {"type": "text"}})
    collection = api.collection(bucket, "text_extractor", {"text": "body"}, {"embedding": "lexical"})
    blob = {"property": "body", "type": "text", "data": "a text"}
    (object_id,) = api.objects(bucket, [{"blobs": [blob]}])
    batch = api.batch(bucket, [object_id])
    api.submit(bucket, batch)
    api.wait(bucket, batch)
    document = api.ok("POST", f"/collections/{collection}/documents", json={"title": "a document"})
    webhook = {
        "webhook_name": unique("hook"),
        "event_types": ["object.created"],
        "channels": [{"channel": "webhook", "configs": {"url": "http://127.0.0.1:9/"}}],
    }
    return {
        "bucket": bucket,
        "collection": collection,
        "object": object_id,
        "batch_id": batch,
        "document": document["document_id"],
        "namespace": api.namespace,
        "task": api.ok("GET", f"/batches/{batch}")["task_id"],
        "identifier": api.ok("POST", "/organizations/webhooks", json=webhook)["webhook_id"],
    }


def run(api: Api, folder: Path, key: str, seconds: int, *options: str) -> None:
    command = [str(Path(sys.executable).with_name("st")), "--config-file", str(folder / "schemathesis.toml")]
    command += ["run", f"{api.server.url}/openapi.json", "--max-time", str(seconds), "--seed", str(SEED)]
    command += ["--header", f"Authorization: Bearer {key}", "--header", f"X-Namespace: {api.namespace}"]
    command += ["--mode", "all", "--checks", CHECKS, "--continue-on-failure", "--request-timeout", "60", "--no-color"]
    command += ["--generation-database", "none", *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300 + seconds)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]


def test_no_request_gets_a_fault_or_an_answer_outside_the_document(server: Server, tmp_path: Path) -> None:
    api = make_api(server)
    lines = [f'"path.{name}" = "{value}"' for name, value in resources(api).items()]
    (tmp_path / "schemathesis.toml").write_text("\n".join(["[parameters]", *lines, ""]))
    # What is named above must last as long as the run.
    run(api, tmp_path, KEY, SECONDS, "--phases", "examples,coverage,fuzzing", "--exclude-method", "DELETE")


def test_no_chain_of_requests_does_either(server: Server, tmp_path: Path) -> None:
    """What one request made, the next ones read, change and delete."""
    api = make_api(server)
    scope = {"resource_type": "namespace", "resource_id": api.namespace}
    # A key of this namespace alone, so that no other test loses what it stands on.
    body = {"name": unique("chains"), "permissions": ["read", "write", "delete"], "scopes": [scope]}
    key = api.ok("POST", "/organizations/users/chains@example.org/api-keys", json=body)["key"]
    (tmp_path / "schemathesis.toml").write_text("")
    run(api, tmp_path, key, STATEFUL_SECONDS, "--phases", "stateful")

"""Whatever is sent, the answer is one that the OpenAPI document tells of, and never a fault of the server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from conftest import KEY, Api, Server, make_api, unique

# Requests are made for so long; the seed makes them the same each time, as far as the time reaches.
SECONDS = 45
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


def test_no_request_gets_a_fault_or_an_answer_outside_the_document(server: Server, tmp_path: Path) -> None:
    api = make_api(server)
    lines = [f'"path.{name}" = "{value}"' for name, value in resources(api).items()]
    config = tmp_path / "schemathesis.toml"
    config.write_text("\n".join(["[parameters]", *lines, ""]))
    command = [str(Path(sys.executable).with_name("st")), "--config-file", str(config), "run", f"{server.url}/openapi.json"]
    command += ["--header", f"Authorization: Bearer {KEY}", "--header", f"X-Namespace: {api.namespace}"]
    command += ["--max-time", str(SECONDS), "--seed", str(SEED), "--mode", "all", "--checks", CHECKS]
    command += ["--phases", "examples,coverage,fuzzing", "--continue-on-failure", "--request-timeout", "60", "--no-color"]
    # What is named above must last as long as the run.
    command += ["--exclude-method", "DELETE", "--generation-database", "none"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=10 * SECONDS)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]

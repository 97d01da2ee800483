"""A second namespace and a second key see and change nothing of the first: every operation of the document is tried."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
import requests
from conftest import KEY, Api, Server, make_api, unique

SECRET = "the-first-tenant-s-secret-words"
# Asking for what is public, or for what belongs to the server and not to a tenant.
PUBLIC = {"/v1/health", "/v1/health/deep", "/v1/health/liveness", "/v1/health/beat"}


@pytest.fixture(scope="module")
def first(server: Server) -> dict[str, str]:
    """A tenant with something of each kind; every text that would tell of it."""
    api = make_api(server)
    bucket = api.bucket({"body": {"type": "text"}})
    collection = api.collection(bucket, "text_extractor", {"text": "body"}, {"embedding": "lexical"})
    (object_id,) = api.objects(bucket, [{"blobs": [{"property": "body", "type": "text", "data": SECRET}]}])
    batch = api.batch(bucket, [object_id])
    api.submit(bucket, batch)
    model = api.wait(bucket, batch)
    upload = api.ok(
        "POST",
        f"/buckets/{bucket}/uploads",
        json={"filename": f"{SECRET}.txt", "content_type": "text/plain", "blob_property": "body"},
    )
    hook = {
        "webhook_name": SECRET,
        "event_types": ["object.created"],
        "channels": [{"channel": "webhook", "configs": {"url": "http://127.0.0.1:9/"}}],
    }
    webhook = api.ok("POST", "/organizations/webhooks", json=hook)["webhook_id"]
    api.objects(bucket, [{"blobs": [{"property": "body", "type": "text", "data": SECRET}]}])
    deliveries = api.ok("GET", "/organizations/webhook-deliveries")["results"]
    documents = api.ok("POST", f"/collections/{collection}/documents/list", json={})["results"]
    return {
        "namespace": api.namespace,
        "bucket": bucket,
        "collection": collection,
        "object": object_id,
        "batch_id": batch,
        "job_id": model["tier_tasks"][0]["ray_job_id"],
        "task": model["task_id"],
        "upload_id": upload["upload_id"],
        "identifier": webhook,
        "webhook": webhook,
        "delivery_id": deliveries[0]["delivery_id"] if deliveries else "whd_none",
        "document": documents[0]["document_id"],
        "tier_num": "0",
    }


def operations(server: Server) -> list[tuple[str, str]]:
    paths = requests.get(f"{server.url}/openapi.json", timeout=30).json()["paths"]
    methods = {"get", "post", "put", "patch", "delete"}
    return [(method.upper(), path) for path, item in paths.items() for method in item if method in methods]


def filled(path: str, known: dict[str, str]) -> str:
    """The path with the first tenant's ids; a name that is not known here stands for nothing of a tenant."""
    parts = []
    for part in path.split("/"):
        name = part.strip("{}*")
        parts.append(known.get(name, "unknown") if part.startswith("{") else part)
    return "/".join(parts)


def bodies(method: str, known: dict[str, str]) -> list[dict[str, Any] | None]:
    """Bodies that name the first tenant's things wherever a body can."""
    if method in ("GET", "DELETE"):
        return [None]
    collections, objects = [known["collection"]], [known["object"]]
    search = {"type": "feature_search", "query": SECRET, "limit": 5}
    return [
        {},
        {"object_ids": objects},
        {"collection_ids": collections},
        {"collection_identifiers": collections, "stages": [search]},
        {"source": {"type": "bucket", "bucket_ids": [known["bucket"]]}, "collection_name": unique("thief")},
        {"source": {"type": "collection", "collection_ids": collections}, "collection_name": unique("thief")},
        {"filters": {"OR": [{"field": "object_id", "value": known["object"]}, {"field": "bucket_id", "value": known["bucket"]}]}},
        {"search": SECRET},
        {"cursor": "0"},
        {"uploads": [{"upload_id": known["upload_id"]}]},
        {"blobs": [{"property": "body", "type": "text", "upload_id": known["upload_id"]}]},
    ]


def second(server: Server) -> Api:
    """Another tenant, with a key of its own."""
    api = make_api(server)
    scope = {"resource_type": "namespace", "resource_id": api.namespace}
    wanted = {"name": unique("second"), "permissions": ["read", "write", "delete"], "scopes": [scope]}
    key = api.ok("POST", "/organizations/users/second@example.org/api-keys", json=wanted)["key"]
    return Api(server, api.namespace, key)


def telling(known: dict[str, str]) -> set[str]:
    return {value for name, value in known.items() if name != "tier_num"} | {SECRET}


def echoed(path: str, body: dict[str, Any] | None) -> str:
    return path + json.dumps(body)


@pytest.mark.parametrize("namespace", ["own", "the first one's"])
def test_no_operation_tells_or_changes_anything_of_another_tenant(server: Server, first: dict[str, str], namespace: str) -> None:
    thief = second(server)
    if namespace == "the first one's":
        thief = Api(server, first["namespace"], thief.key)
    owner = Api(server, first["namespace"], KEY)
    before = {path: state(owner, path) for path in kept(first)}
    tried = 0
    for (method, path), body in itertools.chain.from_iterable(
        ((operation, body) for body in bodies(operation[0], first)) for operation in operations(server)
    ):
        if path in PUBLIC or path.startswith("/v1/internal"):
            continue
        target = filled(path, first)
        for query in ("", f"?search={SECRET}&cursor=0&batch_id={first['batch_id']}") if method == "GET" else ("",):
            answer = thief.call(method, target.removeprefix("/v1") + query, json=body)
            tried += 1
            assert answer.status_code < 500, f"{method} {target}: {answer.text}"
            if answer.ok:
                # What it was asked with may stand in an answer; nothing else of the first tenant may.
                told = {text for text in telling(first) if text in answer.text} - {
                    text for text in telling(first) if text in echoed(target + query, body)
                }
                assert not told, f"{method} {target} {body}: {told}"
                named = [value for name, value in first.items() if f"{{{name}}}" in path and name != "tier_num"]
                assert not named, f"{method} {target} was answered with {answer.status_code}: {answer.text[:300]}"
    assert tried > 100
    assert {path: state(owner, path) for path in before} == before


def state(owner: Api, path: str) -> dict[str, Any]:
    """What is there, but for the health of deliveries, which go on by themselves."""
    shown = owner.ok("GET", path)
    return {key: value for key, value in shown.items() if key != "delivery_health"}


def kept(known: dict[str, str]) -> list[str]:
    """What must be as it was, whatever others tried."""
    bucket, collection = f"/buckets/{known['bucket']}", f"/collections/{known['collection']}"
    return [
        f"{bucket}/objects/{known['object']}",
        f"{bucket}/uploads/{known['upload_id']}",
        f"{bucket}/batches/{known['batch_id']}",
        f"{collection}/documents/{known['document']}",
        f"/organizations/webhooks/{known['webhook']}",
        f"/tasks/{known['task']}",
        f"/namespaces/{known['namespace']}",
    ]

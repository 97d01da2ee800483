"""Each operation of the published contract, with a call that a user could make: the generated client sends it."""

from __future__ import annotations

import inspect
import json
import re
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import mixpeek.api
import requests
from conftest import ROOT, Api, Ended, Server, unique
from mixpeek import ApiClient, Configuration

CONTRACT = ROOT / "crates" / "fettle-api" / "tests" / "contract"
EMAIL = "ann@example.org"
TEXT = "the grey heron stands in the reeds"

Operation = tuple[str, str]
Ids = dict[str, Any]


@dataclass
class World:
    """A namespace with one of each."""

    api: Api
    ended: Ended
    object_id: str
    document_id: str
    task_id: str
    job_id: str
    key_name: str
    webhook_id: str

    def bucket(self) -> str:
        return self.api.bucket({"body": {"type": "text"}})

    def object(self, bucket: str) -> str:
        (made,) = self.api.objects(bucket, [{"blobs": [{"property": "body", "type": "text", "data": TEXT}]}])
        return made

    def filled(self) -> str:
        """A bucket with an object and a collection."""
        bucket = self.bucket()
        self.api.collection(bucket, "text_extractor", {"text": "body"}, {"embedding": "lexical"})
        self.object(bucket)
        return bucket

    def draft(self) -> Ids:
        """A batch that was not submitted."""
        bucket = self.filled()
        listed = self.api.ok("POST", f"/buckets/{bucket}/objects/list", json={})
        batch = self.api.batch(bucket, [listed["results"][0]["object_id"]])
        return {"bucket_identifier": bucket, "batch_id": batch}

    def running(self) -> Ids:
        """A batch that was just submitted; it may have ended when the next call comes."""
        ids = self.draft()
        self.api.submit(ids["bucket_identifier"], ids["batch_id"])
        return ids

    def failed(self) -> Ids:
        """A batch with a tier that ended with a failed row."""
        files = self.api.server.files
        bucket = self.api.bucket({"file": {"type": "text"}})
        self.api.collection(bucket, "universal_extractor", {"file": "file"})
        gone = files / unique("gone")
        gone.write_text(TEXT)
        (made,) = self.api.objects(bucket, [{"blobs": [{"property": "file", "type": "text", "data": f"file://{gone}"}]}])
        gone.unlink()
        batch = self.api.batch(bucket, [made])
        self.api.submit(bucket, batch)
        self.api.wait(bucket, batch)
        return {"bucket_identifier": bucket, "batch_id": batch, "tier_num": 0}

    def collection(self) -> str:
        return self.api.collection(self.bucket(), "text_extractor", {"text": "body"}, {"embedding": "lexical"})

    def document(self) -> Ids:
        made = self.api.ok("POST", f"/collections/{self.ended.collection}/documents", json={"title": TEXT})
        return {"collection_identifier": self.ended.collection, "document_id": made["document_id"]}

    def key(self) -> Ids:
        name = unique("key")
        self.api.ok("POST", f"/organizations/users/{EMAIL}/api-keys", json={"name": name})
        return {"user_email": EMAIL, "key_name": name}

    def webhook(self) -> Ids:
        made = self.api.ok("POST", "/organizations/webhooks", json=webhook_body())
        return {"identifier": made["webhook_id"]}

    def upload(self, sent: bool = False) -> Ids:
        """An upload; `sent` means that its bytes are there."""
        bucket = self.bucket()
        made = self.api.ok("POST", f"/buckets/{bucket}/uploads", json=upload_body())
        if sent:
            put = requests.put(made["presigned_url"], data=TEXT.encode(), headers={"Content-Type": "text/plain"}, timeout=30)
            assert put.ok, put.text
        return {"bucket_identifier": bucket, "upload_id": made["upload_id"]}

    def secrets(self) -> list[str]:
        """What another tenant must never read."""
        batch = self.ended
        resources = [batch.bucket, batch.batch, batch.collection, self.object_id, self.document_id, self.webhook_id]
        return [*resources, self.task_id, self.job_id, TEXT]


def make_world(api: Api) -> World:
    bucket = api.bucket({"body": {"type": "text"}})
    collection = api.collection(bucket, "text_extractor", {"text": "body"}, {"embedding": "lexical"})
    (made,) = api.objects(bucket, [{"blobs": [{"property": "body", "type": "text", "data": TEXT}]}])
    batch = api.batch(bucket, [made])
    api.submit(bucket, batch)
    model = api.wait(bucket, batch)
    documents = api.ok("POST", f"/collections/{collection}/documents/list", json={})["results"]
    tier = model["tier_tasks"][0]
    key_name = unique("key")
    api.ok("POST", f"/organizations/users/{EMAIL}/api-keys", json={"name": key_name})
    ended = Ended(bucket, batch, collection, model)
    job = tier["extractor_jobs"][0]["ray_job_id"]
    webhook = api.ok("POST", "/organizations/webhooks", json=webhook_body())["webhook_id"]
    return World(api, ended, made, documents[0]["document_id"], tier["task_id"], job, key_name, webhook)


def webhook_body() -> dict[str, Any]:
    return {
        "webhook_name": unique("webhook"),
        "event_types": ["collection.documents.batch_completed"],
        "channels": [{"channel": "webhook", "configs": {"url": "http://127.0.0.1:9/hook"}}],
    }


def upload_body() -> dict[str, Any]:
    return {"filename": "heron.txt", "content_type": "text/plain", "blob_property": "body", "blob_type": "text"}


@dataclass
class Case:
    """How an operation is called. Without `ids` it is about what the world has already."""

    ids: Callable[[World], Ids] | None = None
    body: Callable[[World, Ids], Any] | None = None
    query: Ids = field(default_factory=dict)


def the_bucket(world: World) -> Ids:
    return {"bucket_identifier": world.bucket()}


def the_filled_bucket(world: World) -> Ids:
    return {"bucket_identifier": world.filled()}


def an_object(world: World) -> Ids:
    bucket = world.bucket()
    return {"bucket_identifier": bucket, "object_identifier": world.object(bucket)}


def a_draft_bucket(world: World) -> Ids:
    return {"bucket_identifier": world.draft()["bucket_identifier"]}


def a_namespace(world: World) -> Ids:
    made = world.api.ok("POST", "/namespaces", json={"namespace_name": unique("spare")})
    return {"namespace_identifier": made["namespace_id"]}


def a_running_job(world: World) -> Ids:
    ids = world.running()
    model = world.api.ok("GET", f"/buckets/{ids['bucket_identifier']}/batches/{ids['batch_id']}")
    return {**ids, "tier_num": 0, "ray_job_id": model["tier_tasks"][0]["extractor_jobs"][0]["ray_job_id"]}


def a_task(world: World) -> Ids:
    ids = world.running()
    model = world.api.ok("GET", f"/buckets/{ids['bucket_identifier']}/batches/{ids['batch_id']}")
    return {"task_id": model["tier_tasks"][0]["task_id"]}


def a_triggered_collection(world: World) -> Ids:
    bucket = world.bucket()
    collection = world.api.collection(bucket, "text_extractor", {"text": "body"}, {"embedding": "lexical"})
    world.object(bucket)
    return {"collection_identifier": collection}


def new_object(_world: World, _ids: Ids) -> Any:
    return {"blobs": [{"property": "body", "type": "text", "data": TEXT}]}


def all_objects(world: World, ids: Ids) -> Any:
    listed = world.api.ok("POST", f"/buckets/{ids['bucket_identifier']}/objects/list", json={})
    return {"object_ids": [found["object_id"] for found in listed["results"]]}


def one_more_object(world: World, ids: Ids) -> Any:
    return {"object_ids": [world.object(ids["bucket_identifier"])]}


def new_collection(world: World, _ids: Ids) -> Any:
    return {
        "collection_name": unique("collection"),
        "source": {"type": "bucket", "bucket_ids": [world.ended.bucket]},
        "feature_extractor": {
            "feature_extractor_name": "text_extractor",
            "version": "v1",
            "input_mappings": {"text": "body"},
            # Without its type the generated client takes the parameters for those of another extractor.
            "parameters": {"extractor_type": "text_extractor"},
        },
    }


def a_search(world: World, _ids: Ids) -> Any:
    search = {"feature_uri": "mixpeek://text_extractor@v1/text_extractor_v1_embedding", "query": TEXT, "top_k": 5}
    stage = {
        "stage_name": "find",
        "stage_type": "filter",
        "config": {"stage_id": "feature_search", "parameters": {"searches": [search]}},
    }
    return {"collection_identifiers": [world.ended.collection], "stages": [stage], "inputs": {}}


def confirmations(_world: World, ids: Ids) -> Any:
    return {"confirmations": [{"upload_id": ids["upload_id"]}]}


def is_just(value: Any) -> Callable[[World, Ids], Any]:
    return lambda _world, _ids: value


BUCKET, BATCH = "/v1/buckets/{bucket_identifier}", "/v1/buckets/{bucket_identifier}/batches/{batch_id}"
OBJECT, UPLOADS = BUCKET + "/objects/{object_identifier}", BUCKET + "/uploads"
COLLECTION = "/v1/collections/{collection_identifier}"
DOCUMENT = COLLECTION + "/documents/{document_id}"
NAMESPACE = "/v1/namespaces/{namespace_identifier}"
KEYS = "/v1/organizations/users/{user_email}/api-keys"
WEBHOOKS = "/v1/organizations/webhooks"

# What needs a body or something of its own; every other operation reads what the world has.
CASES: dict[Operation, Case] = {
    ("POST", "/v1/buckets"): Case(
        body=lambda _w, _i: {"bucket_name": unique("bucket"), "bucket_schema": {"properties": {"body": {"type": "text"}}}}
    ),
    ("DELETE", BUCKET): Case(the_bucket),
    ("PATCH", BUCKET): Case(the_bucket, is_just({"description": "patched"})),
    ("PUT", BUCKET): Case(the_bucket, is_just({"description": "put"})),
    ("POST", BUCKET + "/objects"): Case(the_bucket, new_object),
    ("POST", BUCKET + "/objects/batch"): Case(the_bucket, lambda w, i: {"objects": [new_object(w, i)]}),
    ("DELETE", OBJECT): Case(an_object),
    ("PATCH", OBJECT): Case(an_object, is_just({"metadata": {"a": 1}})),
    ("PUT", OBJECT): Case(an_object, is_just({"metadata": {"a": 1}})),
    ("POST", UPLOADS): Case(the_bucket, lambda _w, _i: upload_body()),
    ("POST", UPLOADS + "/batch"): Case(the_bucket, lambda _w, _i: {"uploads": [upload_body()]}),
    ("GET", UPLOADS + "/{upload_id}"): Case(World.upload),
    ("DELETE", UPLOADS + "/{upload_id}"): Case(World.upload),
    ("POST", UPLOADS + "/{upload_id}/confirm"): Case(lambda w: w.upload(sent=True), is_just({})),
    ("POST", UPLOADS + "/confirm/batch"): Case(lambda w: w.upload(sent=True), confirmations),
    ("POST", BUCKET + "/batches"): Case(the_filled_bucket, all_objects),
    ("POST", BUCKET + "/batches/bulk-submit"): Case(the_filled_bucket, is_just({})),
    ("POST", BUCKET + "/batches/submit-all"): Case(a_draft_bucket),
    ("POST", BATCH + "/objects"): Case(World.draft, one_more_object),
    ("POST", BATCH + "/submit"): Case(World.draft, is_just({})),
    ("PATCH", BATCH): Case(World.draft, is_just({"metadata": {"a": 1}})),
    ("DELETE", BATCH): Case(World.draft),
    ("DELETE", BATCH + "/documents"): Case(World.failed),
    ("POST", BATCH + "/estimate-cost"): Case(World.draft),
    ("POST", BATCH + "/cancel"): Case(World.running, query={"reason": "a test"}),
    ("POST", BATCH + "/tiers/{tier_num}/cancel"): Case(a_running_job, query={"reason": "a test"}),
    ("POST", BATCH + "/tiers/{tier_num}/jobs/{ray_job_id}/cancel"): Case(a_running_job, query={"reason": "a test"}),
    ("POST", BATCH + "/tiers/{tier_num}/retry"): Case(World.failed, is_just({})),
    ("POST", BATCH + "/tiers/{tier_num}/heal"): Case(World.failed, is_just({"action": "detect_stuck", "dry_run": True})),
    ("POST", BATCH + "/retry"): Case(World.failed, is_just({"retry_mode": "all"})),
    ("POST", BATCH + "/resubmit"): Case(World.failed, is_just({})),
    ("POST", "/v1/batches/{batch_id}/cancel"): Case(World.running, query={"reason": "a test"}),
    ("DELETE", "/v1/tasks/{task_id}"): Case(a_task),
    ("POST", "/v1/collections"): Case(body=new_collection),
    ("DELETE", COLLECTION): Case(lambda w: {"collection_identifier": w.collection()}),
    ("PATCH", COLLECTION): Case(lambda w: {"collection_identifier": w.collection()}, is_just({"description": "patched"})),
    ("POST", COLLECTION + "/trigger"): Case(a_triggered_collection, is_just({})),
    ("POST", COLLECTION + "/documents"): Case(body=is_just({"title": "by hand"})),
    ("DELETE", DOCUMENT): Case(World.document),
    ("PATCH", DOCUMENT): Case(World.document, is_just({"lang": "en"})),
    ("PUT", DOCUMENT): Case(World.document, is_just({"title": "again"})),
    ("POST", "/v1/namespaces"): Case(body=lambda _w, _i: {"namespace_name": unique("made")}),
    ("DELETE", NAMESPACE): Case(a_namespace),
    ("PATCH", NAMESPACE): Case(a_namespace, is_just({"description": "patched"})),
    ("PUT", NAMESPACE): Case(a_namespace, is_just({"description": "put"})),
    ("POST", KEYS): Case(body=lambda _w, _i: {"name": unique("key")}),
    ("DELETE", KEYS + "/{key_name}"): Case(World.key),
    ("PATCH", KEYS + "/{key_name}"): Case(World.key, is_just({"description": "patched"})),
    ("POST", KEYS + "/{key_name}/rotate"): Case(World.key),
    ("POST", WEBHOOKS): Case(body=lambda _w, _i: webhook_body()),
    ("GET", WEBHOOKS + "/{identifier}"): Case(World.webhook),
    ("PUT", WEBHOOKS + "/{identifier}"): Case(World.webhook, lambda _w, _i: webhook_body()),
    ("DELETE", WEBHOOKS + "/{identifier}"): Case(World.webhook),
    ("POST", "/v1/retrievers/execute"): Case(body=a_search),
}


def known_ids(world: World) -> Ids:
    return {
        "bucket_identifier": world.ended.bucket,
        "batch_id": world.ended.batch,
        "collection_identifier": world.ended.collection,
        "object_identifier": world.object_id,
        "document_id": world.document_id,
        "namespace_identifier": world.api.namespace,
        "feature_extractor_id": "text_extractor_v1",
        "task_id": world.task_id,
        "tier_num": 0,
        "user_email": EMAIL,
    }


def contract() -> list[Operation]:
    """The operations of the published contract, without those that are listed as not built."""
    text = (CONTRACT / "left-out.txt").read_text()
    missing = {line.split(":", 1)[0] for line in text.splitlines() if re.match(r"[A-Z]+ /\S+:", line)}
    operations = []
    for name in ("batch-api.json", "platform-api.json"):
        for told in json.loads((CONTRACT / name).read_text())["operations"]:
            if f"{told['method']} {told['path']}" not in missing:
                operations.append((told["method"], told["path"]))
    return operations


@cache
def methods() -> dict[Operation, tuple[type, str]]:
    """The generated client's method for each operation."""
    found: dict[Operation, tuple[type, str]] = {}
    pattern = r"def _(\w+)_serialize\(.*?method='(\w+)',\s*resource_path='([^']+)'"
    for _, owner in inspect.getmembers(mixpeek.api, inspect.isclass):
        for name, method, path in re.findall(pattern, inspect.getsource(owner), re.DOTALL):
            found.setdefault((method, path), (owner, name))
    return found


@dataclass
class Prepared:
    """A call that is ready to be sent, by this tenant or by another."""

    operation: Operation
    arguments: Ids

    def send(self, client: ApiClient) -> Any:
        owner, name = methods()[self.operation]
        return getattr(owner(client), name)(**self.arguments)


def prepare(world: World, operation: Operation) -> Prepared:
    """Makes what the call needs in the world."""
    case = CASES.get(operation, Case())
    ids = {**known_ids(world), **(case.ids(world) if case.ids else {})}
    owner, name = methods()[operation]
    parameters = inspect.signature(getattr(owner, name)).parameters
    arguments = {key: ids[key] for key in re.findall(r"{(\w+)}", operation[1])}
    if case.body:
        parameter = next(
            key for key in parameters if key.endswith(("_request", "_input", "request_body")) or key.startswith("body_")
        )
        arguments[parameter] = as_model(parameters[parameter].annotation, case.body(world, ids))
    return Prepared(operation, {**arguments, **case.query})


def as_model(annotation: Any, body: dict[str, Any]) -> Any:
    """A body as the generated class that the method wants, or as it is where the method wants a mapping."""
    if isinstance(annotation, type) and hasattr(annotation, "from_dict"):
        return annotation.from_dict(body)
    for inner in typing.get_args(annotation):
        model = as_model(inner, body)
        if model is not body:
            return model
    return body


def client_of(server: Server, namespace: str, key: str) -> ApiClient:
    client = ApiClient(Configuration(host=server.url, access_token=key))
    client.set_default_header("X-Namespace", namespace)
    return client

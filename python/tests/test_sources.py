"""What becomes of a collection's sources: which become rows, and what takes the place of earlier documents."""

from __future__ import annotations

import time
from typing import Any

from conftest import BATCH_SECONDS, KEY, Api, Server, unique
from mixpeek import ApiClient, BucketBatchesApi, CollectionsApi, Configuration


def client(server: Server, api: Api) -> ApiClient:
    made = ApiClient(Configuration(host=server.url, access_token=KEY))
    made.set_default_header("X-Namespace", api.namespace)
    return made


def collection_of(api: Api, source: dict[str, Any], **extractor: Any) -> str:
    body = {
        "collection_name": unique("collection"),
        "source": source,
        "feature_extractor": {
            "feature_extractor_name": "passthrough_extractor",
            "version": "v1",
            "include_all_source_fields": True,
            **extractor,
        },
    }
    return str(api.ok("POST", "/collections", json=body)["collection_id"])


def test_only_sources_that_match_become_rows(server: Server, api: Api) -> None:
    bucket = api.bucket({"body": {"type": "text"}, "lang": {"type": "string"}})
    english = {"field": "lang", "operator": "eq", "value": "en"}
    first = collection_of(api, {"type": "bucket", "bucket_ids": [bucket], "source_filters": {"filters": english}})
    long = {"AND": [{"field": "n", "operator": "gte", "value": 3}]}
    second = collection_of(api, {"type": "collection", "collection_ids": [first], "source_filters": {"filters": long}})
    blobs = [
        {"blobs": [{"property": "body", "type": "text", "data": "x"}], "lang": lang, "n": n}
        for n, lang in enumerate(["en", "de", "en", "en", "fr"])
    ]
    batch = api.batch(bucket, api.objects(bucket, blobs))
    api.submit(bucket, batch)
    assert api.wait(bucket, batch)["status"] == "COMPLETED"

    model = BucketBatchesApi(client(server, api)).get_batch_buckets_batches(bucket, batch)
    tiers = [
        (tier.source_documents_fetched, tier.documents_after_source_filter, tier.documents_written) for tier in model.tier_tasks
    ]
    assert tiers == [(5, 3, 3), (3, 1, 1)]
    audit = api.ok("GET", f"/batches/{batch}/audit")
    assert audit["all_balanced"] is True
    assert audit["has_lost_objects"] is False
    documents = api.ok("POST", f"/collections/{second}/documents/list", json={})["results"]
    assert [document["n"] for document in documents] == [3]
    # What was left out on purpose is not missing.
    reconciled = api.ok("GET", f"/collections/{first}/reconciliation")
    assert {one["reason"] for one in reconciled["discrepancies"]} <= {"skipped"}

    shown = CollectionsApi(client(server, api)).get_collection(first)
    assert shown.source.source_filters.to_dict()["filters"]["AND"][0]["field"] == "lang"
    assert shown.feature_extractor.parameters is not None


def test_a_source_that_has_become_shorter_keeps_no_old_documents(api: Api) -> None:
    properties = {"name": {"type": "string"}, "body": {"type": "text"}}
    body = {"bucket_name": unique("bucket"), "bucket_schema": {"properties": properties}, "unique_key": {"fields": ["name"]}}
    bucket = api.ok("POST", "/buckets", json=body)["bucket_id"]
    parameters = {"embedding": "lexical", "split_by": "words", "chunk_size": 2, "chunk_overlap": 0}
    collection = api.collection(bucket, "text_extractor", {"text": "body"}, parameters)
    later = collection_of(api, {"type": "collection", "collection_ids": [collection]})

    def put(name: str, words: str) -> str:
        source = {"name": name, "blobs": [{"property": "body", "type": "text", "data": words}]}
        return str(api.ok("POST", f"/buckets/{bucket}/objects?policy=upsert", json=source)["object_id"])

    changed, kept = put("changed", "a b c d e f g h i j k l m n o p q r s t"), put("kept", "y z")
    first = api.batch(bucket, [changed, kept])
    api.submit(bucket, first)
    before = api.wait(bucket, first)
    assert (before["documents_written"], before["documents_replaced"], before["documents_deleted"]) == (22, 0, 0)

    assert put("changed", "one two three four") == changed
    second = api.batch(bucket, [changed])
    api.submit(bucket, second)
    after = api.wait(bucket, second)
    # Eight chunks are gone, with the eight documents that the second tier had made of them.
    assert (after["documents_written"], after["documents_replaced"], after["documents_deleted"]) == (4, 4, 16)
    assert after["tier_tasks"][0]["documents_deleted"] == 16
    for made in (collection, later):
        assert api.ok("GET", f"/collections/{made}/documents/count")["count"] == 3
    texts = {document["text"] for document in api.ok("POST", f"/collections/{collection}/documents/list", json={})["results"]}
    assert texts == {"one two", "three four", "y z"}


def test_an_object_that_failed_in_one_collection_only_is_partial(server: Server, api: Api) -> None:
    bucket = api.bucket({"body": {"type": "text"}, "picture": {"type": "image"}})
    api.collection(bucket, "text_extractor", {"text": "body"}, {"embedding": "lexical"})
    pictures = api.collection(bucket, "image_extractor", {"image": "picture"})
    (server.files / "no-picture.png").write_text("this is no picture")
    (server.files / "gone.txt").write_text("soon gone")
    broken = {"property": "picture", "type": "image", "data": f"file://{server.files}/no-picture.png"}
    gone = {"property": "body", "type": "text", "data": f"file://{server.files}/gone.txt"}
    half = {"blobs": [{"property": "body", "type": "text", "data": "a text"}, broken]}
    [partial, failed] = api.objects(bucket, [half, {"blobs": [gone, broken]}])
    (server.files / "gone.txt").unlink()
    batch = api.batch(bucket, [partial, failed])
    api.submit(bucket, batch)
    model = api.wait(bucket, batch)
    assert model["status"] == "COMPLETED_WITH_ERRORS"
    assert (model["failed_object_count"], model["partial_object_count"]) == (1, 1)
    assert [record["object_id"] for record in model["failed_objects"]] == [failed]
    [entry] = model["partial_objects"]
    assert (entry["object_id"], entry["collection_id"]) == (partial, pictures)
    assert entry["missing_feature"].startswith("image_extractor")


def test_a_scheduled_collection_is_filled_by_itself(api: Api) -> None:
    bucket = api.bucket({"body": {"type": "text"}})
    api.objects(bucket, [{"blobs": [{"property": "body", "type": "text", "data": "again and again"}]}])
    schedule = {"trigger_type": "interval", "schedule_config": {"interval_seconds": 3600, "start_immediately": True}}
    body = {"collection_name": unique("scheduled"), "source": {"type": "bucket", "bucket_ids": [bucket]}, "schedule": schedule}
    collection = api.ok("POST", "/collections", json=body)["collection_id"]

    deadline = time.monotonic() + BATCH_SECONDS
    while not (shown := api.ok("GET", f"/collections/{collection}")["schedule"])["last_batch_ids"]:
        assert time.monotonic() < deadline, shown
        time.sleep(0.2)
    assert shown["schedule_config"] == {"interval_seconds": 3600}
    assert shown["last_error"] is None
    assert shown["next_run_at"] > shown["last_run_at"]
    model = api.wait(bucket, shown["last_batch_ids"][0])
    assert (model["status"], model["documents_written"]) == ("COMPLETED", 1)

    for config, word in [
        ({"interval_seconds": 5}, "too short"),
        ({"interval_seconds": "x"}, "interval_seconds"),
        ({}, "interval_seconds"),
    ]:
        refused = api.refused(
            422,
            "POST",
            "/collections",
            json={**body, "collection_name": unique("s"), "schedule": {"trigger_type": "interval", "schedule_config": config}},
        )
        assert word in str(refused)
    cron = {"trigger_type": "cron", "schedule_config": {"cron_expression": "0 2 * * *", "timezone": "Europe/Berlin"}}
    nightly = api.ok("POST", "/collections", json={**body, "collection_name": unique("nightly"), "schedule": cron})
    assert nightly["schedule"]["schedule_config"] == cron["schedule_config"]
    assert nightly["schedule"]["last_run_at"] is None

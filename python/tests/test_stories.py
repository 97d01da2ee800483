"""A user's day with the published short client: from the first object to the search, with a failure in between."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests
from conftest import KEY, Api, Server, make_api, unique
from mixpeek import Mixpeek
from mixpeek._client.client import MixpeekAPIError
from test_webhooks import Receiver, documented_verify, receiver

__all__ = ["receiver"]
HERON = "the grey heron stands in the reeds"
KINGFISHER = "the kingfisher dives from its branch"


@pytest.fixture
def api(server: Server) -> Api:
    """A namespace of its own: the short client's `index` takes the first bucket."""
    return make_api(server)


@pytest.fixture
def client(server: Server, api: Api) -> Mixpeek:
    return Mixpeek(KEY, namespace=api.namespace, base_url=server.base)


def made_place(client: Mixpeek) -> tuple[str, str, str]:
    """A bucket of files, a collection of their texts, and one of the words of those."""
    schema = {"properties": {"file": {"type": "text"}}}
    bucket = client.buckets.create(name=unique("birds"), bucket_schema=schema)["bucket_id"]
    pages = client.collections.create(
        name=unique("pages"),
        source={"type": "bucket", "bucket_ids": [bucket]},
        feature_extractor={
            "feature_extractor_name": "universal_extractor",
            "version": "v1",
            "input_mappings": {"file": "file"},
        },
    )["collection_id"]
    words = client.collections.create(
        name=unique("words"),
        source={"type": "collection", "collection_ids": [pages]},
        feature_extractor={
            "feature_extractor_name": "text_extractor",
            "version": "v1",
            "input_mappings": {"text": "text"},
            "parameters": {"embedding": "lexical"},
        },
    )["collection_id"]
    return bucket, pages, words


def test_a_batch_is_filled_fails_is_explained_mended_and_searched(
    client: Mixpeek, api: Api, server: Server, receiver: Receiver
) -> None:
    hook = client._request("POST", "/organizations/webhooks", body=webhook(receiver.url))
    bucket, pages, words = made_place(client)
    heron, kingfisher = server.files / f"{bucket}-1.txt", server.files / f"{bucket}-2.txt"
    heron.write_text(HERON)
    kingfisher.write_text(KINGFISHER)
    first = client.buckets.upload(bucket, url=f"file://{heron}", blob_property="file", blob_type="text")
    client.index(f"file://{kingfisher}", blob_property="file", blob_type="text")
    listed = client.buckets.list_objects(bucket)["results"]
    assert len(listed) == 2
    kingfisher.unlink()

    request = {"object_ids": [each["object_id"] for each in listed], "auto_submit": True}
    batch = client._request("POST", f"/buckets/{bucket}/batches", body=request)["batch_id"]
    model = api.wait(bucket, batch)
    assert client.tasks.get(model["task_id"])["status"] == model["status"] == "COMPLETED_WITH_ERRORS"
    assert client.batches.audit(bucket, batch)["all_balanced"] is True
    (failed,) = client.batches.failed_documents(bucket, batch, tier_num=0)["failed_documents"]
    told = client._request("GET", f"/buckets/{bucket}/batches/{batch}/diagnose")
    assert told["failed_document_count"] == 1
    assert told["failed_documents_sample"][0]["document_id"] == failed["document_id"]
    assert told["recommendations"]

    kingfisher.write_text(KINGFISHER)
    retried = client._request("POST", f"/buckets/{bucket}/batches/{batch}/retry", body={"retry_mode": "all"})
    assert retried["documents_retried"] == 1
    model = api.wait(bucket, batch)
    assert model["status"] == "COMPLETED"
    assert [tier["documents_written"] for tier in model["tier_tasks"]] == [2, 2]

    found = client.search("kingfisher", collection=words, limit=1)["documents"][0]
    assert KINGFISHER in json.dumps(found)
    above = client._request("GET", f"/collections/{words}/documents/{found['document_id']}/ancestors")
    assert [each["collection_id"] for each in above] == [pages]
    below = client._request("GET", f"/collections/{pages}/documents/{above[0]['document_id']}/descendants")
    assert found["document_id"] in [each["document_id"] for each in below]
    page = client.documents.list(pages)["results"]
    assert {each["document_id"] for each in page} >= {above[0]["document_id"]}
    assert client.documents.get(pages, above[0]["document_id"])["collection_id"] == pages
    assert first["object_id"] in {each["object_id"] for each in listed}

    verify, secret = documented_verify(), hook["channels"][0]["configs"]["signing_secret"]
    for headers, body in receiver.wait(1):
        verify(secret, headers, body)


def webhook(url: str) -> dict[str, Any]:
    return {
        "webhook_name": unique("hook"),
        "event_types": ["batch.ended"],
        "channels": [{"channel": "webhook", "configs": {"url": url}}],
    }


def test_a_batch_tells_what_is_known_of_it(client: Mixpeek, api: Api, server: Server) -> None:
    bucket, pages, _words = made_place(client)
    heron = server.files / f"{bucket}.txt"
    heron.write_text(HERON)
    client.buckets.upload(bucket, url=f"file://{heron}", blob_property="file", blob_type="text")
    model = api.wait(bucket, client.collections.trigger(pages)["batch_id"])
    assert model["submitted_by_key_prefix"]
    assert KEY.startswith(model["submitted_by_key_prefix"])
    # Where nothing failed there is nothing to be sure of.
    assert model["status_diagnostics"] == {"case": None, "confidence": None, "would_decide": []}
    assert model["progress"]["chunk_stats"] == {"unit": "document", "total_chunks": 1, "mean_units_per_chunk": 1.0}
    tier = model["tier_tasks"][0]
    assert (tier["source_documents_fetched"], tier["documents_after_source_filter"]) == (1, 1)
    assert (tier["documents_missing_input_fields"], tier["documents_before_processing"]) == (0, 1)
    assert len(tier["worker_groups"]) == 1
    assert tier["ray_job_logs_captured_at"] is None or tier["ray_job_logs"]
    assert tier["extractor_jobs"][0]["warnings"] == []


def test_the_queue_and_the_loop_tell_where_they_stand(client: Mixpeek, server: Server) -> None:
    queue = client._request("GET", "/batches/queue")
    assert (queue["queued_batches"], queue["processing_batches"], queue["waiting_jobs"]) == (0, 0, [])
    assert queue["capacity"]["num_cpus"] > 0
    beat = requests.get(f"{server.base}/health/beat", timeout=30).json()
    assert beat["status"] == "OK"
    assert beat["age_seconds"] <= beat["age_seconds_max"]
    deep = requests.get(f"{server.base}/health/deep", params={"metrics": "true"}, timeout=60).json()
    assert deep["data"]["task_queue"] is True
    assert deep["meta"]["metrics"]["waiting_jobs"] >= 0


def test_notes_of_a_batch_have_the_types_that_clients_read(client: Mixpeek, api: Api) -> None:
    bucket, _pages, _words = made_place(client)
    notes = {"tags": ["spring", "river"], "campaign_id": "c1", "anything": 3}
    made = client._request("POST", f"/buckets/{bucket}/batches", body={"metadata": notes})
    assert client.batches.get(bucket, made["batch_id"])["metadata"] == notes
    with pytest.raises(MixpeekAPIError) as refused:
        client._request("PATCH", f"/batches/{made['batch_id']}", body={"metadata": {"tags": "spring"}})
    assert refused.value.status == 422
    issue = refused.value.detail["error"]["details"]["validation_errors"][0]
    assert issue["location"] == ["body", "metadata", "tags"]


def test_every_answer_has_its_request_id(server: Server, api: Api) -> None:
    own = unique("request")
    answer = requests.get(f"{server.base}/buckets", headers={**api.headers, "X-Request-Id": own}, timeout=30)
    assert answer.headers["x-request-id"] == own
    refused = requests.get(f"{server.base}/buckets/none", headers=api.headers, timeout=30)
    assert refused.status_code == 404
    assert refused.headers["x-request-id"] not in {"", own}

"""What is done with batches that are over, and with many at once, through the published client."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import KEY, Api, Ended, Server
from mixpeek import ApiClient, BucketBatchesApi, Configuration
from mixpeek.exceptions import ConflictException
from mixpeek.models.bulk_submit_batches_request import BulkSubmitBatchesRequest
from mixpeek.models.create_batch_request import CreateBatchRequest
from mixpeek.models.retry_batch_request import RetryBatchRequest


@pytest.fixture(scope="module")
def batches(server: Server, api: Api) -> BucketBatchesApi:
    client = ApiClient(Configuration(host=server.url, access_token=KEY))
    client.set_default_header("X-Namespace", api.namespace)
    return BucketBatchesApi(client)


def texts(api: Api, count: int) -> tuple[str, str, list[str]]:
    """A bucket with texts, and a collection that reads it."""
    bucket = api.bucket({"body": {"type": "text"}})
    collection = api.collection(bucket, "text_extractor", {"text": "body"}, {"embedding": "lexical"})
    blobs = [{"blobs": [{"property": "body", "type": "text", "data": f"text {number}"}]} for number in range(count)]
    return bucket, collection, api.objects(bucket, blobs)


def with_a_gone_file(api: Api, server: Server) -> tuple[Ended, Path]:
    """A batch of two files, one of which was gone when it ran."""
    bucket = api.bucket({"file": {"type": "text"}})
    collection = api.collection(bucket, "universal_extractor", {"file": "file"})
    there, gone = server.files / f"{bucket}-there.txt", server.files / f"{bucket}-gone.txt"
    there.write_text("I am here")
    gone.write_text("I come later")
    blobs = [{"blobs": [{"property": "file", "type": "text", "data": f"file://{path}"}]} for path in (there, gone)]
    objects = api.objects(bucket, blobs)
    gone.unlink()
    batch = api.batch(bucket, objects)
    api.submit(bucket, batch)
    return Ended(bucket, batch, collection, api.wait(bucket, batch)), gone


def test_a_failed_document_is_retried_once_its_file_is_there(batches: BucketBatchesApi, api: Api, server: Server) -> None:
    ended, gone = with_a_gone_file(api, server)
    assert ended.model["failed_object_count"] == 1
    gone.write_text("now I am here, too")
    everything = RetryBatchRequest(retry_mode="all", max_retry_count=2, tier_nums=[0])
    answer = batches.retry_batch_buckets_batches(ended.bucket, ended.batch, everything)
    assert answer["documents_retried"] == 1
    model = api.wait(ended.bucket, ended.batch)
    assert (model["status"], model["documents_written"]) == ("COMPLETED", 2)
    assert api.ok("GET", f"/batches/{ended.batch}/audit")["all_balanced"] is True
    with pytest.raises(ConflictException):
        batches.retry_batch_buckets_batches(ended.bucket, ended.batch, RetryBatchRequest())


def test_a_batch_is_resubmitted_held_and_loses_its_documents(batches: BucketBatchesApi, api: Api) -> None:
    bucket, collection, objects = texts(api, 2)
    batch = api.batch(bucket, objects)
    api.submit(bucket, batch)
    api.wait(bucket, batch)
    answer = batches.resubmit_batch_buckets_batches(bucket, batch, from_tier=0, auto_submit=False)
    assert answer["status"] == "DRAFT"
    assert batches.get_batch_buckets_batches(bucket, batch).status.value == "DRAFT"
    batches.submit_batch_buckets_batches(bucket, batch)
    assert api.wait(bucket, batch)["status"] == "COMPLETED"
    batches.resubmit_batch_buckets_batches(bucket, batch, request_body={"from_tier": 0})
    assert api.wait(bucket, batch)["documents_written"] == 2
    assert batches.delete_batch_documents_buckets_batches(bucket, batch)["deleted_count"] == 2
    assert api.ok("GET", f"/collections/{collection}/documents/count")["count"] == 0
    assert batches.get_batch_buckets_batches(bucket, batch).documents_deleted == 2


def test_a_bucket_is_submitted_in_chunks_and_what_is_done_is_skipped(batches: BucketBatchesApi, api: Api) -> None:
    bucket, collection, objects = texts(api, 5)
    first = batches.bulk_submit_batches_buckets(bucket, BulkSubmitBatchesRequest(chunk_size=2))
    assert (first.total_objects, first.submitted, first.failed) == (5, 3, 0)
    for made in first.batches:
        assert api.wait(bucket, made.batch_id)["status"] == "COMPLETED"
    new = api.objects(bucket, [{"blobs": [{"property": "body", "type": "text", "data": "new"}]}])
    again = CreateBatchRequest(object_ids=objects + new, dedup_strategy="skip")
    batch = batches.create_batch_buckets_batches(bucket, again)
    answer = batches.submit_all_drafts_buckets_batches(bucket)
    assert answer["submitted"] == 1
    api.wait(bucket, batch.batch_id)
    model = batches.get_batch_buckets_batches(bucket, batch.batch_id)
    assert model.dedup_audit[collection]["skipped"] == len(objects)
    assert model.documents_written == 1

"""The published client `mixpeek`, unmodified: its pydantic models judge every answer."""

from __future__ import annotations

import pytest
from conftest import KEY, Api, Ended, Server
from mixpeek import ApiClient, BucketBatchesApi, Configuration, Mixpeek
from mixpeek.exceptions import ConflictException, NotFoundException
from mixpeek.models.list_batches_request import ListBatchesRequest


@pytest.fixture(scope="module")
def batches(server: Server, api: Api) -> BucketBatchesApi:
    configuration = Configuration(host=server.url, access_token=KEY)
    client = ApiClient(configuration)
    client.set_default_header("X-Namespace", api.namespace)
    return BucketBatchesApi(client)


def test_a_batch_is_read(batches: BucketBatchesApi, completed: Ended) -> None:
    batch = batches.get_batch_buckets_batches(completed.bucket, completed.batch)
    assert batch.batch_id == completed.batch
    assert batch.status.value == "COMPLETED"
    assert batch.tier_tasks[0].submission_params.extractor_name == "text_extractor"
    waited = batch.queue_context
    assert waited["waited_seconds"] > 0
    assert waited["admitted_at"]
    assert waited["queued_at"] is None
    assert waited["jobs"] == []


def test_batches_are_listed(batches: BucketBatchesApi, completed: Ended) -> None:
    page = batches.list_batches_buckets(completed.bucket, ListBatchesRequest(limit=10))
    assert [batch.batch_id for batch in page.results] == [completed.batch]


def test_a_batch_is_diagnosed(batches: BucketBatchesApi, completed: Ended) -> None:
    diagnosis = batches.diagnose_batch_buckets_batches(completed.bucket, completed.batch)
    assert diagnosis["status"] == "COMPLETED"
    assert diagnosis["failure_category"] is None


def test_a_failed_batch_is_read_and_diagnosed(batches: BucketBatchesApi, out_of_memory: Ended) -> None:
    batch = batches.get_batch_buckets_batches(out_of_memory.bucket, out_of_memory.batch)
    assert batch.failure_category.value == "infrastructure"
    diagnosis = batches.diagnose_batch_buckets_batches(out_of_memory.bucket, out_of_memory.batch)
    assert diagnosis["infrastructure_events"][0]["event_type"] == "oom"


def test_failed_documents_and_audit_are_read(batches: BucketBatchesApi, with_errors: Ended) -> None:
    page = batches.get_failed_documents_buckets_batches_batch(with_errors.bucket, with_errors.batch)
    assert page["total"] == 1
    audit = batches.get_batch_audit_buckets_batches(with_errors.bucket, with_errors.batch)
    assert audit["all_balanced"] is True


def test_errors_arrive_as_the_clients_exceptions(batches: BucketBatchesApi, completed: Ended) -> None:
    with pytest.raises(NotFoundException):
        batches.get_batch_buckets_batches(completed.bucket, "btch_000000000000000000000000")
    with pytest.raises(ConflictException):
        batches.cancel_batch_buckets_batches(completed.bucket, completed.batch)


def test_the_short_client_works_too(server: Server, api: Api, completed: Ended) -> None:
    client = Mixpeek(KEY, namespace=api.namespace, base_url=f"{server.url}/v1")
    assert client.batches.get(completed.bucket, completed.batch)["status"] == "COMPLETED"
    assert client.batches.audit(completed.bucket, completed.batch)["all_balanced"] is True
    assert client.batches.failed_documents(completed.bucket, completed.batch)["total"] == 0

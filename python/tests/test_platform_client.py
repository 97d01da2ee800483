"""Operations of buckets, objects, collections, documents and namespaces through the published client's generated classes."""

from __future__ import annotations

import pytest
from conftest import KEY, Api, Ended, Server, unique
from mixpeek import (
    ApiClient,
    BucketObjectsApi,
    BucketsApi,
    CollectionDocumentsApi,
    CollectionsApi,
    Configuration,
    Mixpeek,
    NamespacesApi,
    OrganizationAPIKeysApi,
)
from mixpeek.models.api_key_create_request import APIKeyCreateRequest
from mixpeek.models.api_key_update_request import APIKeyUpdateRequest
from mixpeek.models.bucket_update_request import BucketUpdateRequest
from mixpeek.models.document_create_request import DocumentCreateRequest
from mixpeek.models.patch_object_request import PatchObjectRequest
from mixpeek.models.update_object_request import UpdateObjectRequest


@pytest.fixture(scope="module")
def client(server: Server, api: Api) -> ApiClient:
    client = ApiClient(Configuration(host=server.url, access_token=KEY))
    client.set_default_header("X-Namespace", api.namespace)
    return client


def test_a_namespace_tells_its_counts(client: ApiClient, api: Api, completed: Ended) -> None:
    stats = NamespacesApi(client).get_namespace_stats(api.namespace)
    assert stats.document_count >= 3
    assert stats.object_count >= 3


def test_a_bucket_is_updated(client: ApiClient, api: Api) -> None:
    bucket = api.bucket({"body": {"type": "text"}})
    name = unique("renamed")
    assert BucketsApi(client).update_bucket(bucket, BucketUpdateRequest(bucket_name=name)).bucket_name == name


def test_an_object_is_patched_and_put(client: ApiClient, api: Api) -> None:
    bucket = api.bucket({"body": {"type": "text"}, "lang": {"type": "string"}})
    (object_id,) = api.objects(bucket, [{"lang": "en"}])
    objects = BucketObjectsApi(client)
    objects.patch_object_buckets(bucket, object_id, PatchObjectRequest.from_dict({"lang": "de"}))
    assert objects.get_object_buckets(bucket, object_id).additional_properties["lang"] == "de"
    # `metadata` changes what it names and leaves the rest; without it a PUT sets all fields.
    objects.update_object_buckets(bucket, object_id, UpdateObjectRequest(metadata={"a": 1}))
    fields = objects.get_object_buckets(bucket, object_id).additional_properties
    assert (fields["lang"], fields["a"]) == ("de", 1)
    api.ok("PUT", f"/buckets/{bucket}/objects/{object_id}", json={"lang": "fr"})
    fields = objects.get_object_buckets(bucket, object_id).additional_properties
    assert fields["lang"] == "fr"
    assert "a" not in fields


def test_documents_are_written_and_traced(client: ApiClient, completed: Ended) -> None:
    documents = CollectionDocumentsApi(client)
    request = DocumentCreateRequest.from_dict({"title": "written by hand"})
    made = documents.create_document(completed.collection, request)
    documents.patch_document(completed.collection, made.document_id, {"lang": "en"})
    documents.update_document(completed.collection, made.document_id, {"title": "again"})
    read = documents.get_document(completed.collection, made.document_id)
    assert read.additional_properties["title"] == "again"
    assert documents.get_document_ancestors(completed.collection, made.document_id) == []
    assert documents.get_document_descendants(completed.collection, made.document_id) == []
    told = documents.get_document_diagnostics(completed.collection, made.document_id)
    assert told.visibility_reason.searchable is False
    documents.delete_document(completed.collection, made.document_id)


def test_a_collection_is_reconciled_and_described(client: ApiClient, completed: Ended) -> None:
    collections = CollectionsApi(client)
    told = collections.reconcile_collection_reconciliation(completed.collection)
    assert told.delta == 0
    assert told.produced_object_count == 3
    assert collections.describe_collection_features(completed.collection).features[0].vector_index.dimensions


def test_a_key_is_made_changed_rotated_and_revoked(client: ApiClient) -> None:
    keys = OrganizationAPIKeysApi(client)
    email, name = "ann@example.org", unique("key")
    made = keys.create_key_organizations_users_email(email, APIKeyCreateRequest(name=name))
    assert made.key.startswith("fk_")
    patch = APIKeyUpdateRequest(description="for tests")
    assert keys.update_key_organizations_users_email_name(email, name, patch).description == "for tests"
    assert keys.rotate_key_organizations_users_email_name(email, name).key != made.key
    listed = keys.list_keys_organizations_users_email(email)
    assert name in [key["name"] for key in listed["results"]]
    assert keys.delete_key_organizations_users_email_name(email, name).success


def test_a_triggered_collection_gets_its_documents(server: Server, api: Api) -> None:
    short = Mixpeek(KEY, namespace=api.namespace, base_url=f"{server.url}/v1")
    bucket = api.bucket({"body": {"type": "text"}})
    collection = api.collection(bucket, "text_extractor", {"text": "body"}, {"embedding": "lexical"})
    api.objects(bucket, [{"blobs": [{"property": "body", "type": "text", "data": "a red car"}]}])
    triggered = short.collections.trigger(collection)
    assert triggered["object_count"] == 1
    assert api.wait(bucket, triggered["batch_id"])["status"] == "COMPLETED"
    found = short.search("red car", collection=collection)
    assert found["documents"][0]["collection_id"] == collection

"""Uploads through the published client: a file goes to a signed address and becomes an object that a batch reads."""

from __future__ import annotations

import hashlib

import pytest
import requests
from conftest import KEY, Api, Server
from mixpeek import ApiClient, BucketUploadsApi, Configuration
from mixpeek.models.batch_confirm_request import BatchConfirmRequest
from mixpeek.models.batch_upload_request import BatchUploadRequest
from mixpeek.models.confirm_upload_request import ConfirmUploadRequest
from mixpeek.models.create_upload_request import CreateUploadRequest
from mixpeek.models.list_uploads_request import ListUploadsRequest

TEXT = b"a text that comes by a signed address"


@pytest.fixture(scope="module")
def uploads(server: Server, api: Api) -> BucketUploadsApi:
    client = ApiClient(Configuration(host=server.url, access_token=KEY))
    client.set_default_header("X-Namespace", api.namespace)
    return BucketUploadsApi(client)


def send(url: str, content: bytes) -> requests.Response:
    return requests.put(url, data=content, headers={"Content-Type": "text/plain"}, timeout=30)


def test_an_uploaded_file_becomes_a_document(uploads: BucketUploadsApi, api: Api) -> None:
    bucket = api.bucket({"body": {"type": "text"}})
    collection = api.collection(bucket, "text_extractor", {"text": "body"}, {"embedding": "lexical"})
    wanted = CreateUploadRequest(
        filename="note.txt",
        content_type="text/plain",
        file_size_bytes=len(TEXT),
        file_hash=hashlib.sha256(TEXT).hexdigest(),
        blob_property="body",
    )
    made = uploads.create_upload_buckets(bucket, wanted)
    sent = send(made.presigned_url, TEXT)
    assert sent.status_code == 200, sent.text
    confirmation = ConfirmUploadRequest(etag=sent.headers["ETag"], file_size_bytes=len(TEXT), auto_submit_batch=True)
    confirmed = uploads.confirm_upload_buckets(bucket, made.upload_id, confirm_upload_request=confirmation)
    assert confirmed.status == "COMPLETED"
    assert api.wait(bucket, confirmed.batch_id)["status"] == "COMPLETED"
    documents = api.ok("POST", f"/collections/{collection}/documents/list", json={})["results"]
    assert [document["text"] for document in documents] == [TEXT.decode()]
    read = uploads.get_upload_buckets(bucket, made.upload_id)
    assert read["object_id"] == confirmed.object_id


def test_uploads_are_made_confirmed_listed_and_deleted_together(uploads: BucketUploadsApi, api: Api) -> None:
    bucket = api.bucket({"body": {"type": "text"}})
    each = [
        {"filename": f"{n}.txt", "content_type": "text/plain", "blob_property": "body", "presigned_url_expiration": 60}
        for n in range(3)
    ]
    request = BatchUploadRequest.from_dict({"uploads": each, "shared_metadata": {"source": "test"}})
    assert request is not None
    made = uploads.create_uploads_batch_buckets(bucket, request)
    assert made.total == 3
    for n, upload in enumerate(made.uploads):
        assert send(upload.presigned_url, TEXT + str(n).encode()).status_code == 200
    confirmations = [{"upload_id": upload.upload_id} for upload in made.uploads]
    confirmed = uploads.confirm_uploads_batch_buckets(bucket, BatchConfirmRequest(confirmations=confirmations))
    assert confirmed.confirmations_count == 3
    assert confirmed.status == "COMPLETED"
    listed = uploads.list_uploads_buckets(bucket, list_uploads_request=ListUploadsRequest(limit=2))
    assert len(listed.results) == 2
    assert listed.stats.total_uploads == 3
    assert listed.stats.uploads_by_status == {"COMPLETED": 3}
    assert listed.results[0].metadata == {"source": "test"}
    uploads.delete_upload_buckets(bucket, made.uploads[0].upload_id)
    with pytest.raises(Exception, match="404"):
        uploads.get_upload_buckets(bucket, made.uploads[0].upload_id)


def test_an_address_is_good_for_one_file_of_the_announced_kind(uploads: BucketUploadsApi, api: Api) -> None:
    bucket = api.bucket({"body": {"type": "text"}})
    wanted = CreateUploadRequest(filename="a.txt", content_type="text/plain", blob_property="body", file_size_bytes=4)
    made = uploads.create_upload_buckets(bucket, wanted)
    url = made.presigned_url
    assert send(url, b"longer").status_code == 400
    assert send(url.replace("signature=", "signature=0"), b"four").status_code == 403
    assert send(url, b"four").status_code == 200
    assert send(url, b"more").status_code == 409

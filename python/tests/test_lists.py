"""What lists are asked for beyond a page, and addresses by which files are read."""

from __future__ import annotations

import hashlib

import requests
from conftest import KEY, Api, Server, make_api, unique
from mixpeek import ApiClient, BucketsApi, Configuration
from mixpeek.models.list_buckets_request import ListBucketsRequest


def test_lists_are_chosen_and_ordered(server: Server) -> None:
    api = make_api(server)
    names = ["beta", "Alpha", "gamma"]
    schema = {"properties": {"body": {"type": "text"}}}
    for number, name in enumerate(names):
        bucket = api.ok("POST", "/buckets", json={"bucket_name": name, "bucket_schema": schema})["bucket_id"]
        blob = {"property": "body", "type": "text", "data": "xx"}
        for _ in range(number):
            api.ok("POST", f"/buckets/{bucket}/objects", json={"blobs": [blob]})

    def listed(**body: object) -> list[str]:
        return [one["bucket_name"] for one in api.ok("POST", "/buckets/list", json=body)["results"]]

    assert listed(sort={"field": "bucket_name", "direction": "asc"}) == ["Alpha", "beta", "gamma"]
    assert listed(sorts=[{"field": "object_count", "direction": "desc"}]) == ["gamma", "Alpha", "beta"]
    assert listed(filters={"bucket_name": "alpha"}) == ["Alpha"]
    assert listed(
        filters={"AND": [{"field": "object_count", "operator": "gte", "value": 1}]}, sort={"field": "object_count"}
    ) == ["Alpha", "gamma"]
    assert listed(search="al", case_sensitive=True) == []
    assert listed(sort={"field": "bucket_name"}, page_size=2, page=2) == ["gamma"]
    stats = api.ok("GET", "/buckets")["stats"]
    assert stats == {"total_objects": 3, "total_size_bytes": 6, "avg_objects_per_bucket": 1.0, "avg_size_per_bucket": 2.0}
    api.refused(422, "POST", "/buckets/list", json={"sort": {"field": "bucket_name", "direction": "up"}})

    client = ApiClient(Configuration(host=server.url, access_token=KEY))
    client.set_default_header("X-Namespace", api.namespace)
    found = BucketsApi(client).list_buckets(list_buckets_request=ListBucketsRequest(filters={"bucket_name": "gamma"}))
    assert [bucket.bucket_name for bucket in found.results] == ["gamma"]
    assert found.stats.total_objects == 3
    assert found.results[0].last_upload_at is not None


def test_another_namespace_is_in_no_list_or_sum(server: Server) -> None:
    mine, other = make_api(server), make_api(server)
    bucket = mine.bucket({"body": {"type": "text"}})
    mine.objects(bucket, [{"blobs": [{"property": "body", "type": "text", "data": "secret"}]}])
    for kind in ("buckets", "collections", "tasks"):
        answer = other.ok("POST", f"/{kind}/list", json={"filters": {"NOT": []}})
        assert answer["results"] == []
    assert other.ok("GET", "/buckets")["stats"]["total_objects"] == 0


def test_objects_and_documents_are_ordered(api: Api) -> None:
    bucket = api.bucket({"body": {"type": "text"}, "n": {"type": "integer"}})
    collection = api.ok(
        "POST", "/collections", json={"collection_name": unique("c"), "source": {"type": "bucket", "bucket_ids": [bucket]}}
    )
    objects = api.objects(
        bucket, [{"blobs": [{"property": "body", "type": "text", "data": f"Running {n}"}], "n": n} for n in (2, 3, 1)]
    )
    order = {"field": "n", "direction": "desc"}
    page = api.ok("POST", f"/buckets/{bucket}/objects/list", json={"sort": order, "limit": 2})
    assert [one["n"] for one in page["results"]] == [3, 2]
    cursor = page["pagination"]["next_cursor"]
    rest = api.ok("POST", f"/buckets/{bucket}/objects/list", json={"sort": order, "limit": 2, "cursor": cursor})
    assert [one["n"] for one in rest["results"]] == [1]
    batch = api.batch(bucket, objects)
    api.submit(bucket, batch)
    api.wait(bucket, batch)
    documents = f"/collections/{collection['collection_id']}/documents"
    assert [one["n"] for one in api.ok("POST", f"{documents}/list", json={"sort": order})["results"]] == [3, 2, 1]
    assert [one["n"] for one in api.ok("GET", f"{documents}?sort=n")["results"]] == [1, 2, 3]
    words = {"AND": [{"field": "body", "operator": "words", "value": "runs 2"}]}
    assert [one["n"] for one in api.ok("POST", f"{documents}/list", json={"filters": words})["results"]] == [2]


def test_files_are_read_by_signed_addresses(api: Api) -> None:
    bucket = api.bucket({"file": {"type": "pdf"}})
    content = b"%PDF-1.4 as far as this test goes" * 4000
    digest = hashlib.sha256(content).hexdigest()
    made = api.ok(
        "POST",
        f"/buckets/{bucket}/uploads",
        json={
            "filename": "a.pdf",
            "content_type": "application/pdf",
            "file_size_bytes": len(content),
            "blob_property": "file",
            "file_hash": digest,
        },
    )
    headers = {"Content-Type": "application/pdf"}
    assert requests.put(made["presigned_url"], data=content, headers=headers, timeout=30).ok
    confirmed = api.ok("POST", f"/buckets/{bucket}/uploads/{made['upload_id']}/confirm", json={})
    path = f"/buckets/{bucket}/objects/{confirmed['object_id']}"
    assert "presigned_url" not in api.ok("GET", path)["blobs"][0]
    address = api.ok("GET", f"{path}?return_presigned_urls=true")["blobs"][0]["presigned_url"]

    # Whoever has the address needs no key, and gets a download, never a page.
    answer = requests.get(address, timeout=30)
    assert answer.content == content
    assert answer.headers["content-disposition"] == "attachment"
    assert answer.headers["x-content-type-options"] == "nosniff"
    listed = api.ok("POST", f"/buckets/{bucket}/objects/list", json={"return_presigned_urls": True})
    assert requests.get(listed["results"][0]["blobs"][0]["presigned_url"], timeout=30).content == content

    # The address is for this file and for its time, and names no other.
    for bad in (
        address.replace("signature=", "signature=0"),
        address.replace("expires_ms=", "expires_ms=9"),
        address.replace("/v1/files/", "/v1/files/../"),
        address.split("?")[0],
    ):
        assert requests.get(bad, timeout=30).status_code in (403, 404)
    assert api.call("DELETE", path).ok
    assert requests.get(address, timeout=30).status_code == 404


def test_a_checksum_is_held_against_the_data(api: Api) -> None:
    bucket = api.bucket({"body": {"type": "text"}})
    blob = {"property": "body", "type": "text", "data": "abc"}
    digest = hashlib.sha256(b"abc").hexdigest()
    api.ok("POST", f"/buckets/{bucket}/objects", json={"blobs": [{**blob, "checksum": f"sha256:{digest}"}]})
    refused = api.refused(
        422,
        "POST",
        f"/buckets/{bucket}/objects",
        json={"blobs": [{**blob, "checksum": digest.replace(digest[0], "0" if digest[0] != "0" else "1")}]},
    )
    assert "does not fit" in str(refused)
    api.refused(422, "POST", f"/buckets/{bucket}/objects", json={"blobs": [{**blob, "checksum": "md5:abc"}]})
    away = {**blob, "data": "https://files.example.org/a.txt", "checksum": digest.upper()}
    made = api.ok("POST", f"/buckets/{bucket}/objects", json={"blobs": [away]})
    assert made["blobs"][0]["details"]["hash"] == f"sha256:{digest}"
    changed = api.ok("PUT", f"/buckets/{bucket}/objects/{made['object_id']}", json={"metadata": {"label": "x"}})
    assert changed["label"] == "x"
    assert changed["blobs"]

"""Bad input gets a clear refusal in the envelope, and never anything of another namespace."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests
from conftest import Api, Ended, Server

NONE = "000000000000000000000000"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"/buckets/bkt_{NONE}"),
        ("GET", f"/buckets/bkt_{NONE}/batches/btch_{NONE}"),
        ("GET", f"/batches/btch_{NONE}"),
        ("GET", f"/collections/col_{NONE}"),
        ("GET", f"/tasks/task_{NONE}"),
        ("GET", "/batches/not-an-id"),
    ],
)
def test_what_does_not_exist_is_not_found(api: Api, method: str, path: str) -> None:
    assert api.refused(404, method, path)["type"] == "NotFoundError"


def test_what_belongs_to_another_namespace_is_not_found(other: Api, completed: Ended) -> None:
    batch = f"/buckets/{completed.bucket}/batches/{completed.batch}"
    for method, path in [
        ("GET", f"/buckets/{completed.bucket}"),
        ("GET", batch),
        ("GET", f"/batches/{completed.batch}"),
        ("GET", f"{batch}/diagnose"),
        ("GET", f"{batch}/logs"),
        ("GET", f"{batch}/audit"),
        ("GET", f"{batch}/failed-documents"),
        ("POST", f"{batch}/cancel"),
        ("POST", f"{batch}/tiers/0/retry"),
        ("POST", f"{batch}/tiers/0/cancel"),
        ("GET", f"/collections/{completed.collection}"),
        ("GET", f"/collections/{completed.collection}/documents/count"),
    ]:
        options: dict[str, Any] = {"json": {}} if method == "POST" else {}
        assert other.refused(404, method, path, **options)["type"] == "NotFoundError", path


def test_no_list_shows_another_namespace(other: Api, completed: Ended) -> None:
    for path in ("/batches/list", "/buckets/list", "/collections/list", "/tasks/list"):
        answer = other.call("POST", path, json={})
        assert answer.status_code == 200, path
        for identifier in (completed.bucket, completed.batch, completed.collection):
            assert identifier not in answer.text, path


def test_an_illegal_transition_names_the_present_state(api: Api, completed: Ended) -> None:
    batch = f"/buckets/{completed.bucket}/batches/{completed.batch}"
    for path in (f"{batch}/submit", f"{batch}/cancel", f"{batch}/tiers/0/cancel"):
        error = api.refused(409, "POST", path, json={})
        assert "COMPLETED" in json.dumps(error), path


def test_a_name_that_is_taken_is_a_conflict(api: Api) -> None:
    body = {"bucket_name": "taken", "bucket_schema": {"properties": {"a": {"type": "string"}}}}
    api.ok("POST", "/buckets", json=body)
    assert api.refused(409, "POST", "/buckets", json=body)["type"] == "AlreadyExistsError"


@pytest.mark.parametrize(
    ("body", "location"),
    [
        ({"bucket_schema": {"properties": {}}}, "bucket_name"),
        ({"bucket_name": 7, "bucket_schema": {"properties": {}}}, "bucket_name"),
        ({"bucket_name": "a-bucket", "bucket_schema": {"properties": {"a": {"type": "no-type"}}}}, "type"),
        ({"bucket_name": "a-bucket", "bucket_schema": {"properties": {}}, "colour": "red"}, "colour"),
    ],
)
def test_a_bad_body_is_refused_with_its_location(api: Api, body: dict[str, Any], location: str) -> None:
    error = api.refused(422, "POST", "/buckets", json=body)
    assert error["type"] == "ValidationError"
    issues = error["details"]["validation_errors"]
    assert all({"type", "location", "message"} <= set(issue) for issue in issues)
    assert any(location in map(str, issue["location"]) for issue in issues), issues


def test_an_unknown_key_is_refused_naming_the_accepted_ones(api: Api, completed: Ended) -> None:
    path = f"/buckets/{completed.bucket}/batches/{completed.batch}/tiers/0/retry"
    error = api.refused(422, "POST", path, json={"memory": "lots"})
    issues = error["details"]["validation_errors"]
    assert issues[0]["type"] == "extra_forbidden"
    assert "memory_bytes" in json.dumps(issues)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"text"', b"\xff\xfe", b'{"bucket_name": NaN}'])
def test_a_body_that_is_no_json_object_is_refused(api: Api, body: bytes) -> None:
    headers = {**api.headers, "Content-Type": "application/json"}
    answer = requests.post(f"{api.server.base}/buckets", headers=headers, data=body, timeout=30)
    assert answer.status_code in {400, 422}, answer.text
    assert answer.json()["success"] is False


@pytest.mark.parametrize(
    "overrides",
    [{"memory_bytes": -1}, {"memory_bytes": 0}, {"num_cpus": -2}, {"num_gpus": "one"}, {"priority": "high"}],
)
def test_overrides_that_make_no_sense_are_refused(api: Api, completed: Ended, overrides: dict[str, Any]) -> None:
    path = f"/buckets/{completed.bucket}/batches/{completed.batch}/tiers/0/retry"
    assert api.refused(422, "POST", path, json=overrides)["type"] == "ValidationError"


def test_a_tier_that_the_batch_does_not_have_is_not_found(api: Api, completed: Ended) -> None:
    batch = f"/buckets/{completed.bucket}/batches/{completed.batch}"
    api.refused(404, "POST", f"{batch}/tiers/9/retry", json={})
    answer = api.call("POST", f"{batch}/tiers/-1/retry", json={})
    assert answer.status_code in {404, 422}


def test_a_body_that_is_too_large_is_refused(api: Api, server: Server) -> None:
    headers = {**api.headers, "Content-Type": "application/json"}
    body = b'{"bucket_name": "' + b"x" * (256 << 20) + b'"}'
    try:
        answer = requests.post(f"{server.base}/buckets", headers=headers, data=body, timeout=60)
    except requests.ConnectionError:
        # The server may answer and close before all of it is sent.
        assert requests.get(f"{server.base}/health", timeout=10).status_code == 200
        return
    assert answer.status_code == 413
    assert answer.json()["error"]["type"] == "PayloadTooLargeError"


def test_more_objects_than_a_call_takes_are_refused(api: Api) -> None:
    bucket = api.bucket({"a": {"type": "string"}})
    objects = [{"a": str(number)} for number in range(101)]
    answer = api.call("POST", f"/buckets/{bucket}/objects/batch", json={"objects": objects})
    assert answer.status_code in {413, 422}, answer.text
    assert "100" in answer.text


def test_a_missing_or_wrong_key_is_unauthorized(server: Server) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic xyz"}):
        answer = requests.get(f"{server.base}/buckets", headers=headers, timeout=30)
        assert answer.status_code == 401, headers
        assert answer.json()["error"]["type"] == "UnauthorizedError"


def test_a_namespace_that_does_not_exist_is_not_found(server: Server, api: Api) -> None:
    headers = {**api.headers, "X-Namespace": "no-such-namespace"}
    answer = requests.get(f"{server.base}/buckets", headers=headers, timeout=30)
    assert answer.status_code == 404


def test_files_outside_the_allowed_folders_are_not_read(api: Api) -> None:
    bucket = api.bucket({"file": {"type": "text"}})
    api.collection(bucket, "universal_extractor", {"file": "file"})
    for address in ("file:///etc/passwd", f"file://{api.server.files}/../../../../etc/passwd"):
        body = {"objects": [{"blobs": [{"property": "file", "type": "text", "data": address}]}]}
        answer = api.ok("POST", f"/buckets/{bucket}/objects/batch", json=body)
        assert answer["succeeded_count"] == 0, answer
        assert "root:" not in json.dumps(answer)

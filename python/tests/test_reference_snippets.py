"""The reference page's snippets with only host, key and ids changed."""

from __future__ import annotations

from typing import Any

import pytest
import requests
from conftest import Api, Ended, run_out_of_memory


def url(api: Api, ended: Ended) -> str:
    return f"{api.server.base}/buckets/{ended.bucket}/batches/{ended.batch}"


def test_diagnose_and_print_it(api: Api, out_of_memory: Ended, capsys: pytest.CaptureFixture[str]) -> None:
    resp = requests.get(f"{url(api, out_of_memory)}/diagnose", headers=api.headers, timeout=30)
    diagnosis = resp.json()
    print(f"Status: {diagnosis['status']}")
    print(f"Category: {diagnosis['failure_category']}")
    for event in diagnosis["infrastructure_events"]:
        print(f"  {event['event_type']} at {event['detected_at']}: {event['raw_signal']}")
    for rec in diagnosis["recommendations"]:
        print(f"  → {rec}")
    printed = capsys.readouterr().out
    assert resp.status_code == 200
    assert "Status: FAILED" in printed
    assert "Category: infrastructure" in printed
    assert "  oom at 20" in printed
    assert "  → " in printed


def test_diagnose_has_every_field_of_the_reference(api: Api, out_of_memory: Ended) -> None:
    diagnosis = requests.get(f"{url(api, out_of_memory)}/diagnose", headers=api.headers, timeout=30).json()
    for name in (
        "batch_id",
        "status",
        "failure_category",
        "failure_reason",
        "infrastructure_events",
        "per_tier",
        "failed_document_count",
        "failed_documents_sample",
        "recommendations",
        "confidence",
        "evidence",
        "error_groups",
        "timeline",
        "audit",
        "recommended_actions",
    ):
        assert name in diagnosis, name
    for name in (
        "tier_num",
        "status",
        "started_at",
        "completed_at",
        "duration_seconds",
        "submission_params",
        "resources",
        "stage_history",
        "last_activity_at",
        "jobs",
    ):
        assert name in diagnosis["per_tier"][0], name
    event = diagnosis["infrastructure_events"][0]
    for name in ("event_type", "detected_at", "raw_signal", "node_id", "pod_name", "tier_num", "attempt"):
        assert name in event, name


def test_the_recommended_call_mends_the_batch_as_it_stands(api: Api) -> None:
    ended = run_out_of_memory(api)
    assert ended.model["status"] == "FAILED"
    memory = 96 << 20
    # A killed worker's peak is only a lower bound of its need, so the advice may have to be followed more than once.
    for _ in range(4):
        diagnosis = requests.get(f"{url(api, ended)}/diagnose", headers=api.headers, timeout=30).json()
        action = diagnosis["recommended_actions"][0]
        assert {"method", "path", "body", "reason", "expected_effect"} <= set(action)
        assert action["body"]["memory_bytes"] > memory
        memory = action["body"]["memory_bytes"]
        target = api.server.url + action["path"]
        answer = requests.request(action["method"], target, headers=api.headers, json=action["body"], timeout=30)
        assert answer.ok, answer.text
        mended = api.wait(ended.bucket, ended.batch)
        if mended["status"] != "FAILED":
            break
    assert mended["status"] == "COMPLETED", mended["failure_reason"]
    audit = api.ok("GET", f"/buckets/{ended.bucket}/batches/{ended.batch}/audit")
    assert audit["all_balanced"] is True
    assert audit["has_lost_objects"] is False


def test_retry_a_tier_with_a_gpu_and_priority(api: Api) -> None:
    ended = run_out_of_memory(api)
    resp = requests.post(
        f"{url(api, ended)}/tiers/0/retry",
        headers=api.headers,
        json={"requires_gpu": True, "priority": 50},
        timeout=30,
    )
    # Accepted on a machine without a GPU too: there the tier then says what it lacks.
    assert resp.status_code == 200, resp.text
    params: dict[str, Any] = resp.json()["submission_params"]
    assert params["requires_gpu"] is True
    assert params["priority"] == 50


@pytest.mark.parametrize("action", ["detect_stuck", "kill_duplicates", "sync_status"])
def test_healing_a_tier_that_is_well_finds_nothing(api: Api, completed: Ended, action: str) -> None:
    path = f"/buckets/{completed.bucket}/batches/{completed.batch}/tiers/0/heal"
    healed = api.ok("POST", path, json={"action": action})
    assert healed["success"] is True
    assert healed["findings"] == []


def test_heal_names_its_actions_when_it_is_asked_for_another(api: Api, completed: Ended) -> None:
    path = f"/buckets/{completed.bucket}/batches/{completed.batch}/tiers/0/heal"
    error = api.refused(422, "POST", path, json={"action": "pray"})
    assert "detect_stuck" in error["message"]


def test_cancelling_a_tier_that_has_ended_is_a_conflict(api: Api, completed: Ended) -> None:
    resp = requests.post(f"{url(api, completed)}/tiers/0/cancel", headers=api.headers, timeout=30)
    assert resp.status_code == 409
    assert "COMPLETED" in resp.text


def test_a_job_is_cancelled_by_its_id(api: Api) -> None:
    bucket = api.bucket({"body": {"type": "text"}})
    api.collection(bucket, "text_extractor", {"text": "body"}, {"embedding": "lexical"})
    blobs = [{"blobs": [{"property": "body", "type": "text", "data": f"text {number} " * 2_000}]} for number in range(100)]
    batch = api.batch(bucket, [made for _ in range(5) for made in api.objects(bucket, blobs)])
    api.submit(bucket, batch)
    model = api.ok("GET", f"/buckets/{bucket}/batches/{batch}")
    job = model["tier_tasks"][0]["extractor_jobs"][0]["ray_job_id"]
    resp = requests.post(
        f"{api.server.base}/buckets/{bucket}/batches/{batch}/tiers/0/jobs/{job}/cancel",
        headers=api.headers,
        timeout=60,
    )
    assert resp.status_code == 200, resp.text
    assert api.wait(bucket, batch)["status"] == "CANCELED"


def test_submission_params_and_stage_history_are_kept(api: Api, completed: Ended) -> None:
    tier = completed.model["tier_tasks"][0]
    assert tier["submission_params"]["extractor_name"] == "text_extractor"
    assert tier["submission_params"]["memory_bytes"] > 0
    names = [stage["name"] for stage in completed.model["progress"]["stage_history"]]
    assert set(names) <= {"loading", "processing", "writing"}
    assert names


def test_failed_documents_say_why(api: Api, with_errors: Ended) -> None:
    assert with_errors.model["status"] == "COMPLETED_WITH_ERRORS"
    path = f"/buckets/{with_errors.bucket}/batches/{with_errors.batch}/failed-documents"
    page = api.ok("GET", path)
    assert page["total"] == 1
    failed = page["failed_documents"][0]
    assert "gone.txt" in failed["error"]
    assert failed["error_type"] in {"transient", "permanent", "resource"}
    assert failed["stage"] == "loading"


def test_the_audit_balances(api: Api, with_errors: Ended) -> None:
    audit = api.ok("GET", f"/buckets/{with_errors.bucket}/batches/{with_errors.batch}/audit")
    assert audit["all_balanced"] is True
    tier = audit["tiers"][0]
    assert (tier["submitted"], tier["processed"], tier["failed"], tier["skipped"]) == (2, 1, 1, 0)

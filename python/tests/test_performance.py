"""Performance analytics and estimates through the published client's generated classes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from conftest import KEY, Api, Ended, Server, make_api, run_texts, run_with_a_gone_file
from mixpeek import AnalyticsPerformanceApi, ApiClient, BucketBatchesApi, Configuration

EXTRACTOR = "text_extractor_v1"
STAGES = ["loading", "processing", "writing"]


# What is counted here is what ran here: other tests run in the namespace that they share.
@pytest.fixture(scope="module")
def api(server: Server) -> Api:
    return make_api(server)


@pytest.fixture(scope="module")
def completed(api: Api) -> Ended:
    return run_texts(api)


@pytest.fixture(scope="module")
def with_errors(api: Api) -> Ended:
    return run_with_a_gone_file(api)


@pytest.fixture(scope="module")
def client(server: Server, api: Api, completed: Ended, with_errors: Ended) -> ApiClient:
    assert completed.model["status"] == "COMPLETED"
    assert with_errors.model["status"] == "COMPLETED_WITH_ERRORS"
    client = ApiClient(Configuration(host=server.url, access_token=KEY))
    client.set_default_header("X-Namespace", api.namespace)
    return client


@pytest.fixture(scope="module")
def performance(client: ApiClient) -> AnalyticsPerformanceApi:
    return AnalyticsPerformanceApi(client)


def test_rows_that_ran_are_in_the_overview(performance: AnalyticsPerformanceApi) -> None:
    told = performance.get_engine_performance_analytics(hours=2)
    assert told.summary.total_executions >= 5
    assert sum(metric.execution_count for metric in told.metrics) == told.summary.total_executions
    for metric in told.metrics:
        assert metric.p50_latency_ms <= metric.p95_latency_ms <= metric.p99_latency_ms
        assert metric.p99_latency_ms <= metric.max_latency_ms * 1.02 + 1
    assert 0 < told.service_health.availability < 1
    by_day = performance.get_engine_performance_analytics(hours=2, group_by="day")
    assert by_day.summary.total_executions >= told.summary.total_executions


def test_a_span_without_runs_is_empty(performance: AnalyticsPerformanceApi) -> None:
    end = datetime.now(UTC) - timedelta(days=3)
    told = performance.get_engine_performance_analytics(start_date=end - timedelta(days=1), end_date=end)
    assert told.metrics == []
    assert told.summary.total_executions == 0
    assert told.service_health.availability is None


def test_work_is_told_by_stage_and_extractor(performance: AnalyticsPerformanceApi) -> None:
    stages = performance.get_engine_stage_breakdown_analytics_performance(hours=2)
    assert {stage.stage_name for stage in stages.stages} == {"starting", *STAGES}
    assert sum(stage.pct_of_total for stage in stages.stages) == pytest.approx(100, abs=0.1)
    extractors = performance.get_extractor_breakdown_analytics_performance_engine(hours=2).extractors
    text = [entry for entry in extractors if entry.extractor_name == EXTRACTOR]
    assert [entry.stage_name for entry in text] == STAGES
    assert all(entry.execution_count >= 3 for entry in text)
    bottlenecks = performance.analyze_bottlenecks_analytics_performance_engine(hours=2, limit=2).bottlenecks
    assert [entry.rank for entry in bottlenecks] == [1, 2]
    assert bottlenecks[0].total_time_ms >= bottlenecks[1].total_time_ms


def test_slow_rows_are_named_with_their_source(performance: AnalyticsPerformanceApi, completed: Ended) -> None:
    slow = performance.get_slowest_operations_analytics_performance_engine_slow(hours=2, threshold_ms=0, limit=50)
    operations = slow.operations
    assert len(operations) >= 5
    assert [entry.latency_ms for entry in operations] == sorted((entry.latency_ms for entry in operations), reverse=True)
    sources = {entry.metadata["source_id"] for entry in operations}
    assert set(completed.model["object_ids"]) <= sources
    none = performance.get_slowest_operations_analytics_performance_engine_slow(hours=2, threshold_ms=1e9)
    assert none.operations == []


def test_a_batch_is_told_at_a_glance(performance: AnalyticsPerformanceApi, completed: Ended, with_errors: Ended) -> None:
    well = performance.get_batch_diagnostics_analytics_performance_batches(completed.batch)
    assert (well.status, well.health, well.overall_progress) == ("COMPLETED", "ok", 100)
    assert well.tiers[0].progress.processed_documents == 3
    assert well.collections[0].collection_id == completed.collection
    assert well.collections[0].document_count >= 3
    assert well.performance_summary["documents_written"] >= 3
    ill = performance.get_batch_diagnostics_analytics_performance_batches(with_errors.batch)
    assert ill.has_failures
    assert ill.health == "degraded"
    assert any(insight.type == "warning" for insight in ill.insights)


def test_a_like_batch_is_estimated_from_what_has_run(client: ApiClient, api: Api, completed: Ended) -> None:
    texts = [{"blobs": [{"property": "body", "type": "text", "data": f"text {n}"}]} for n in range(6)]
    objects = api.objects(completed.bucket, texts) + completed.model["object_ids"]
    batch = api.batch(completed.bucket, objects)
    told = BucketBatchesApi(client).estimate_batch_cost_buckets_batches(completed.bucket, batch)
    assert (told.object_count, told.already_extracted_count) == (9, 3)
    assert told.extractors == [EXTRACTOR]
    assert told.estimated_usd is None
    assert told.content_summary["text"]["count"] == 9
    full = api.ok("POST", f"/buckets/{completed.bucket}/batches/{batch}/estimate-cost")
    assert full["estimated_documents"]["expected"] == pytest.approx(9)
    seconds = full["estimated_compute_seconds"]
    assert 0 < seconds["low"] <= seconds["expected"] <= seconds["high"]
    assert full["basis"][0]["rows"] >= 3


def test_another_namespace_sees_nothing(other: Api, completed: Ended) -> None:
    told = other.ok("GET", "/analytics/performance/engine?hours=720")
    assert told["summary"]["total_executions"] == 0
    assert other.ok("GET", "/analytics/performance/engine/slow-operations?threshold_ms=0")["operations"] == []
    other.refused(404, "GET", f"/analytics/performance/batches/{completed.batch}/diagnostics")
    other.refused(404, "POST", f"/batches/{completed.batch}/estimate-cost")


@pytest.mark.parametrize(
    "query",
    ["hours=0", "hours=721", "group_by=week", "end_date=2020-01-01T00:00:00Z&start_date=2021-01-01T00:00:00Z", "colour=red"],
)
def test_a_query_that_makes_no_sense_is_refused(api: Api, query: str) -> None:
    api.refused(422, "GET", f"/analytics/performance/engine?{query}")

//! Performance of a tenant's jobs, read from the history of their attempts.
//!
//! Owns turning cells into the contract's answers. It must not measure anything.

mod window;

use std::collections::BTreeMap;

use aide::axum::ApiRouter;
use aide::axum::routing::get;
use axum::Json;
use axum::extract::State;
use fettle_model::history::{SlowRow, StageSketches};
use fettle_model::{HistoryCell, Sketch, Stage};
use fettle_ports::HistoryRow;
use fettle_wire::performance::{
    BOTTLENECKS_DEFAULT, BOTTLENECKS_MAX, BottleneckAnalysis, BottleneckQuery, BottleneckResponse,
    EnginePerformanceResponse, EngineQuery, EngineStageBreakdownResponse,
    ExtractorBreakdownResponse, ExtractorPerformance, HOURS_MAX, HOURS_NEAR_MAX, PerformanceMetric,
    PerformanceQuery, PerformanceSummary, SLOW_MS_DEFAULT, SLOW_OPERATIONS_DEFAULT,
    SLOW_OPERATIONS_MAX, ServiceHealth, SlowOperation, SlowOperationsQuery, SlowOperationsResponse,
    StagePerformance,
};
use fettle_wire::time::Timestamp;
use serde_json::{Map, json};

use self::window::{Window, limit};
use crate::body::Params;
use crate::error::ApiError;
use crate::state::ApiState;
use crate::tenant::Tenant;

pub(crate) fn routes() -> ApiRouter<ApiState> {
    let engine = ApiRouter::new()
        .api_route("/", get(overview))
        .api_route("/stages", get(stages))
        .api_route("/extractors", get(extractors))
        .api_route("/bottlenecks", get(bottlenecks))
        .api_route("/slow-operations", get(slow_operations));
    ApiRouter::new().nest("/analytics/performance/engine", engine)
}

async fn overview(
    State(state): State<ApiState>,
    tenant: Tenant,
    Params(query): Params<EngineQuery>,
) -> Result<Json<EnginePerformanceResponse>, ApiError> {
    let given = (query.hours, query.start_date, query.end_date);
    let window = Window::of(state.now(), given, HOURS_MAX)?.grouped(query.group_by.as_deref())?;
    let rows = window.read(&state, &tenant).await?;
    let mut by_time: BTreeMap<_, Sketch> = BTreeMap::new();
    for row in &rows {
        let sum = by_time.entry(row.starts_at).or_default();
        sum.merge(&row.cell.profile.row_us);
    }
    let metrics = by_time
        .into_iter()
        .filter(|(_, times)| !times.is_empty())
        .map(|(at, times)| PerformanceMetric {
            time_bucket: at.into(),
            execution_count: times.count(),
            avg_latency_ms: mean_ms(&times),
            p50_latency_ms: quantile_ms(&times, 0.5),
            p95_latency_ms: quantile_ms(&times, 0.95),
            p99_latency_ms: quantile_ms(&times, 0.99),
            max_latency_ms: ms(times.max()),
        });
    let all = merged(&rows);
    Ok(Json(EnginePerformanceResponse {
        time_range: window.range(),
        metrics: metrics.collect(),
        summary: summary(&all.profile.row_us),
        service_health: health(&all, &window),
    }))
}

fn summary(times: &Sketch) -> PerformanceSummary {
    PerformanceSummary {
        total_executions: times.count(),
        avg_latency_ms: mean_ms(times),
        p50_latency_ms: quantile_ms(times, 0.5),
        p95_latency_ms: quantile_ms(times, 0.95),
        p99_latency_ms: quantile_ms(times, 0.99),
        max_latency_ms: ms(times.max()),
        total_time_seconds: ms(times.sum()) / 1000.0,
    }
}

fn health(all: &HistoryCell, window: &Window) -> ServiceHealth {
    let rows = all.rows();
    let failed = all.rows_failed as f64;
    let categories = all.error_categories.iter();
    let errors: Map<_, _> = categories
        .map(|(category, count)| (category.as_str().to_owned(), json!({"errors": count})))
        .collect();
    ServiceHealth {
        availability: (rows > 0).then(|| 1.0 - failed / rows as f64),
        dependency_health: errors,
        window_end_ts: (rows > 0).then(|| window.range().end.seconds()),
        freshness_seconds: 0,
        reconciliation: "Counts are the row outcomes of attempts that ended in the range, added in the transaction that ends \
                         the attempt."
            .to_owned(),
        ..ServiceHealth::default()
    }
}

async fn stages(
    State(state): State<ApiState>,
    tenant: Tenant,
    Params(query): Params<PerformanceQuery>,
) -> Result<Json<EngineStageBreakdownResponse>, ApiError> {
    let given = (query.hours, query.start_date, query.end_date);
    let window = Window::of(state.now(), given, HOURS_MAX)?;
    let all = merged(&window.read(&state, &tenant).await?);
    let of_workers = by_stage(&all.profile.stages).map(|(name, times)| (name, "worker", times));
    let measured: Vec<_> = [("starting", "driver", &all.start_us)]
        .into_iter()
        .chain(of_workers)
        .filter(|(.., times)| !times.is_empty())
        .collect();
    let total_us: u64 = measured.iter().map(|(.., times)| times.sum()).sum();
    let mut stages: Vec<StagePerformance> = measured
        .into_iter()
        .map(|(name, component, times)| StagePerformance {
            stage_name: name.to_owned(),
            component: component.to_owned(),
            execution_count: times.count(),
            avg_latency_ms: mean_ms(times),
            p95_latency_ms: quantile_ms(times, 0.95),
            max_latency_ms: ms(times.max()),
            total_time_ms: ms(times.sum()),
            pct_of_total: percent(times.sum(), total_us),
        })
        .collect();
    stages.sort_by(|a, b| b.total_time_ms.total_cmp(&a.total_time_ms));
    Ok(Json(EngineStageBreakdownResponse {
        time_range: window.range(),
        stages,
        total_time_ms: ms(total_us),
    }))
}

async fn extractors(
    State(state): State<ApiState>,
    tenant: Tenant,
    Params(query): Params<PerformanceQuery>,
) -> Result<Json<ExtractorBreakdownResponse>, ApiError> {
    let given = (query.hours, query.start_date, query.end_date);
    let window = Window::of(state.now(), given, HOURS_MAX)?;
    let by_extractor = by_extractor(&window.read(&state, &tenant).await?);
    let shown = by_extractor.iter().flat_map(|(name, work)| {
        let measured = by_stage(work).filter(|(_, times)| !times.is_empty());
        measured.map(|(stage, times)| ExtractorPerformance {
            extractor_name: name.clone(),
            stage_name: stage.to_owned(),
            execution_count: times.count(),
            avg_latency_ms: mean_ms(times),
            p95_latency_ms: quantile_ms(times, 0.95),
            max_latency_ms: ms(times.max()),
        })
    });
    Ok(Json(ExtractorBreakdownResponse {
        time_range: window.range(),
        extractors: shown.collect(),
    }))
}

async fn bottlenecks(
    State(state): State<ApiState>,
    tenant: Tenant,
    Params(query): Params<BottleneckQuery>,
) -> Result<Json<BottleneckResponse>, ApiError> {
    let most = limit(query.limit, BOTTLENECKS_DEFAULT, BOTTLENECKS_MAX)?;
    let window = Window::of(state.now(), (query.hours, None, None), HOURS_NEAR_MAX)?;
    let by_extractor = by_extractor(&window.read(&state, &tenant).await?);
    let mut places: Vec<(&str, &str, &Sketch)> = by_extractor
        .iter()
        .flat_map(|(name, work)| {
            by_stage(work).map(move |(stage, times)| (name.as_str(), stage, times))
        })
        .filter(|(.., times)| !times.is_empty())
        .collect();
    places.sort_by_key(|(.., times)| std::cmp::Reverse(times.sum()));
    let total_us: u64 = places.iter().map(|(.., times)| times.sum()).sum();
    let ranked = (1..).zip(places).take(most);
    Ok(Json(BottleneckResponse {
        time_range: window.range(),
        bottlenecks: ranked
            .map(|(rank, (component, stage, times))| BottleneckAnalysis {
                stage_name: stage.to_owned(),
                component: component.to_owned(),
                execution_count: times.count(),
                total_time_ms: ms(times.sum()),
                avg_time_ms: mean_ms(times),
                pct_of_total: percent(times.sum(), total_us),
                rank,
            })
            .collect(),
        total_time_ms: ms(total_us),
    }))
}

async fn slow_operations(
    State(state): State<ApiState>,
    tenant: Tenant,
    Params(query): Params<SlowOperationsQuery>,
) -> Result<Json<SlowOperationsResponse>, ApiError> {
    let most = limit(query.limit, SLOW_OPERATIONS_DEFAULT, SLOW_OPERATIONS_MAX)?;
    let threshold_ms = query.threshold_ms.unwrap_or(SLOW_MS_DEFAULT);
    if !threshold_ms.is_finite() || threshold_ms < 0.0 {
        return Err(ApiError::invalid_query(
            "threshold_ms",
            "must not be below zero",
        ));
    }
    let window = Window::of(state.now(), (query.hours, None, None), HOURS_NEAR_MAX)?;
    let rows = window.read(&state, &tenant).await?;
    let mut slow: Vec<(String, &SlowRow)> = rows
        .iter()
        .flat_map(|row| {
            let slowest = row.cell.profile.slowest.iter();
            slowest.map(|slow| (row.key.extractor_id(), slow))
        })
        .filter(|(_, slow)| ms(slow.us) >= threshold_ms)
        .collect();
    slow.sort_by_key(|(_, slow)| std::cmp::Reverse((slow.us, slow.at)));
    slow.truncate(most);
    Ok(Json(SlowOperationsResponse {
        time_range: window.range(),
        operations: slow.into_iter().map(operation).collect(),
        threshold_ms,
    }))
}

fn operation((extractor_id, slow): (String, &SlowRow)) -> SlowOperation {
    let metadata = [
        ("attempt_id", json!(slow.attempt_id)),
        ("row", json!(slow.row)),
        ("source_id", json!(slow.source_id)),
        ("size_bytes", json!(slow.bytes)),
    ];
    SlowOperation {
        timestamp: Timestamp(slow.at),
        stage_name: slow.stage.as_str().to_owned(),
        component: extractor_id,
        latency_ms: ms(slow.us),
        metadata: metadata
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect(),
    }
}

fn merged(rows: &[HistoryRow]) -> HistoryCell {
    let mut sum = HistoryCell::default();
    rows.iter().for_each(|row| sum.merge(&row.cell));
    sum
}

/// Work by extractor, whatever its parameters.
fn by_extractor(rows: &[HistoryRow]) -> BTreeMap<String, StageSketches> {
    let mut sums: BTreeMap<String, StageSketches> = BTreeMap::new();
    for row in rows {
        let sum = sums.entry(row.key.extractor_id()).or_default();
        sum.merge(&row.cell.profile.stages);
    }
    sums
}

fn by_stage(work: &StageSketches) -> impl Iterator<Item = (&'static str, &Sketch)> {
    Stage::ALL
        .into_iter()
        .map(|stage| (stage.as_str(), work.get(stage)))
}

fn ms(us: u64) -> f64 {
    us as f64 / 1000.0
}

fn mean_ms(times: &Sketch) -> f64 {
    times.mean().unwrap_or(0.0) / 1000.0
}

fn quantile_ms(times: &Sketch, share: f64) -> f64 {
    times.quantile(share).map_or(0.0, ms)
}

fn percent(part: u64, whole: u64) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}

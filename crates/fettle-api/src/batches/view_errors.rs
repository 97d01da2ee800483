//! Errors of a job as they are shown: of the job itself, and of its failed documents in groups.

use fettle_core::Job;
use fettle_diagnose::ErrorGroup;
use fettle_model::{AttemptExit, AttemptStatus, DocumentErrorClass};
use fettle_wire::tier::BatchErrorDetail;
use fettle_wire::time::Timestamp;
use serde_json::{Map, Value};

use super::insight::Insight;
use super::view_tier::exit_word;

/// Why a job failed, and the groups of its failed documents.
pub(super) fn errors(job: &Job, insight: Option<&Insight>) -> Vec<BatchErrorDetail> {
    let groups = insight
        .iter()
        .flat_map(|known| &known.diagnosis.error_groups);
    let of_job = groups.filter(|group| group.job_id == job.id);
    whole(job).into_iter().chain(of_job.map(group)).collect()
}

fn whole(job: &Job) -> Option<BatchErrorDetail> {
    let is_out_of_memory = job
        .last_attempt()
        .is_some_and(|attempt| attempt.exit == Some(AttemptExit::OutOfMemory));
    let error_type = if is_out_of_memory {
        "resource"
    } else {
        "runtime"
    };
    job.reason().map(|reason| BatchErrorDetail {
        error_type: error_type.to_owned(),
        message: reason.to_owned(),
        component: Some(job.extractor.id()),
        stage: None,
        affected_count: job.unfinished_rows().max(1),
        affected_document_ids: Vec::new(),
        recovery_suggestion: Some(
            "`diagnose` of the batch says why and what would mend it".to_owned(),
        ),
        traceback: None,
        metadata: None,
        timestamp: job.ended_at.map(Timestamp),
    })
}

fn group(group: &ErrorGroup) -> BatchErrorDetail {
    BatchErrorDetail {
        error_type: group.category.as_str().to_owned(),
        message: group.example.message.clone(),
        component: Some(group.component.clone()),
        stage: Some(group.stage.as_str().to_owned()),
        affected_count: group.count,
        affected_document_ids: group.source_ids.clone(),
        recovery_suggestion: Some(suggestion(group.class).to_owned()),
        traceback: group.example.traceback.clone(),
        metadata: Some(Map::from_iter([
            ("error_class".to_owned(), Value::from(group.class.as_str())),
            (
                "fingerprint".to_owned(),
                Value::from(group.fingerprint.as_str()),
            ),
        ])),
        timestamp: Some(group.example.at.into()),
    }
}

fn suggestion(class: DocumentErrorClass) -> &'static str {
    match class {
        DocumentErrorClass::Transient => "retry the failed documents; nothing need be changed",
        DocumentErrorClass::Resource => "retry the tier with more memory",
        DocumentErrorClass::Permanent => {
            "mend the source or the collection's settings first; the same again would fail again"
        }
    }
}

/// What a job outlived, or is outliving: earlier attempts that did not finish.
pub(super) fn warnings(job: &Job) -> Vec<String> {
    let earlier = job.attempts.iter().rev().skip(1).rev();
    let told = earlier.filter_map(|attempt| {
        let how = match (&attempt.exit, attempt.status) {
            (Some(AttemptExit::Finished), _) => return None,
            (Some(exit), _) => exit_word(exit),
            (None, AttemptStatus::Lost) => "lost",
            (None, _) => return None,
        };
        Some(format!("attempt {} ended: {how}", attempt.number))
    });
    told.collect()
}

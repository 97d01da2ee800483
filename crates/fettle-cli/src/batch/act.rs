//! The commands that act: `cancel` and `retry`, and carrying out what the diagnosis recommends.

use fettle_wire::diagnose::{DiagnoseResponse, RecommendedAction};
use serde_json::{Map, Value, json};

use crate::answer;
use crate::args::{CancelArgs, RetryArgs};
use crate::connection::{Connection, segment};
use crate::error::CliError;
use crate::exit::Code;
use crate::output::Printer;

/// Stops a batch, a tier or a job.
pub(crate) async fn cancel(
    connection: &Connection,
    args: &CancelArgs,
    printer: &Printer,
) -> Result<Code, CliError> {
    let batch = connection.batch_path(&args.batch).await?;
    let (path, what) = match (args.tier, &args.job) {
        (Some(tier), Some(job)) => (
            format!("{batch}/tiers/{tier}/jobs/{}/cancel", segment(job)),
            job.clone(),
        ),
        (Some(tier), None) => (
            format!("{batch}/tiers/{tier}/cancel"),
            format!("tier {tier}"),
        ),
        (None, _) => (format!("{batch}/cancel"), args.batch.clone()),
    };
    let query: Vec<(&str, &str)> = args
        .reason
        .iter()
        .map(|reason| ("reason", reason.as_str()))
        .collect();
    let answer: Value = connection
        .client()
        .post_query(&path, &query, &json!({}))
        .await?;
    report(printer, &answer, &format!("{what} is being stopped"))
}

/// Runs a tier again.
pub(crate) async fn retry(
    connection: &Connection,
    args: &RetryArgs,
    printer: &Printer,
) -> Result<Code, CliError> {
    let Some(tier) = args.tier else {
        let (diagnosis, _) = super::diagnosis(connection, &args.batch).await?;
        let action = recommended(&diagnosis)?;
        printer.note(format_args!("{} {}", action.method, action.path));
        printer.note(format_args!("because {}", action.reason));
        let answer = carry_out_recommended(connection, action).await?;
        return report(printer, &answer, "the recommended call was made");
    };
    let path = format!(
        "{}/tiers/{tier}/retry",
        connection.batch_path(&args.batch).await?
    );
    let answer = connection
        .post(&path, &Value::Object(overrides(args)))
        .await?;
    report(printer, &answer, &format!("tier {tier} runs again"))
}

fn report(printer: &Printer, answer: &Value, done: &str) -> Result<Code, CliError> {
    if printer.is_json() {
        printer.json(answer)?;
        return Ok(Code::Ok);
    }
    let message = answer::maybe(answer, "message");
    printer.data(if message.is_empty() { done } else { message })?;
    Ok(Code::Ok)
}

/// Only what was given: what is left out stays as it was.
fn overrides(args: &RetryArgs) -> Map<String, Value> {
    let mut body = Map::new();
    let mut put = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            body.insert(key.to_owned(), value);
        }
    };
    put(
        "memory_bytes",
        args.memory.map(|memory| json!(memory.bytes)),
    );
    put("num_cpus", args.cpus.map(Value::from));
    put("num_gpus", args.gpus.map(Value::from));
    put("requires_gpu", args.requires_gpu.then_some(json!(true)));
    put("priority", args.priority.map(Value::from));
    body
}

/// The diagnosis' first recommended action.
pub(crate) fn recommended(diagnosis: &DiagnoseResponse) -> Result<&RecommendedAction, CliError> {
    diagnosis
        .recommended_actions
        .first()
        .ok_or_else(|| CliError::Request {
            message: "the diagnosis recommends no call".to_owned(),
            hint: Some(format!(
                "read it: fettle batch diagnose {}",
                diagnosis.batch_id
            )),
            code: Code::Conflict,
        })
}

/// Makes a recommended call as it stands: its method, its path, its body.
pub(crate) async fn carry_out_recommended(
    connection: &Connection,
    action: &RecommendedAction,
) -> Result<Value, CliError> {
    match action.method.as_str() {
        "POST" => Ok(connection.client().post(&action.path, &action.body).await?),
        "PATCH" => Ok(connection
            .client()
            .patch(&action.path, &action.body)
            .await?),
        method => Err(CliError::Request {
            message: format!("the recommended method `{method}` is not known to this client"),
            hint: Some("client and server may be of different versions".to_owned()),
            code: Code::Local,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::MemorySize;

    #[test]
    fn only_what_was_given_is_sent() {
        let args = RetryArgs {
            memory: Some(MemorySize { bytes: 512 << 20 }),
            requires_gpu: true,
            priority: Some(50),
            ..RetryArgs::default()
        };
        let body = json!({"memory_bytes": 536_870_912, "requires_gpu": true, "priority": 50});
        assert_eq!(Value::Object(overrides(&args)), body);
        assert!(overrides(&RetryArgs::default()).is_empty());
    }

    #[test]
    fn a_diagnosis_without_a_recommendation_says_where_to_read_on() {
        let diagnosis = crate::demo::tests::diagnosis();
        let error = recommended(&DiagnoseResponse {
            recommended_actions: Vec::new(),
            ..diagnosis
        })
        .unwrap_err();
        assert_eq!(error.code(), Code::Conflict);
        assert!(error.hint().is_some_and(|hint| hint.contains("btch_1")));
    }
}

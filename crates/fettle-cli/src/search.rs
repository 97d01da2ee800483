//! Searching documents. Every search of the command line goes through [`search`].

use serde_json::{Value, json};

use crate::answer::{list, maybe, number};
use crate::connection::Connection;
use crate::error::CliError;
use crate::output::{Printer, Tone};
use crate::text;

/// Results shown.
pub(crate) const RESULTS_MAX: usize = 5;
/// Characters of a result's text that are shown.
const EXCERPT_WIDTH: usize = 200;

/// A document that was found.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Found {
    pub(crate) document_id: String,
    pub(crate) path: String,
    pub(crate) text: String,
    pub(crate) score: f64,
}

/// Finds the documents of a collection that are nearest to `query` in meaning, the nearest first.
pub(crate) async fn search(
    connection: &Connection,
    collection_id: &str,
    query: &str,
    limit: usize,
) -> Result<Vec<Found>, CliError> {
    let body = json!({
        "collection_identifiers": [collection_id],
        "inputs": { "query": query },
        "stages": [{
            "stage_name": "search",
            "stage_type": "filter",
            "config": {
                "stage_id": "feature_search",
                "parameters": {
                    "searches": [{ "query": { "input_mode": "text", "value": "{{INPUT.query}}" }, "top_k": limit }],
                    "final_top_k": limit,
                },
            },
        }],
        "limit": limit,
    });
    let answer = connection
        .post_query("/v1/retrievers/execute", &body)
        .await?;
    Ok(list(&answer, "documents").iter().map(found).collect())
}

fn found(document: &Value) -> Found {
    Found {
        document_id: maybe(document, "document_id").to_owned(),
        path: maybe(document, "path").to_owned(),
        text: maybe(document, "text").to_owned(),
        score: number(document, "score").unwrap_or_default(),
    }
}

/// Prints what was found.
pub(crate) fn print(printer: &Printer, results: &[Found]) -> Result<(), CliError> {
    if printer.is_json() {
        let rows: Vec<Value> = results
            .iter()
            .map(|found| {
                json!({ "document_id": found.document_id, "path": found.path, "score": found.score, "text": found.text })
            })
            .collect();
        return printer.json(&json!({ "results": rows }));
    }
    for (index, found) in results.iter().enumerate() {
        let path = printer.tone(Tone::Bold, &found.path);
        printer.data(format_args!(
            "{}. {path}  (score {:.3})",
            index + 1,
            found.score
        ))?;
        printer.data(format_args!(
            "   {}",
            text::short(&found.text, EXCERPT_WIDTH)
        ))?;
    }
    if results.is_empty() {
        printer.data("nothing was found")?;
    }
    Ok(())
}

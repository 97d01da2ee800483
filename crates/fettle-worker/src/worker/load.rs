//! The loading stage: rows from the manifest, their blobs from wherever they lie.
//!
//! Owns the order "room first, then the word to the driver, then the bytes", so that memory is bounded and no row is loaded unseen.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use fettle_manifest::{ManifestBlob, ManifestRow, SourceKind};
use fettle_model::{RowNumber, Stage};
use futures_util::StreamExt as _;
use futures_util::stream::{self, Stream};
use serde_json::Value;
use tokio::sync::mpsc;

use super::context::{Context, Extracted, Loaded};
use crate::blob::BlobRef;
use crate::compose::Facts;
use crate::extract::{ExtractError, InputValue, LoadedBlob, RowInput, chain};
use crate::frame::{BegunRow, FatalCause, FromWorker};
use crate::inputs::Picked;

/// Rows loaded at once: enough to hide the latency of a network, few enough to name as suspects.
const LOADS_AT_ONCE: usize = 4;
/// What a blob of unknown size counts for, in bytes, before it is here.
const UNKNOWN_BLOB_BYTES: u64 = 4 << 20;

/// Loads rows until none come any more.
pub(super) async fn run(
    context: Arc<Context>,
    rows: mpsc::UnboundedReceiver<Vec<RowNumber>>,
    to_process: mpsc::Sender<Loaded>,
    to_write: mpsc::Sender<Extracted>,
) {
    let shards = stream::unfold(rows, |mut rows| async { Some((rows.recv().await?, rows)) });
    let shards = shards.map(|rows| read_rows(&context, rows));
    let rows = shards.flat_map(stream::iter);
    let mut loading = std::pin::pin!(load_several(&context, rows));
    while let Some(done) = loading.next().await {
        let is_taken = match done {
            Done::Loaded(loaded) => to_process.send(*loaded).await.is_ok(),
            Done::Left => true,
            Done::Over(row, result) => {
                context.entered(vec![row.row], Stage::Writing);
                let extracted = Extracted {
                    row: *row,
                    facts: Facts::default(),
                    result: result.map(|()| None),
                    held: None,
                };
                to_write.send(extracted).await.is_ok()
            }
        };
        if !is_taken {
            return;
        }
    }
}

fn load_several<'c>(
    context: &'c Context,
    rows: impl Stream<Item = ManifestRow> + 'c,
) -> impl Stream<Item = Done> + 'c {
    rows.map(|row| load(context, row))
        .buffer_unordered(LOADS_AT_ONCE)
}

enum Done {
    Loaded(Box<Loaded>),
    /// It was not taken up, and is for others.
    Left,
    /// There is nothing to extract: the row asked for nothing, or could not be loaded.
    Over(Box<ManifestRow>, Result<(), ExtractError>),
}

/// The rows of a shard. A manifest that cannot be read is the end of this and every other worker.
fn read_rows(context: &Context, mut rows: Vec<RowNumber>) -> Vec<ManifestRow> {
    rows.sort_unstable();
    match context.manifest.read(&rows) {
        Ok(rows) => rows,
        Err(error) => {
            context
                .output
                .fatal(FatalCause::Environment, &chain(&error));
            Vec::new()
        }
    }
}

async fn load(context: &Context, row: ManifestRow) -> Done {
    let Some(held) = context.loaded_bytes.hold(estimate(&row)).await else {
        return Done::Over(Box::new(row), Err(closed()));
    };
    if context.is_leaving() {
        return Done::Left;
    }
    context.output.send(&FromWorker::Begun(BegunRow {
        row: row.row,
        source_id: row.source_id.clone(),
        collection_id: row.collection_id.clone(),
        size_bytes: row.size_bytes,
    }));
    let meter = context.meters.of(Stage::Loading);
    let (busy, began) = (meter.enter(), Instant::now());
    let loaded = load_inputs(context, &row).await;
    drop(busy);
    let took = began.elapsed();
    match loaded {
        Ok(None) => {
            meter.count(1, 0, took);
            Done::Over(Box::new(row), Ok(()))
        }
        Ok(Some((inputs, facts))) => {
            meter.count(1, facts.size_bytes, took);
            // The size of a blob at an address is known only now; a death while it is worked on must tell it.
            if facts.size_bytes > row.size_bytes {
                context.output.send(&FromWorker::Sized {
                    row: row.row,
                    size_bytes: facts.size_bytes,
                });
            }
            let input = RowInput {
                inputs,
                source_id: row.source_id.clone(),
            };
            Done::Loaded(Box::new(Loaded {
                row,
                input,
                facts,
                held,
            }))
        }
        Err(error) => {
            meter.count(1, 0, took);
            Done::Over(Box::new(row), Err(error))
        }
    }
}

type Inputs = BTreeMap<String, InputValue>;

/// The inputs of a row; `None` when it is a document of an earlier tier that holds nothing for this extractor, such as an
/// image where text is wanted. An object without its input is somebody's mistake and fails.
async fn load_inputs(
    context: &Context,
    row: &ManifestRow,
) -> Result<Option<(Inputs, Facts)>, ExtractError> {
    let plan = context
        .plan_of(&row.collection_id)
        .ok_or_else(|| unknown_collection(row))?;
    let mut inputs = Inputs::new();
    let picked = match plan.pick(row) {
        Err(_) if row.source_kind == SourceKind::Document => return Ok(None),
        picked => picked?,
    };
    for (key, picked) in picked {
        let value = match picked {
            Picked::Value(Value::String(text)) => InputValue::Text(text),
            Picked::Value(value) => InputValue::Json(value),
            Picked::Blob(blob) => InputValue::Blob(load_blob(context, blob).await?),
        };
        inputs.insert(key, value);
    }
    let facts = facts_of(&inputs);
    Ok(Some((inputs, facts)))
}

async fn load_blob(context: &Context, blob: &ManifestBlob) -> Result<LoadedBlob, ExtractError> {
    let address = blob.address.as_deref().unwrap_or_default();
    let address = address.strip_prefix("blob:").unwrap_or(address).to_owned();
    let reference = BlobRef {
        address,
        expected_bytes: blob.size_bytes,
    };
    let bytes = context
        .loader
        .load(&reference)
        .await
        .map_err(crate::blob::LoadError::into_extract_error)?;
    Ok(LoadedBlob {
        property: blob.property.clone(),
        filename: blob.filename.clone(),
        mime_type: blob.mime_type.clone(),
        bytes,
    })
}

fn facts_of(inputs: &Inputs) -> Facts {
    let mut hasher = blake3::Hasher::new();
    let mut facts = Facts::default();
    for (key, value) in inputs {
        hasher.update(key.as_bytes());
        hasher.update(&[0]);
        let size = match value {
            InputValue::Text(text) => update(&mut hasher, text.as_bytes()),
            InputValue::Json(value) => update(&mut hasher, value.to_string().as_bytes()),
            InputValue::Blob(blob) => update(&mut hasher, &blob.bytes),
        };
        facts.size_bytes += size;
        if facts.mime_type.is_none() {
            facts.mime_type = mime_of(value);
        }
    }
    facts.content_hash = hasher.finalize().to_hex().to_string();
    facts
}

/// Length first, so that no two sequences of inputs hash alike.
fn update(hasher: &mut blake3::Hasher, bytes: &[u8]) -> u64 {
    let length = bytes.len() as u64;
    hasher.update(&length.to_le_bytes());
    hasher.update(bytes);
    length
}

fn mime_of(value: &InputValue) -> Option<String> {
    match value {
        InputValue::Text(_) => Some("text/plain".to_owned()),
        InputValue::Json(_) => None,
        InputValue::Blob(blob) => {
            let found = infer::get(&blob.bytes).map(|kind| kind.mime_type().to_owned());
            found.or_else(|| blob.mime_type.clone())
        }
    }
}

/// What a row will take in memory, in bytes.
fn estimate(row: &ManifestRow) -> u64 {
    let unknown = row
        .blobs
        .iter()
        .filter(|blob| blob.address.is_some() && blob.size_bytes.is_none())
        .count();
    row.size_bytes
        .saturating_add(UNKNOWN_BLOB_BYTES.saturating_mul(unknown as u64))
}

fn unknown_collection(row: &ManifestRow) -> ExtractError {
    let message = format!(
        "the row is for collection {}, which this job does not write to",
        row.collection_id
    );
    ExtractError {
        stage: Stage::Loading,
        ..ExtractError::invalid("manifest", message)
    }
}

fn closed() -> ExtractError {
    ExtractError {
        stage: Stage::Loading,
        ..ExtractError::invalid("worker", "the worker is ending")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_tells_inputs_apart_and_the_type_is_that_of_the_bytes() {
        let text = |key: &str, text: &str| {
            Inputs::from([(key.to_owned(), InputValue::Text(text.to_owned()))])
        };
        let one = facts_of(&text("a", "b"));
        assert_eq!(one, facts_of(&text("a", "b")));
        assert_ne!(one.content_hash, facts_of(&text("ab", "")).content_hash);
        assert_eq!(
            (one.size_bytes, one.mime_type.as_deref()),
            (1, Some("text/plain"))
        );
        let png = LoadedBlob {
            property: "p".into(),
            filename: None,
            mime_type: Some("text/html".into()),
            bytes: bytes::Bytes::from_static(b"\x89PNG\r\n\x1a\n........"),
        };
        let facts = facts_of(&Inputs::from([("p".to_owned(), InputValue::Blob(png))]));
        assert_eq!(facts.mime_type.as_deref(), Some("image/png"));
    }
}

//! From files to a batch: namespace, bucket, objects, collections, batch, submission.

use serde_json::{Map, Value, json};
use url::Url;

use super::scan::File;
use crate::answer;
use crate::connection::{Connection, batch_path, segment};
use crate::error::CliError;
use crate::extractor::ExtractorName;

/// Objects of one create call; the contract's bound.
const OBJECTS_PER_CALL: usize = 100;
/// Object ids of one batch call: a body of a few hundred kilobytes.
const IDS_PER_CALL: usize = 10_000;
/// The object's field that holds the file.
const FILE_FIELD: &str = "file";

/// What is to be made of the files.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Begins the names of bucket, collections and batch.
    pub(crate) name: String,
    /// What reads the files.
    pub(crate) extractor: ExtractorName,
    /// What reads what that found, besides the cutting and embedding of text.
    pub(crate) plugins: Vec<ExtractorName>,
}

/// What was made.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) batch_id: String,
    pub(crate) bucket_id: String,
    /// Documents of the files, one or more a file.
    pub(crate) files_collection: String,
    /// Embedded chunks of text, where the extractor finds text.
    pub(crate) chunks_collection: Option<String>,
    /// Objects that were refused, with the reason.
    pub(crate) refused: Vec<String>,
}

/// Makes everything but does not submit. `at` is told how many objects there are so far.
pub(crate) async fn prepare(
    connection: &Connection,
    namespace: &str,
    plan: &Plan,
    files: &[File],
    at: &mut dyn FnMut(usize),
) -> Result<Prepared, CliError> {
    ensure_namespace(connection, namespace).await?;
    let bucket_id = create_bucket(connection, &plan.name).await?;
    let (object_ids, refused) = create_objects(connection, &bucket_id, files, at).await?;
    if object_ids.is_empty() {
        let why = refused.first().map_or("there are no files", String::as_str);
        return Err(CliError::local(format!(
            "no object could be made of the files: {why}"
        )));
    }
    let files_collection = create_collection(connection, &files_body(plan, &bucket_id)).await?;
    let mut chunks_collection = None;
    if plan.extractor.finds_text() {
        let body = chunks_body(plan, &files_collection);
        chunks_collection = Some(create_collection(connection, &body).await?);
    }
    for plugin in &plan.plugins {
        let body = plugin_body(connection, plan, plugin, &files_collection).await?;
        create_collection(connection, &body).await?;
    }
    let batch_id = create_batch(connection, &bucket_id, &plan.name, &object_ids).await?;
    Ok(Prepared {
        batch_id,
        bucket_id,
        files_collection,
        chunks_collection,
        refused,
    })
}

/// What a tier may use; what is left out is the server's choice.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct TierAsk {
    /// Memory limit of each worker, in bytes.
    pub(crate) memory_bytes: Option<u64>,
    /// CPU cores; each is a worker.
    pub(crate) num_cpus: Option<usize>,
}

impl TierAsk {
    fn body(self) -> Map<String, Value> {
        let memory = self
            .memory_bytes
            .map(|bytes| ("memory_bytes".to_owned(), json!(bytes)));
        let cpus = self
            .num_cpus
            .map(|cpus| ("num_cpus".to_owned(), json!(cpus)));
        memory.into_iter().chain(cpus).collect()
    }
}

/// Submits the batch; `asks` are what its tiers may use, from tier 0 on.
pub(crate) async fn submit(
    connection: &Connection,
    prepared: &Prepared,
    asks: &[TierAsk],
) -> Result<Value, CliError> {
    let path = format!(
        "{}/submit",
        batch_path(&prepared.bucket_id, &prepared.batch_id)
    );
    connection.post(&path, &submission(asks)).await
}

fn submission(asks: &[TierAsk]) -> Value {
    let resources: Map<String, Value> = asks
        .iter()
        .enumerate()
        .filter(|(_, ask)| **ask != TierAsk::default())
        .map(|(tier, ask)| (tier.to_string(), Value::Object(ask.body())))
        .collect();
    if resources.is_empty() {
        json!({})
    } else {
        json!({ "resources": resources })
    }
}

/// A namespace that is there already is as good as a new one.
async fn ensure_namespace(connection: &Connection, name: &str) -> Result<(), CliError> {
    match connection
        .get(&format!("/v1/namespaces/{}", segment(name)), &[])
        .await
    {
        Ok(_) => return Ok(()),
        Err(CliError::Server(error)) if error.api().is_some_and(|answer| answer.status == 404) => {}
        Err(error) => return Err(error),
    }
    let body = json!({ "namespace_name": name, "description": "made by the fettle command line" });
    match connection.post("/v1/namespaces", &body).await {
        Ok(_) => Ok(()),
        Err(CliError::Server(error)) if error.api().is_some_and(|answer| answer.status == 409) => {
            Ok(())
        }
        Err(error) => Err(error),
    }
}

async fn create_bucket(connection: &Connection, name: &str) -> Result<String, CliError> {
    let body = json!({
        "bucket_name": name,
        "bucket_schema": { "properties": {
            FILE_FIELD: { "type": "text" },
            "path": { "type": "string" },
            "size_bytes": { "type": "integer" },
        } },
    });
    let answer = connection.post("/v1/buckets", &body).await?;
    Ok(answer::text(&answer, "bucket_id")?.to_owned())
}

async fn create_objects(
    connection: &Connection,
    bucket_id: &str,
    files: &[File],
    at: &mut dyn FnMut(usize),
) -> Result<(Vec<String>, Vec<String>), CliError> {
    let path = format!("/v1/buckets/{}/objects/batch", segment(bucket_id));
    let (mut ids, mut refused) = (Vec::with_capacity(files.len()), Vec::new());
    for part in files.chunks(OBJECTS_PER_CALL) {
        let objects: Vec<Value> = part.iter().map(object).collect();
        let answer = connection
            .post(&path, &json!({ "objects": objects }))
            .await?;
        for object in answer::list(&answer, "succeeded") {
            ids.push(answer::text(object, "object_id")?.to_owned());
        }
        for failure in answer::list(&answer, "failed") {
            let file = answer::whole(failure, "object_index")
                .and_then(|index| part.get(usize::try_from(index).ok()?))
                .map_or("a file", |file| file.shown.as_str());
            refused.push(format!("{file}: {}", answer::maybe(failure, "error")));
        }
        at(ids.len());
    }
    Ok((ids, refused))
}

fn object(file: &File) -> Value {
    // A path is absolute here, so it always has an address.
    let address =
        Url::from_file_path(&file.path).map_or_else(|()| String::new(), |url| url.to_string());
    json!({
        "blobs": [{ "property": FILE_FIELD, "type": "text", "data": address }],
        "path": file.shown,
        "size_bytes": file.size_bytes,
    })
}

fn files_body(plan: &Plan, bucket_id: &str) -> Value {
    let input = match plan.extractor.name.as_str() {
        "text_extractor" => "text",
        "image_extractor" => "image",
        "document_extractor" => "document",
        _ => FILE_FIELD,
    };
    json!({
        "collection_name": format!("{}-files", plan.name),
        "source": { "type": "bucket", "bucket_ids": [bucket_id] },
        "feature_extractor": {
            "feature_extractor_name": plan.extractor.name,
            "version": plan.extractor.version,
            "input_mappings": { input: FILE_FIELD },
            "field_passthrough": [{ "source_path": "path" }],
        },
    })
}

fn chunks_body(plan: &Plan, files_collection: &str) -> Value {
    json!({
        "collection_name": format!("{}-chunks", plan.name),
        "source": { "type": "collection", "collection_id": files_collection },
        "feature_extractor": {
            "feature_extractor_name": "text_extractor",
            "version": "v1",
            "input_mappings": { "text": "text" },
            "field_passthrough": [{ "source_path": "path" }, { "source_path": "title" }],
            // A chunk of 150 words fits into the 256 tokens that the sentence model reads.
            "parameters": { "split_by": "words", "chunk_size": 150, "chunk_overlap": 20 },
        },
    })
}

/// A plugin reads the fields of the files' documents that are named like its inputs.
async fn plugin_body(
    connection: &Connection,
    plan: &Plan,
    plugin: &ExtractorName,
    files_collection: &str,
) -> Result<Value, CliError> {
    let path = format!(
        "/v1/collections/features/extractors/{}",
        segment(&plugin.id())
    );
    let answer = connection.get(&path, &[]).await?;
    let inputs = answer
        .pointer("/input_schema/properties")
        .and_then(Value::as_object);
    let mappings: Map<String, Value> = inputs
        .into_iter()
        .flatten()
        .map(|(key, _)| (key.clone(), json!(key)))
        .collect();
    Ok(json!({
        "collection_name": format!("{}-{}", plan.name, plugin.name),
        "source": { "type": "collection", "collection_id": files_collection },
        "feature_extractor": {
            "feature_extractor_name": plugin.name,
            "version": plugin.version,
            "input_mappings": mappings,
            "field_passthrough": [{ "source_path": "path" }],
        },
    }))
}

async fn create_collection(connection: &Connection, body: &Value) -> Result<String, CliError> {
    let answer = connection.post("/v1/collections", body).await?;
    Ok(answer::text(&answer, "collection_id")?.to_owned())
}

async fn create_batch(
    connection: &Connection,
    bucket_id: &str,
    name: &str,
    object_ids: &[String],
) -> Result<String, CliError> {
    let mut parts = object_ids.chunks(IDS_PER_CALL);
    let first = parts.next().unwrap_or_default();
    let path = format!("/v1/buckets/{}/batches", segment(bucket_id));
    let answer = connection
        .post(&path, &json!({ "batch_name": name, "object_ids": first }))
        .await?;
    let batch_id = answer::text(&answer, "batch_id")?.to_owned();
    let path = format!("{}/objects", batch_path(bucket_id, &batch_id));
    for part in parts {
        connection
            .post(&path, &json!({ "object_ids": part }))
            .await?;
    }
    Ok(batch_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_holds_the_files_address_escaped() {
        let file = File {
            path: "/a b/ü?.txt".into(),
            shown: "ü?.txt".to_owned(),
            size_bytes: 3,
        };
        let object = object(&file);
        assert_eq!(object["blobs"][0]["data"], "file:///a%20b/%C3%BC%3F.txt");
        assert_eq!(object["path"], "ü?.txt");
    }

    #[test]
    fn a_submission_asks_only_for_what_was_said() {
        assert_eq!(submission(&[TierAsk::default()]), json!({}));
        let asks = [
            TierAsk::default(),
            TierAsk {
                memory_bytes: Some(7),
                num_cpus: Some(2),
            },
        ];
        assert_eq!(
            submission(&asks),
            json!({"resources": {"1": {"memory_bytes": 7, "num_cpus": 2}}})
        );
    }

    #[test]
    fn the_files_go_to_the_extractors_own_input() {
        let plan = |name: &str| Plan {
            name: "x".to_owned(),
            extractor: ExtractorName::parse(name),
            plugins: Vec::new(),
        };
        let input = |name: &str| {
            files_body(&plan(name), "bkt_1")["feature_extractor"]["input_mappings"].clone()
        };
        assert_eq!(input("universal"), json!({"file": "file"}));
        assert_eq!(input("image"), json!({"image": "file"}));
    }
}

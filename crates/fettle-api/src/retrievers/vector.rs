//! Queries as vectors.
//!
//! Owns the choice of the vector that a text is searched by. It must not load a model.

use fettle_model::catalogue::{LEXICAL_VECTOR, MINILM_VECTOR};
use fettle_model::lexical::lexical_vector;
use fettle_ports::{CollectionRecord, NamedVector};

use super::stage::{Query, Search};
use crate::collections::vectors_of;
use crate::error::ApiError;
use crate::state::{ApiState, QueryEmbedError};

/// The query as a vector of the collection; the inner error says why it has none that fits.
pub(super) async fn of(
    state: &ApiState,
    record: &CollectionRecord,
    search: &Search,
) -> Result<Result<NamedVector, String>, ApiError> {
    let vectors = vectors_of(state, record).await?;
    let mut names: Vec<String> = vectors.into_iter().map(|vector| vector.name).collect();
    let collection = &record.collection_name;
    // A feature address that ends in no vector's name, such as `…/embedding`, leaves the choice to us.
    let wanted = search
        .feature_uri
        .as_deref()
        .and_then(|uri| uri.rsplit('/').next());
    if let Some(wanted) = wanted
        && names.iter().any(|name| name == wanted)
    {
        names.retain(|name| name == wanted);
    }
    let text = match &search.query {
        Query::Vector(values) => {
            let named = names.into_iter().next().map(|name| NamedVector {
                name,
                values: values.clone(),
            });
            return Ok(named.ok_or_else(|| format!("collection {collection} has no vectors")));
        }
        Query::Text(text) => text,
    };
    let by_text = |name: &&String| *name == MINILM_VECTOR || *name == LEXICAL_VECTOR;
    // An embedder may know a plugin's vector too.
    let custom = || names.first().filter(|_| state.embedder().is_some());
    match names.iter().find(by_text).or_else(custom).cloned() {
        Some(name) => embed(state, name, text).await,
        None => Ok(Err(format!(
            "collection {collection} has no vector that a text can be searched by; search it with a vector"
        ))),
    }
}

async fn embed(
    state: &ApiState,
    name: String,
    text: &str,
) -> Result<Result<NamedVector, String>, ApiError> {
    if name == LEXICAL_VECTOR {
        return Ok(Ok(NamedVector {
            values: lexical_vector(text),
            name,
        }));
    }
    let missing = if name == MINILM_VECTOR {
        format!(
            "searching `{name}` by text needs the model all-MiniLM-L6-v2, and this server has none: start it with FETTLE_MODEL_DIR set, or search with a vector"
        )
    } else {
        format!(
            "`{name}` is a plugin's vector, for which this server has no model; search with a vector"
        )
    };
    let Some(embedder) = state.embedder().cloned() else {
        return Ok(Err(missing));
    };
    let (vector, text) = (name.clone(), text.to_owned());
    // A model takes milliseconds of a core, which must not hold up other requests.
    let embedded = tokio::task::spawn_blocking(move || embedder.embed(&vector, &text)).await;
    match embedded.map_err(ApiError::internal)? {
        Ok(values) => Ok(Ok(NamedVector { name, values })),
        Err(QueryEmbedError::UnknownVector { .. }) => Ok(Err(missing)),
        Err(error @ QueryEmbedError::Failed { .. }) => Err(ApiError::internal(error)),
    }
}

//! Query vectors from the sentence model, which is loaded at the first search that needs it.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use fettle_api::{QueryEmbedError, QueryEmbedder};
use fettle_model::catalogue::MINILM_VECTOR;
use fettle_worker::extract::TextEmbedder;

/// The sentence model behind searches.
pub(crate) struct ModelEmbedder {
    dir: PathBuf,
    /// Loaded at first use: a server that nobody searches does not pay for the model.
    model: Mutex<Option<TextEmbedder>>,
}

impl ModelEmbedder {
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            model: Mutex::new(None),
        }
    }
}

impl QueryEmbedder for ModelEmbedder {
    fn embed(&self, vector: &str, text: &str) -> Result<Vec<f32>, QueryEmbedError> {
        if vector != MINILM_VECTOR {
            return Err(QueryEmbedError::UnknownVector {
                vector: vector.to_owned(),
            });
        }
        let failed = |message: String| QueryEmbedError::Failed { message };
        let mut model = self.model.lock().unwrap_or_else(PoisonError::into_inner);
        if model.is_none() {
            *model =
                Some(TextEmbedder::load(&self.dir).map_err(|error| failed(error.to_string()))?);
        }
        let model = model
            .as_mut()
            .ok_or_else(|| failed("the model is not loaded".to_owned()))?;
        let embedded = model
            .embed(&[text])
            .map_err(|error| failed(error.to_string()))?;
        let first = embedded.into_iter().next();
        first
            .map(|embedded| embedded.vector.values)
            .ok_or_else(|| failed("the model gave no vector".to_owned()))
    }
}

//! What every handler may use.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fettle_control::Control;
use fettle_model::{UnixMillis, UploadId};

use crate::auth::Auth;
use crate::error::ApiError;
use crate::rate::Rates;

/// Why a query could not be embedded.
#[derive(Debug, thiserror::Error)]
pub enum QueryEmbedError {
    /// This embedder does not know the vector.
    #[error("no model is loaded for vector `{vector}`")]
    UnknownVector {
        /// The vector.
        vector: String,
    },
    /// The model failed.
    #[error("the model failed on the query: {message}")]
    Failed {
        /// What it said.
        message: String,
    },
}

/// Makes vectors of query texts with the models that documents were embedded with. Calls may block for as long as the model runs.
pub trait QueryEmbedder: Send + Sync {
    /// The vector of `text` for the index vector `vector`.
    fn embed(&self, vector: &str, text: &str) -> Result<Vec<f32>, QueryEmbedError>;
}

/// What every handler may use. Cheap to clone.
#[derive(Clone)]
pub struct ApiState {
    shared: Arc<Shared>,
}

struct Shared {
    control: Control,
    auth: Auth,
    embedder: Option<Arc<dyn QueryEmbedder>>,
    started_at: UnixMillis,
    rates: Rates,
    held_uploads: Mutex<BTreeSet<UploadId>>,
}

/// An upload that no other request works on until this is dropped.
pub(crate) struct HeldUpload {
    state: ApiState,
    id: UploadId,
}

impl Drop for HeldUpload {
    fn drop(&mut self) {
        self.state.held_uploads().remove(&self.id);
    }
}

impl ApiState {
    /// The state over the control room. Without an embedder, searches by text need lexical vectors.
    #[must_use]
    pub fn new(control: Control, auth: Auth, embedder: Option<Arc<dyn QueryEmbedder>>) -> Self {
        let started_at = control.clock().now();
        Self {
            shared: Arc::new(Shared {
                control,
                auth,
                embedder,
                started_at,
                rates: Rates::default(),
                held_uploads: Mutex::default(),
            }),
        }
    }

    pub(crate) fn control(&self) -> &Control {
        &self.shared.control
    }

    pub(crate) fn auth(&self) -> &Auth {
        &self.shared.auth
    }

    pub(crate) fn embedder(&self) -> Option<&Arc<dyn QueryEmbedder>> {
        self.shared.embedder.as_ref()
    }

    pub(crate) fn now(&self) -> UnixMillis {
        self.shared.control.clock().now()
    }

    pub(crate) fn started_at(&self) -> UnixMillis {
        self.shared.started_at
    }

    pub(crate) fn rates(&self) -> &Rates {
        &self.shared.rates
    }

    /// 120 random bits for an id.
    pub(crate) fn id_bits(&self) -> [u8; 15] {
        self.shared.control.entropy().bytes15()
    }

    /// Keeps other requests from the upload. There is one server on a database, so its memory is enough.
    pub(crate) fn hold_upload(&self, id: &UploadId) -> Result<HeldUpload, ApiError> {
        if !self.held_uploads().insert(id.clone()) {
            let present = "another request works on it at this moment";
            return Err(ApiError::conflict("using the upload", present));
        }
        Ok(HeldUpload {
            state: self.clone(),
            id: id.clone(),
        })
    }

    fn held_uploads(&self) -> MutexGuard<'_, BTreeSet<UploadId>> {
        let held = &self.shared.held_uploads;
        held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

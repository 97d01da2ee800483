//! What all stages of a worker share.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use fettle_client::AttemptClient;
use fettle_confine::AttemptDir;
use fettle_manifest::{ManifestReader, ManifestRow};
use fettle_model::{AttemptSpec, CollectionId, RowNumber, Stage};

use super::output::Output;
use crate::artifacts::ArtifactStore;
use crate::attempt_files::{self, FilesError};
use crate::blob::BlobLoader;
use crate::budget::{Budget, Held};
use crate::compose::{Composer, Facts};
use crate::extract::{ExtractError, Part, RowInput};
use crate::frame::FromWorker;
use crate::inputs::{Declared, InputPlan, MappingError};
use crate::meter::Meters;

/// A row whose inputs are here.
pub(super) struct Loaded {
    pub(super) row: ManifestRow,
    pub(super) input: RowInput,
    pub(super) facts: Facts,
    /// Its bytes in the budget of loaded rows.
    pub(super) held: Held,
}

/// A row that the extractor is done with.
pub(super) struct Extracted {
    pub(super) row: ManifestRow,
    pub(super) facts: Facts,
    /// What was made of it; nothing when it holds nothing for this extractor.
    pub(super) result: Result<Option<Vec<Part>>, ExtractError>,
    /// Its bytes in the budget of extracted rows.
    pub(super) held: Option<Held>,
}

/// What all stages share.
pub(super) struct Context {
    pub(super) spec: Arc<AttemptSpec>,
    pub(super) manifest: ManifestReader,
    pub(super) loader: BlobLoader,
    pub(super) client: AttemptClient,
    pub(super) artifacts: Option<ArtifactStore>,
    pub(super) composer: Composer,
    pub(super) output: Arc<Output>,
    pub(super) meters: Meters,
    pub(super) loaded_bytes: Budget,
    pub(super) extracted_bytes: Budget,
    plans: BTreeMap<CollectionId, InputPlan>,
    /// Rows, of all stages, that the driver has been told of.
    rows_told: AtomicU64,
    /// Whether no row is to be taken up any more.
    is_leaving: AtomicBool,
}

impl Context {
    /// Opens everything but the extractor.
    pub(super) async fn open(
        dir: &AttemptDir,
        spec: Arc<AttemptSpec>,
        output: Arc<Output>,
    ) -> Result<Self, FilesError> {
        let token = attempt_files::token(dir)?;
        let loader = BlobLoader::new(&spec.access, &spec.blob_base, &token)?;
        let memory_bytes = spec.resources.memory_bytes;
        Ok(Self {
            manifest: attempt_files::manifest(&spec, &loader).await?,
            client: attempt_files::client(dir, &spec)?,
            artifacts: open_artifacts(&spec, &token),
            composer: Composer::new(&spec),
            loader,
            output,
            meters: Meters::default(),
            loaded_bytes: Budget::of_limit(memory_bytes),
            extracted_bytes: Budget::of_limit(memory_bytes),
            plans: BTreeMap::new(),
            rows_told: AtomicU64::new(0),
            is_leaving: AtomicBool::new(false),
            spec,
        })
    }

    /// Lets go of the rows that the extractor has not been given yet.
    pub(super) fn leave(&self) {
        self.is_leaving.store(true, Ordering::Relaxed);
    }

    /// Whether the extractor is to be given no row any more.
    pub(super) fn is_leaving(&self) -> bool {
        self.is_leaving.load(Ordering::Relaxed)
    }

    /// Plans the inputs of every target collection.
    pub(super) fn plan(&mut self, declared: &[Declared]) -> Result<(), MappingError> {
        for target in &self.spec.targets {
            let plan = InputPlan::new(declared.to_vec(), &target.input_mappings)?;
            self.plans.insert(target.collection_id.clone(), plan);
        }
        Ok(())
    }

    /// How the inputs of a collection's rows are found.
    pub(super) fn plan_of(&self, collection: &CollectionId) -> Option<&InputPlan> {
        self.plans.get(collection)
    }

    /// Tells the driver that rows have reached a stage.
    pub(super) fn entered(&self, rows: Vec<RowNumber>, stage: Stage) {
        self.output.send(&FromWorker::Entered { rows, stage });
    }

    /// Tells the driver how the time was spent.
    pub(super) fn send_timings(&self) {
        let work = self.meters.work();
        let rows: u64 = Stage::ALL
            .iter()
            .map(|stage| work.get(*stage).count())
            .sum();
        let is_new = self.rows_told.swap(rows, Ordering::Relaxed) != rows;
        self.output.send(&FromWorker::Timings {
            stages: self.meters.read(),
            work: is_new.then(|| Box::new(work)),
        });
    }
}

/// Without a store for artifacts rows that have some fail; the others need none.
fn open_artifacts(spec: &AttemptSpec, token: &str) -> Option<ArtifactStore> {
    ArtifactStore::open(&spec.blob_base, token)
        .inspect_err(|error| tracing::warn!(%error, "artifacts cannot be stored"))
        .ok()
}

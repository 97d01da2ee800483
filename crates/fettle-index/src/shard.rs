//! One open shard of the library, and all calls into it.
//!
//! Owns that the library's rules are kept: only one thread at a time changes or flushes a shard, and closing it, which
//! flushes and may panic, never lets the panic out. It must not be used after a call reported a fault that spoils it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fettle_ports::VectorSpec;
use qdrant_edge::external::uuid::Uuid;
use qdrant_edge::{
    Condition, CountRequest, CreateIndex, CreateVectorName, EdgeShard, FieldCondition,
    FieldIndexOperations, Filter, JsonPath, Match, NamedQuery, PayloadFieldSchema,
    PayloadSchemaType, PointId, PointInsertOperations, PointOperations, PointStructPersisted,
    QueryEnum, Record, ScoredPoint, ScrollRequest, SearchRequest, UpdateOperation, ValueVariants,
    VectorInternal, VectorNameConfig, VectorNameOperations, WithPayloadInterface, WithVector,
};

use crate::convert::{INTERNAL, check_length, vector_key, vector_name};
use crate::fault::Fault;
use crate::layout;
use crate::panics::contain;

/// The `_internal` fields that documents can be looked up by.
pub(crate) const INDEXED_FIELDS: [&str; 3] = ["batch_id", "job_id", "source_id"];

/// The longest vector that the library takes.
const DIMENSIONS_MAX: u32 = 65_536;

/// An open shard.
#[derive(Debug)]
pub(crate) struct Shard {
    /// `None` only while it is dropped.
    edge: Option<EdgeShard>,
    dir: PathBuf,
    vectors: BTreeMap<String, usize>,
    /// How many shards are open; this one counts itself.
    open: Arc<AtomicUsize>,
}

impl Drop for Shard {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        let edge = self.edge.take();
        // The library flushes when it closes, and panics where it cannot. Whatever was acknowledged is flushed already.
        let closed = contain(|| {
            drop(edge);
            Ok(())
        });
        if let Err(fault) = closed {
            tracing::warn!(dir = %self.dir.display(), %fault, "a shard did not close well");
        }
    }
}

impl Shard {
    /// Makes a shard in `dir`, which must not exist. What it leaves behind when it fails is rubbish.
    pub(crate) fn create(dir: &Path, specs: &[VectorSpec]) -> Result<(), Fault> {
        let vectors = lengths(specs)?;
        std::fs::create_dir_all(dir).map_err(|error| Fault::io("make a directory", &error))?;
        contain(|| {
            let edge = EdgeShard::new(dir, layout::config_for_creation(&vectors))?;
            let shard = Self::holding(edge, dir, vectors, &Arc::default());
            layout::keep_blank_log(dir)?;
            for field in INDEXED_FIELDS {
                shard.update(UpdateOperation::FieldIndexOperation(
                    FieldIndexOperations::CreateIndex(CreateIndex {
                        field_name: internal_path(field)?,
                        field_schema: Some(PayloadFieldSchema::FieldType(
                            PayloadSchemaType::Keyword,
                        )),
                    }),
                ))?;
            }
            shard.flush()
        })
    }

    /// Opens the shard in `dir`, counting it in `open` until it is closed.
    pub(crate) fn open(dir: &Path, open: &Arc<AtomicUsize>) -> Result<Self, Fault> {
        let layout = layout::prepare(dir)?;
        let edge = contain(|| Ok(EdgeShard::load(dir, Some(layout.config()))?))?;
        Ok(Self::holding(edge, dir, layout.vectors, open))
    }

    fn holding(
        edge: EdgeShard,
        dir: &Path,
        vectors: BTreeMap<String, usize>,
        open: &Arc<AtomicUsize>,
    ) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self {
            edge: Some(edge),
            dir: dir.to_owned(),
            vectors,
            open: Arc::clone(open),
        }
    }

    /// Vector lengths by key.
    pub(crate) fn vectors(&self) -> &BTreeMap<String, usize> {
        &self.vectors
    }

    /// Those of `specs` that the shard lacks; an error where it has one of another length.
    pub(crate) fn lacking(&self, specs: &[VectorSpec]) -> Result<BTreeMap<String, usize>, Fault> {
        let mut lacking = lengths(specs)?;
        for (key, size) in &self.vectors {
            if let Some(wanted) = lacking.remove(key) {
                check_length(key, wanted, &BTreeMap::from([(key.clone(), *size)]))?;
            }
        }
        Ok(lacking)
    }

    /// Adds vectors; the documents that exist have none by these names.
    pub(crate) fn add_vectors(&mut self, lacking: BTreeMap<String, usize>) -> Result<(), Fault> {
        for (key, size) in lacking {
            layout::remove_stray_vector(&self.dir, &key)?;
            let config = serde_json::json!({"dense": {"size": size, "distance": "Cosine"}});
            let config: VectorNameConfig = serde_json::from_value(config)
                .map_err(|error| Fault::Broken(format!("failed to describe a vector: {error}")))?;
            self.update(UpdateOperation::VectorNameOperation(
                VectorNameOperations::CreateVectorName(CreateVectorName {
                    vector_name: key.clone(),
                    config,
                }),
            ))?;
            self.vectors.insert(key, size);
        }
        self.flush()
    }

    /// Writes points. Not durable before `flush`.
    pub(crate) fn upsert(&self, points: Vec<PointStructPersisted>) -> Result<(), Fault> {
        self.update(UpdateOperation::PointOperation(
            PointOperations::UpsertPoints(PointInsertOperations::PointsList(points)),
        ))
    }

    /// Removes points and tells how many there were. Not durable before `flush`.
    pub(crate) fn delete(&self, ids: &[Uuid]) -> Result<u64, Fault> {
        let points: Vec<_> = ids.iter().copied().map(PointId::Uuid).collect();
        let nothing = Some(WithPayloadInterface::Bool(false));
        let found = self.edge()?.retrieve(&points, nothing, None)?.len();
        self.update(UpdateOperation::PointOperation(
            PointOperations::DeletePoints { ids: points },
        ))?;
        Ok(found as u64)
    }

    /// Makes everything durable that was written. Panics where the disk fails, so it is called inside `contain`.
    pub(crate) fn flush(&self) -> Result<(), Fault> {
        self.edge()?.flush();
        Ok(())
    }

    /// The points with these ids that exist, in the order of `ids`.
    pub(crate) fn retrieve(&self, ids: &[Uuid], with_vectors: bool) -> Result<Vec<Record>, Fault> {
        let points: Vec<_> = ids.iter().copied().map(PointId::Uuid).collect();
        let payload = Some(WithPayloadInterface::Bool(true));
        let vectors = Some(WithVector::Bool(with_vectors));
        Ok(self.edge()?.retrieve(&points, payload, vectors)?)
    }

    /// Up to `limit` points from `from` on, by id. A point that is deleted meanwhile may be missing from the page, so only
    /// an empty page is the end.
    pub(crate) fn scroll(
        &self,
        from: Option<Uuid>,
        limit: usize,
        filter: Option<Filter>,
        with_vectors: bool,
    ) -> Result<Vec<Record>, Fault> {
        let request = ScrollRequest {
            offset: from.map(PointId::Uuid),
            limit: Some(limit),
            filter,
            with_payload: Some(WithPayloadInterface::Bool(true)),
            with_vector: WithVector::Bool(with_vectors),
            order_by: None,
        };
        Ok(self.edge()?.scroll(request)?.0)
    }

    /// How many points match.
    pub(crate) fn count(&self, filter: Option<Filter>) -> Result<u64, Fault> {
        let request = CountRequest {
            filter,
            exact: true,
        };
        Ok(self.edge()?.count(request)? as u64)
    }

    /// The `limit` points nearest to `values`, nearest first, as ids and scores.
    pub(crate) fn nearest(
        &self,
        key: &str,
        values: &[f32],
        limit: usize,
    ) -> Result<Vec<ScoredPoint>, Fault> {
        let request = SearchRequest {
            query: QueryEnum::Nearest(NamedQuery {
                query: VectorInternal::Dense(values.to_vec()),
                using: Some(key.to_owned()),
            }),
            filter: None,
            params: None,
            limit,
            offset: 0,
            with_payload: Some(WithPayloadInterface::Bool(false)),
            with_vector: Some(WithVector::Bool(false)),
            score_threshold: None,
        };
        Ok(self.edge()?.search(request)?)
    }

    fn update(&self, operation: UpdateOperation) -> Result<(), Fault> {
        Ok(self.edge()?.update(operation)?)
    }

    fn edge(&self) -> Result<&EdgeShard, Fault> {
        self.edge
            .as_ref()
            .ok_or_else(|| Fault::Broken("the shard is closed".to_owned()))
    }
}

/// The library's condition that an `_internal` field is `value`.
pub(crate) fn internal_is(field: &str, value: &str) -> Result<Condition, Fault> {
    Ok(Condition::Field(FieldCondition::new_match(
        internal_path(field)?,
        Match::new_value(ValueVariants::String(value.to_owned())),
    )))
}

fn internal_path(field: &str) -> Result<JsonPath, Fault> {
    format!("{INTERNAL}.{field}")
        .parse()
        .map_err(|()| Fault::Broken(format!("`{field}` is not a field name")))
}

fn lengths(specs: &[VectorSpec]) -> Result<BTreeMap<String, usize>, Fault> {
    let mut lengths = BTreeMap::new();
    for spec in specs {
        if spec.dimensions == 0 || spec.dimensions > DIMENSIONS_MAX {
            return Err(Fault::BadVector {
                name: spec.name.clone(),
                message: format!(
                    "{} dimensions; 1 to {DIMENSIONS_MAX} are possible",
                    spec.dimensions
                ),
            });
        }
        let key = vector_key(&spec.name)?;
        let size = spec.dimensions as usize;
        if lengths
            .insert(key.clone(), size)
            .is_some_and(|other| other != size)
        {
            return Err(Fault::BadVector {
                name: vector_name(&key),
                message: "it is asked for with two lengths".to_owned(),
            });
        }
    }
    Ok(lengths)
}

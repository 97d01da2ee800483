//! A segment's directory: its state as the library wrote it.
//!
//! Owns the few things that we change there while the shard is closed. All else in it is the library's.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::disk;
use crate::fault::Fault;

/// The directory of segments.
const SEGMENTS: &str = "segments";
/// The file that tells a segment's state.
const STATE: &str = "segment.json";
/// What directories of vectors begin with.
const VECTORS: &str = "vector_storage-";
/// A vector that is mapped, and read into memory in whole when the shard is opened.
const MAPPED_AND_READ: &str = "InRamChunkedMmap";
/// A vector that is mapped.
const MAPPED: &str = "ChunkedMmap";

/// The directory of the shard's only segment; `NoCollection` if `dir` is no shard.
pub(super) fn find(dir: &Path) -> Result<PathBuf, Fault> {
    let entries = match fs::read_dir(dir.join(SEGMENTS)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Fault::NoCollection);
        }
        Err(error) => return Err(Fault::io("read the segments", &error)),
    };
    let mut found = None;
    for entry in entries {
        let path = entry
            .map_err(|error| Fault::io("read the segments", &error))?
            .path();
        if path.join(STATE).exists() && found.replace(path).is_some() {
            let message = format!("{} has more than one segment", dir.display());
            return Err(Fault::Broken(message));
        }
    }
    found.ok_or_else(|| Fault::Broken(format!("{} has no segment", dir.display())))
}

/// A segment's state, of which we know only parts.
pub(super) struct State(Value);

impl State {
    pub(super) fn read(segment: &Path) -> Result<Self, Fault> {
        let path = segment.join(STATE);
        let text = fs::read(&path).map_err(|error| Fault::io("read a segment's state", &error))?;
        let state: Value = serde_json::from_slice(&text).map_err(|error| {
            Fault::Broken(format!("failed to read {}: {error}", path.display()))
        })?;
        // Taking an unknown form for an empty state would number operations anew, and they would be passed over.
        let known = state
            .get("version")
            .is_some_and(|v| v.is_null() || v.is_u64())
            && state
                .pointer("/config/vector_data")
                .is_some_and(Value::is_object);
        if !known {
            let message = format!("{} has an unknown form", path.display());
            return Err(Fault::Broken(message));
        }
        Ok(Self(state))
    }

    /// The number of the last operation that was flushed.
    pub(super) fn version(&self) -> u64 {
        self.0["version"].as_u64().unwrap_or(0)
    }

    /// Vector lengths by key.
    pub(super) fn vectors(&self) -> BTreeMap<String, usize> {
        let vectors = self.0["config"]["vector_data"].as_object();
        vectors
            .into_iter()
            .flatten()
            .filter_map(|(key, vector)| {
                let size = usize::try_from(vector.get("size")?.as_u64()?).ok()?;
                Some((key.clone(), size))
            })
            .collect()
    }

    /// Vectors that are added later are mapped and read in whole, 32 MiB at least for each, whatever they hold; the library
    /// gives no choice. Their files are the same as those of vectors that are only mapped, so they are made such. Returns
    /// whether there were any.
    pub(super) fn map_vectors(&mut self) -> bool {
        let mut changed = false;
        let vectors = self.0["config"]["vector_data"].as_object_mut();
        for vector in vectors.into_iter().flat_map(|vectors| vectors.values_mut()) {
            if vector["storage_type"] == MAPPED_AND_READ {
                vector["storage_type"] = Value::from(MAPPED);
                changed = true;
            }
        }
        changed
    }

    /// Replaces the state on disk, in whole or not at all.
    pub(super) fn write(&self, segment: &Path) -> Result<(), Fault> {
        let aside = segment.join(".segment.json.new");
        let write = || {
            let mut file = fs::File::create(&aside)?;
            file.write_all(self.0.to_string().as_bytes())?;
            file.sync_all()?;
            fs::rename(&aside, segment.join(STATE))
        };
        write().map_err(|error| Fault::io("write a segment's state", &error))?;
        disk::sync_directory(segment)
    }
}

/// Removes the files of a vector that the segment's state does not know.
pub(super) fn remove_stray_vector(segment: &Path, key: &str) -> Result<(), Fault> {
    let stray = segment.join(format!("{VECTORS}{key}"));
    if State::read(segment)?.vectors().contains_key(key) || !stray.exists() {
        return Ok(());
    }
    fs::remove_dir_all(&stray).map_err(|error| Fault::io("remove a stray vector", &error))
}

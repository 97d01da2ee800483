//! Which extractor a collection or job uses.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// An extractor with its parameters. Collections whose references are equal share a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExtractorRef {
    /// Name without version, such as `text_extractor`.
    pub name: String,
    /// Version, such as `v1`.
    pub version: String,
    /// Parameters as the user gave them.
    #[serde(default)]
    pub parameters: Map<String, Value>,
}

impl ExtractorRef {
    /// The id in the contract: `text_extractor_v1`.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}_{}", self.name, self.version)
    }
}

/// Where the extractor's code comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ExtractorSource {
    /// Part of the binary.
    Builtin,
    /// A registered plugin.
    Plugin(PluginSource),
}

/// A registered plugin, unpacked where the worker can read it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PluginSource {
    /// Folder that holds the unpacked archive and its `fettle-plugin.toml`.
    pub directory: String,
    /// Blake3 of the archive, in hexadecimal.
    pub archive_hash: String,
    /// Requirements that its environment was made from.
    pub requirements: Vec<String>,
}

//! Plugin archives: the manifest, its validation, unpacking, and the Python environment.
//!
//! Owns what an archive must look like before anything of it is run. It must not run a plugin; the worker does.

pub mod archive;
pub mod environment;
pub mod manifest;
pub mod parameters;

pub use archive::{Archive, ArchiveError};
pub use environment::{EnvironmentError, prepare_environment, python_of};
pub use manifest::{
    MANIFEST_FILE, ManifestError, PluginInput, PluginKind, PluginManifest, PluginOutput,
    PluginVector,
};
pub use parameters::{ParameterError, ParameterSchema};

//! Plugin archives: zip files that are checked whole before a byte of them is written.
//!
//! Owns the defence against archives that write outside their folder or blow up on disk. It must not run anything.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Cursor, Read};
use std::path::{Component, Path, PathBuf};

use thiserror::Error;
use zip::ZipArchive;
use zip::result::ZipError;

use crate::manifest::{MANIFEST_FILE, ManifestError, PluginManifest};

/// Largest archive, in bytes; it travels in one request and is held in memory once. Models belong into a model folder.
pub const ARCHIVE_BYTES_MAX: usize = 64 << 20;
/// Largest sum of unpacked files, in bytes.
pub const UNPACKED_BYTES_MAX: u64 = 512 << 20;
/// Entries at most; each costs a file.
pub const ENTRIES_MAX: usize = 10_000;
/// Longest path of an entry; some file systems take no more with a folder before it.
pub const PATH_BYTES_MAX: usize = 512;
/// Largest manifest, in bytes.
const MANIFEST_BYTES_MAX: u64 = 256 << 10;
/// The file type bits of a Unix mode, and those of a symbolic link.
const MODE_TYPE: u32 = 0o170_000;
const MODE_SYMLINK: u32 = 0o120_000;
const MODE_FILE: u32 = 0o100_000;
const MODE_FOLDER: u32 = 0o040_000;

/// Why an archive is refused or could not be unpacked.
#[derive(Debug, Error)]
pub enum ArchiveError {
    /// Too many bytes.
    #[error("the archive has {bytes} bytes; at most {ARCHIVE_BYTES_MAX} are taken")]
    TooLarge {
        /// How many.
        bytes: usize,
    },
    /// Not a zip file, or damaged.
    #[error("the archive is not a readable zip file")]
    NotZip {
        /// What was found.
        #[source]
        source: ZipError,
    },
    /// An entry that must not be.
    #[error("the archive's entry `{entry}` {problem}")]
    BadEntry {
        /// Its name, shortened.
        entry: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Too many entries.
    #[error("the archive has {entries} entries; at most {ENTRIES_MAX} are taken")]
    TooManyEntries {
        /// How many.
        entries: usize,
    },
    /// Too much when unpacked.
    #[error(
        "the archive unpacks to more than {UNPACKED_BYTES_MAX} bytes; put models and data elsewhere"
    )]
    UnpacksTooLarge,
    /// Without manifest.
    #[error("the archive has no {MANIFEST_FILE} at its top (or in its only folder)")]
    NoManifest,
    /// With a bad manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The disk failed.
    #[error("unpacking to {path} failed")]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// An archive that has been checked.
pub struct Archive {
    zip: ZipArchive<Cursor<Vec<u8>>>,
    hash: String,
    manifest: PluginManifest,
    entries: Vec<Entry>,
}

/// An entry that will be written.
struct Entry {
    index: usize,
    path: PathBuf,
    is_folder: bool,
    is_executable: bool,
}

/// Blake3 of an archive, in hexadecimal: its identity.
#[must_use]
pub fn archive_hash(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

impl Archive {
    /// Checks every entry and reads the manifest. Nothing is written.
    ///
    /// # Errors
    /// When the archive is too large, damaged, dangerous, or has no valid manifest.
    pub fn read(bytes: Vec<u8>) -> Result<Self, ArchiveError> {
        if bytes.len() > ARCHIVE_BYTES_MAX {
            return Err(ArchiveError::TooLarge { bytes: bytes.len() });
        }
        let hash = archive_hash(&bytes);
        let mut zip = ZipArchive::new(Cursor::new(bytes))
            .map_err(|source| ArchiveError::NotZip { source })?;
        let entries = relative_to_manifest(check_entries(&mut zip, UNPACKED_BYTES_MAX)?)?;
        let text = manifest_text(&mut zip, &entries)?;
        let manifest = PluginManifest::parse(&text)?;
        Ok(Self {
            zip,
            hash,
            manifest,
            entries,
        })
    }

    /// Its blake3, in hexadecimal.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Its manifest.
    #[must_use]
    pub fn manifest(&self) -> &PluginManifest {
        &self.manifest
    }

    /// Unpacks to the folder `dest`, which appears only when it is complete. An existing `dest` is left as it is: it should be named
    /// by the archive's hash.
    ///
    /// # Errors
    /// When the disk fails or the archive lied about its sizes.
    pub fn unpack(&mut self, dest: &Path) -> Result<(), ArchiveError> {
        if dest.exists() {
            return Ok(());
        }
        let partial = dest.with_extension("partial");
        let failed = |path: &Path, source| ArchiveError::Io {
            path: path.to_owned(),
            source,
        };
        if partial.exists() {
            fs::remove_dir_all(&partial).map_err(|error| failed(&partial, error))?;
        }
        fs::create_dir_all(&partial).map_err(|error| failed(&partial, error))?;
        let unpacked = self.unpack_entries(&partial);
        let result =
            unpacked.and_then(|()| fs::rename(&partial, dest).map_err(|error| failed(dest, error)));
        if result.is_err() {
            // What is half there must not be taken for whole; a leftover is removed before the next try as well.
            let _ = fs::remove_dir_all(&partial);
        }
        result
    }

    fn unpack_entries(&mut self, folder: &Path) -> Result<(), ArchiveError> {
        let mut room = UNPACKED_BYTES_MAX;
        for entry in &self.entries {
            let path = folder.join(&entry.path);
            let failed = |source| ArchiveError::Io {
                path: path.clone(),
                source,
            };
            if entry.is_folder {
                fs::create_dir_all(&path).map_err(failed)?;
                continue;
            }
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).map_err(failed)?;
            }
            let content = self
                .zip
                .by_index(entry.index)
                .map_err(|source| ArchiveError::NotZip { source })?;
            let mut file = File::create_new(&path).map_err(failed)?;
            // One byte more than allowed is read, so that a lie about the size is noticed.
            let written = io::copy(&mut content.take(room + 1), &mut file).map_err(failed)?;
            room = room
                .checked_sub(written)
                .ok_or(ArchiveError::UnpacksTooLarge)?;
            set_mode(&path, entry.is_executable).map_err(failed)?;
        }
        Ok(())
    }
}

/// The manifest of an unpacked plugin.
///
/// # Errors
/// When it is not there or not valid.
pub fn read_manifest(folder: &Path) -> Result<PluginManifest, ArchiveError> {
    let path = folder.join(MANIFEST_FILE);
    let text = fs::read_to_string(&path).map_err(|source| ArchiveError::Io { path, source })?;
    Ok(PluginManifest::parse(&text)?)
}

fn check_entries(
    zip: &mut ZipArchive<Cursor<Vec<u8>>>,
    unpacked_bytes_max: u64,
) -> Result<Vec<Entry>, ArchiveError> {
    if zip.len() > ENTRIES_MAX {
        return Err(ArchiveError::TooManyEntries { entries: zip.len() });
    }
    let mut entries = Vec::with_capacity(zip.len());
    let mut seen = BTreeSet::new();
    let mut unpacked = 0_u64;
    for index in 0..zip.len() {
        // Raw, so that an entry with a method we cannot read is refused by its name below.
        let file = zip
            .by_index_raw(index)
            .map_err(|source| ArchiveError::NotZip { source })?;
        let refuse = |problem| ArchiveError::BadEntry {
            entry: file.name().chars().take(100).collect(),
            problem,
        };
        let path = safe_path(file.name()).map_err(refuse)?;
        let mode = file.unix_mode().unwrap_or(0);
        match mode & MODE_TYPE {
            0 | MODE_FILE | MODE_FOLDER => {}
            MODE_SYMLINK => return Err(refuse("is a symbolic link")),
            _ => return Err(refuse("is a device or pipe")),
        }
        if file.encrypted() {
            return Err(refuse("is encrypted"));
        }
        unpacked = unpacked.saturating_add(file.size());
        if !file.is_dir() && !seen.insert(path.clone()) {
            return Err(refuse("appears twice"));
        }
        entries.push(Entry {
            index,
            path,
            is_folder: file.is_dir(),
            is_executable: mode & 0o111 != 0,
        });
    }
    if unpacked > unpacked_bytes_max {
        return Err(ArchiveError::UnpacksTooLarge);
    }
    Ok(entries)
}

/// A relative path of plain parts.
fn safe_path(name: &str) -> Result<PathBuf, &'static str> {
    if name.is_empty() || name.len() > PATH_BYTES_MAX {
        return Err("has an empty or too long name");
    }
    if name.contains(['\\', '\0', ':']) || name.contains(char::is_control) {
        return Err("has a character in its name that is not allowed");
    }
    let path = Path::new(name);
    if path.is_absolute() {
        return Err("has an absolute path");
    }
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => plain.push(part),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                return Err("leads out of the archive");
            }
        }
    }
    Ok(plain)
}

/// The entries below the folder that holds the manifest: the top, or the only folder at the top.
fn relative_to_manifest(entries: Vec<Entry>) -> Result<Vec<Entry>, ArchiveError> {
    let manifest = Path::new(MANIFEST_FILE);
    if entries.iter().any(|entry| entry.path == manifest) {
        return Ok(entries);
    }
    let top_of = |entry: &Entry| {
        entry
            .path
            .components()
            .next()
            .map(|part| PathBuf::from(part.as_os_str()))
    };
    let tops: BTreeSet<PathBuf> = entries.iter().filter_map(top_of).collect();
    let [top] = tops
        .into_iter()
        .collect::<Vec<_>>()
        .try_into()
        .map_err(|_: Vec<_>| ArchiveError::NoManifest)?;
    if !entries.iter().any(|entry| entry.path == top.join(manifest)) {
        return Err(ArchiveError::NoManifest);
    }
    let below = |entry: Entry| {
        Some(Entry {
            path: entry.path.strip_prefix(&top).ok()?.to_owned(),
            ..entry
        })
    };
    Ok(entries.into_iter().filter_map(below).collect())
}

fn manifest_text(
    zip: &mut ZipArchive<Cursor<Vec<u8>>>,
    entries: &[Entry],
) -> Result<String, ArchiveError> {
    let entry = entries
        .iter()
        .find(|entry| entry.path == Path::new(MANIFEST_FILE))
        .ok_or(ArchiveError::NoManifest)?;
    let file = zip
        .by_index(entry.index)
        .map_err(|source| ArchiveError::NotZip { source })?;
    let mut text = String::new();
    let syntax = |message: &str| {
        ArchiveError::Manifest(ManifestError::Syntax {
            message: message.to_owned(),
        })
    };
    file.take(MANIFEST_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(|_| syntax("it is damaged or not UTF-8"))?;
    if text.len() as u64 > MANIFEST_BYTES_MAX {
        return Err(syntax("it is too long"));
    }
    Ok(text)
}

#[cfg(unix)]
fn set_mode(path: &Path, is_executable: bool) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = if is_executable { 0o755 } else { 0o644 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests;

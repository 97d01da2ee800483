//! `file://` blobs below the allowed folders.
//!
//! Owns the confinement: no symbolic link and no race leads out of a folder. It must not open anything but regular files.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use url::Url;

use super::BLOB_BYTES_MAX;
use super::error::{LoadError, shown};

/// The folders below which files may be read.
pub(super) struct Files {
    roots: Vec<PathBuf>,
}

impl Files {
    pub(super) fn new(roots: &[String]) -> Self {
        Self {
            roots: roots.iter().map(PathBuf::from).collect(),
        }
    }

    pub(super) async fn load(&self, address: &str) -> Result<Bytes, LoadError> {
        let path = path_of(address)?;
        let roots = self.roots.clone();
        let owned = address.to_owned();
        let read = tokio::task::spawn_blocking(move || read_below(&owned, &path, &roots)).await;
        read.map_err(|error| LoadError::Io {
            address: shown(address),
            source: error.into(),
        })?
    }
}

fn path_of(address: &str) -> Result<PathBuf, LoadError> {
    let url =
        Url::parse(address).map_err(|error| LoadError::malformed(address, error.to_string()))?;
    let path = url.to_file_path();
    path.map_err(|()| LoadError::malformed(address, "write it as file:///absolute/path"))
}

/// The folders for people.
fn listed(roots: &[PathBuf]) -> String {
    if roots.is_empty() {
        return "none is allowed".to_owned();
    }
    roots
        .iter()
        .map(|root| root.display().to_string())
        .collect::<Vec<_>>()
        .join(", ")
}

fn read_below(address: &str, path: &Path, roots: &[PathBuf]) -> Result<Bytes, LoadError> {
    let outside = || LoadError::OutsideRoots {
        address: shown(address),
        roots: listed(roots),
    };
    // Whether a file outside exists is not told: by its text an asker could map the file system.
    let Ok(real) = path.canonicalize() else {
        let below = roots.iter().any(|root| path.starts_with(root));
        return Err(if below {
            LoadError::missing(address)
        } else {
            outside()
        });
    };
    let root = roots
        .iter()
        .filter_map(|root| root.canonicalize().ok())
        .find(|root| real.starts_with(root))
        .ok_or_else(outside)?;
    let relative = real.strip_prefix(&root).map_err(|_| outside())?;
    if relative.as_os_str().is_empty() {
        return Err(LoadError::NotAFile {
            address: shown(address),
        });
    }
    let file = open_below(&root, relative).map_err(|error| LoadError::io(address, error))?;
    read(address, file)
}

fn read(address: &str, file: File) -> Result<Bytes, LoadError> {
    let metadata = file
        .metadata()
        .map_err(|error| LoadError::io(address, error))?;
    if !metadata.is_file() {
        return Err(LoadError::NotAFile {
            address: shown(address),
        });
    }
    if metadata.len() > BLOB_BYTES_MAX {
        return Err(LoadError::too_large(address));
    }
    let mut content = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
    let mut limited = file.take(BLOB_BYTES_MAX + 1);
    limited
        .read_to_end(&mut content)
        .map_err(|error| LoadError::io(address, error))?;
    if content.len() as u64 > BLOB_BYTES_MAX {
        return Err(LoadError::too_large(address));
    }
    Ok(content.into())
}

/// Opens a path that has just been resolved; the kernel refuses it if a part has become a link since. Without blocking, since
/// a pipe would wait for its writer.
#[cfg(target_os = "linux")]
fn open_below(root: &Path, relative: &Path) -> std::io::Result<File> {
    use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat2};
    use rustix::io::Errno;

    let directory = open(
        root,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match openat2(&directory, relative, flags, Mode::empty(), resolve) {
        // Kernels before 5.6 and some sandboxes do not have the call.
        Err(Errno::NOSYS | Errno::PERM) => open_resolved(&root.join(relative)),
        opened => Ok(File::from(opened?)),
    }
}

#[cfg(not(target_os = "linux"))]
fn open_below(root: &Path, relative: &Path) -> std::io::Result<File> {
    open_resolved(&root.join(relative))
}

/// Opens a resolved path; only its last part is protected against becoming a link meanwhile.
fn open_resolved(path: &Path) -> std::io::Result<File> {
    use rustix::fs::{Mode, OFlags, open};

    let flags =
        OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW;
    Ok(File::from(open(path, flags, Mode::empty())?))
}

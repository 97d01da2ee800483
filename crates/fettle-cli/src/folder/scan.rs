//! The files below a folder.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::CliError;

/// Files of a folder at most: beyond this a folder is better sent in parts, through the API.
const FILES_MAX: usize = 100_000;

/// A file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct File {
    /// Its absolute path.
    pub(crate) path: PathBuf,
    /// How it is shown: the path below the folder.
    pub(crate) shown: String,
    /// Its size, in bytes.
    pub(crate) size_bytes: u64,
}

/// All files below `folder`, in order. Hidden files and folders, and links, are left out.
pub(crate) fn scan(folder: &Path) -> Result<Vec<File>, CliError> {
    let root = folder.canonicalize().map_err(|source| CliError::File {
        doing: "open",
        path: folder.to_owned(),
        source,
    })?;
    if !root.is_dir() {
        return Err(CliError::local(format!(
            "{} is no folder",
            folder.display()
        )));
    }
    let mut files = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        let at = |source| CliError::File {
            doing: "list",
            path: folder.clone(),
            source,
        };
        for entry in fs::read_dir(&folder).map_err(at)? {
            let entry = entry.map_err(at)?;
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let kind = entry.file_type().map_err(at)?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                files.push(file(
                    &root,
                    entry.path(),
                    entry.metadata().map_err(at)?.len(),
                ));
            }
        }
        if files.len() > FILES_MAX {
            return Err(CliError::Local {
                message: format!("{} has more than {FILES_MAX} files", root.display()),
                hint: Some("run on its folders one by one".to_owned()),
            });
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn file(root: &Path, path: PathBuf, size_bytes: u64) -> File {
    let shown = path
        .strip_prefix(root)
        .unwrap_or(&path)
        .to_string_lossy()
        .into_owned();
    File {
        path,
        shown,
        size_bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_in_order_without_hidden_ones_and_links() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir_all(root.join("b/.git")).unwrap();
        for name in ["c.txt", "b/a.txt", "b/.git/x", ".hidden"] {
            fs::write(root.join(name), name).unwrap();
        }
        std::os::unix::fs::symlink(root.join("c.txt"), root.join("link")).unwrap();
        let shown: Vec<String> = scan(root)
            .unwrap()
            .into_iter()
            .map(|file| file.shown)
            .collect();
        assert_eq!(shown, ["b/a.txt", "c.txt"]);
    }

    #[test]
    fn a_folder_that_is_none_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(scan(&folder.path().join("none")).is_err());
        fs::write(folder.path().join("file"), "").unwrap();
        assert!(scan(&folder.path().join("file")).is_err());
    }
}

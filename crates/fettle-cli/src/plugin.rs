//! `fettle plugin …`: registering a folder or zip, and listing what is registered.

use std::fs;
use std::io::{Cursor, Write as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde_json::Value;
use zip::write::SimpleFileOptions;

use crate::answer::{list as list_of, maybe};
use crate::args::PluginAddArgs;
use crate::connection::Connection;
use crate::error::CliError;
use crate::exit::Code;
use crate::output::Printer;
use crate::text;

/// Where plugins live in the API; an extension of the contract.
const PATH: &str = "/v1/plugins";
/// Largest plugin that is packed: code and small data; models belong on the machine, not in an archive.
const ARCHIVE_BYTES_MAX: u64 = 64 << 20;
/// Files of a plugin at most, so that a wrong folder (a home, a virtual environment) is noticed.
const FILES_MAX: usize = 5_000;
/// What never belongs to a plugin's archive.
const LEFT_OUT: [&str; 4] = [".git", ".venv", "__pycache__", "node_modules"];

/// Registers a plugin.
pub(crate) async fn add(
    connection: &Connection,
    args: &PluginAddArgs,
    printer: &Printer,
) -> Result<Code, CliError> {
    let archive = if args.path.is_dir() {
        pack(&args.path)?
    } else {
        read(&args.path)?
    };
    let size = archive.len() as u64;
    let answer: Value = connection
        .client()
        .upload(http::Method::POST, PATH, &[], "application/zip", archive)
        .await?;
    if printer.is_json() {
        printer.json(&answer)?;
    } else {
        let id = ["feature_extractor_id", "plugin_id"]
            .iter()
            .map(|key| maybe(&answer, key))
            .find(|id| !id.is_empty());
        printer.data(format_args!(
            "registered {} ({})",
            id.unwrap_or("the plugin"),
            text::size(size)
        ))?;
    }
    Ok(Code::Ok)
}

/// Lists plugins.
pub(crate) async fn list(connection: &Connection, printer: &Printer) -> Result<Code, CliError> {
    let answer = connection.get(PATH, &[]).await?;
    if printer.is_json() {
        printer.json(&answer)?;
        return Ok(Code::Ok);
    }
    let plugins = if answer.is_array() {
        answer.as_array().map(Vec::as_slice).unwrap_or_default()
    } else {
        list_of(&answer, "results")
    };
    let rows: Vec<Vec<String>> = plugins
        .iter()
        .map(|plugin| {
            [
                "feature_extractor_id",
                "plugin_name",
                "version",
                "description",
            ]
            .map(|key| maybe(plugin, key).to_owned())
            .to_vec()
        })
        .collect();
    for line in text::table(&["plugin", "name", "version", "description"], &rows) {
        printer.data(line)?;
    }
    Ok(Code::Ok)
}

fn read(path: &Path) -> Result<Bytes, CliError> {
    let file_error = |source| CliError::File {
        doing: "read",
        path: path.to_owned(),
        source,
    };
    let size = fs::metadata(path).map_err(file_error)?.len();
    refuse_large(size)?;
    Ok(Bytes::from(fs::read(path).map_err(file_error)?))
}

fn refuse_large(size: u64) -> Result<(), CliError> {
    if size <= ARCHIVE_BYTES_MAX {
        return Ok(());
    }
    Err(CliError::Local {
        message: format!("the plugin has more than {}", text::size(ARCHIVE_BYTES_MAX)),
        hint: Some(
            "leave models and data out of it; a plugin can read them from the machine".to_owned(),
        ),
    })
}

/// Packs a folder. Entries are in order and without times, so that the same folder gives the same archive.
fn pack(folder: &Path) -> Result<Bytes, CliError> {
    let packing = |source: zip::result::ZipError| {
        CliError::local(format!("failed to pack the plugin: {source}"))
    };
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let mut size = 0;
    for path in files(folder)? {
        let file_error = |source| CliError::File {
            doing: "read",
            path: path.clone(),
            source,
        };
        let content = fs::read(&path).map_err(file_error)?;
        size += content.len() as u64;
        refuse_large(size)?;
        let name = path
            .strip_prefix(folder)
            .unwrap_or(&path)
            .to_string_lossy()
            .into_owned();
        let options = SimpleFileOptions::default().unix_permissions(permissions(&path)?);
        archive.start_file(name, options).map_err(packing)?;
        archive
            .write_all(&content)
            .map_err(|source| packing(source.into()))?;
    }
    Ok(Bytes::from(archive.finish().map_err(packing)?.into_inner()))
}

/// A program of an `exec` plugin must stay executable.
fn permissions(path: &Path) -> Result<u32, CliError> {
    use std::os::unix::fs::PermissionsExt as _;
    let metadata = fs::metadata(path).map_err(|source| CliError::File {
        doing: "read",
        path: path.to_owned(),
        source,
    })?;
    Ok(if metadata.permissions().mode() & 0o111 == 0 {
        0o644
    } else {
        0o755
    })
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, CliError> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let file_error = |source| CliError::File {
            doing: "list",
            path: folder.clone(),
            source,
        };
        for entry in fs::read_dir(&folder).map_err(file_error)? {
            let entry = entry.map_err(file_error)?;
            let kind = entry.file_type().map_err(file_error)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if kind.is_dir() && !LEFT_OUT.contains(&name.as_str()) {
                folders.push(entry.path());
            } else if kind.is_file() {
                found.push(entry.path());
            }
        }
        if found.len() > FILES_MAX {
            return Err(CliError::Local {
                message: format!("{} has more than {FILES_MAX} files", folder.display()),
                hint: Some("name the folder that holds the plugin's manifest".to_owned()),
            });
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packed_folder_holds_its_files_and_not_its_environment() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("fettle-plugin.toml"), "name = \"a\"").unwrap();
        fs::create_dir_all(folder.path().join(".venv/bin")).unwrap();
        fs::write(folder.path().join(".venv/bin/python"), "x").unwrap();
        fs::create_dir(folder.path().join("src")).unwrap();
        fs::write(folder.path().join("src/a.py"), "pass").unwrap();
        let bytes = pack(folder.path()).unwrap();
        let mut archive = zip::ZipArchive::new(Cursor::new(bytes.to_vec())).unwrap();
        let names: Vec<String> = archive.file_names().map(str::to_owned).collect();
        assert_eq!(names, ["fettle-plugin.toml", "src/a.py"]);
        assert!(archive.by_name("src/a.py").is_ok());
    }

    #[test]
    fn the_same_folder_gives_the_same_archive() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("b"), "b").unwrap();
        fs::write(folder.path().join("a"), "a").unwrap();
        assert_eq!(pack(folder.path()).unwrap(), pack(folder.path()).unwrap());
    }
}

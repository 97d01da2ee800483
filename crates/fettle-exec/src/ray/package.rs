//! What a bare Ray node needs: this binary and the entrypoint, as a package in the cluster's own store.
//!
//! Owns the package's content and its name, which is the hash of the content: a node unpacks each package once and keeps it.

use std::io::{self, Cursor, Write as _};
use std::path::Path;

use bytes::Bytes;
use zip::write::SimpleFileOptions;

/// The files beside the binary.
const FILES: [(&str, &str); 5] = [
    (
        "engine/__init__.py",
        include_str!("../../../../python/engine/__init__.py"),
    ),
    (
        "engine/pipelines/__init__.py",
        include_str!("../../../../python/engine/pipelines/__init__.py"),
    ),
    (
        "engine/pipelines/entrypoint.py",
        include_str!("../../../../python/engine/pipelines/entrypoint.py"),
    ),
    (
        "engine/pipelines/broker.py",
        include_str!("../../../../python/engine/pipelines/broker.py"),
    ),
    (
        "engine/pipelines/host.py",
        include_str!("../../../../python/engine/pipelines/host.py"),
    ),
];

/// Ray's head takes no larger body.
const PACKAGE_BYTES_MAX: usize = 100 << 20;
/// The binary is read once per node; a better ratio is not worth its time.
const COMPRESSION_LEVEL: i64 = 1;

/// A package.
#[derive(Debug, Clone)]
pub(super) struct Package {
    /// Its name in the store.
    pub(super) name: String,
    /// The zip.
    pub(super) zip: Bytes,
}

/// Packs `program`; takes seconds.
pub(super) fn pack(program: &Path) -> io::Result<Package> {
    let binary = without_sections(std::fs::read(program)?);
    let mut hash = blake3::Hasher::new();
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default()
        .compression_level(Some(COMPRESSION_LEVEL))
        .unix_permissions(0o755);
    let texts = FILES.iter().map(|(name, text)| (*name, text.as_bytes()));
    for (name, content) in texts.chain([("fettle", binary.as_slice())]) {
        hash.update(name.as_bytes()).update(content);
        zip.start_file(name, options).map_err(io::Error::other)?;
        zip.write_all(content)?;
    }
    let zip = zip.finish().map_err(io::Error::other)?.into_inner();
    if zip.len() > PACKAGE_BYTES_MAX {
        return Err(io::Error::other(format!(
            "the packed binary has {} bytes and Ray takes at most {PACKAGE_BYTES_MAX}",
            zip.len()
        )));
    }
    let name = format!("_ray_pkg_{}.zip", &hash.finalize().to_hex()[..32]);
    Ok(Package {
        name,
        zip: Bytes::from(zip),
    })
}

/// Cuts what only debuggers read: everything behind the last segment of a 64-bit little-endian ELF file. Of a debug build that
/// is more than half. Anything else stays as it is.
fn without_sections(mut binary: Vec<u8>) -> Vec<u8> {
    if let Some(end) = segments_end(&binary) {
        binary.truncate(end);
        // e_shoff, e_shnum and e_shstrndx: there is no table of sections any more.
        binary[0x28..0x30].fill(0);
        binary[0x3c..0x40].fill(0);
    }
    binary
}

/// Where the last segment ends in the file.
fn segments_end(binary: &[u8]) -> Option<usize> {
    if binary.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let word = |at: usize| Some(u16::from_le_bytes(binary.get(at..at + 2)?.try_into().ok()?));
    let long = |at: usize| {
        let bytes = binary.get(at..at + 8)?.try_into().ok()?;
        usize::try_from(u64::from_le_bytes(bytes)).ok()
    };
    let (table, size, count) = (long(0x20)?, usize::from(word(0x36)?), word(0x38)?);
    let mut end = table + size * usize::from(count);
    for index in 0..usize::from(count) {
        let header = table + size * index;
        end = end.max(long(header + 0x08)?.checked_add(long(header + 0x20)?)?);
    }
    (end <= binary.len() && end >= 0x40).then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_very_binary_runs_without_its_sections() {
        let program = std::env::current_exe().unwrap();
        let whole = std::fs::read(&program).unwrap();
        let cut = without_sections(whole.clone());
        assert!(cut.len() < whole.len());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cut");
        std::fs::write(&path, cut).unwrap();
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let listed = std::process::Command::new(&path)
            .arg("--list")
            .output()
            .unwrap();
        assert!(listed.status.success(), "{listed:?}");
        assert_eq!(without_sections(b"#!/bin/sh\n".to_vec()), b"#!/bin/sh\n");
    }

    #[test]
    fn a_package_is_named_by_its_content() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("fettle");
        std::fs::write(&program, "one").unwrap();
        let one = pack(&program).unwrap();
        assert_eq!(pack(&program).unwrap().name, one.name);
        std::fs::write(&program, "two").unwrap();
        assert_ne!(pack(&program).unwrap().name, one.name);
        let mut zip = zip::ZipArchive::new(Cursor::new(one.zip)).unwrap();
        assert!(zip.by_name("engine/pipelines/entrypoint.py").is_ok());
        assert!(zip.by_name("fettle").is_ok());
    }
}

//! Archives that are fine, hostile or broken.

use std::io::Write as _;

use proptest::prelude::*;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::*;

const MANIFEST: &str = "name = \"t\"\nversion = \"v1\"\nkind = \"python\"\nentry = \"t:run\"\n";

fn archive(files: &[(&str, &[u8], u32)]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content, mode) in files {
        zip.start_file(*name, SimpleFileOptions::default().unix_permissions(*mode))
            .unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn refusal(bytes: Vec<u8>) -> String {
    Archive::read(bytes).err().unwrap().to_string()
}

#[test]
fn a_plugin_is_unpacked_whole_with_its_executables() {
    use std::os::unix::fs::PermissionsExt as _;
    let bytes = archive(&[
        (MANIFEST_FILE, MANIFEST.as_bytes(), 0o644),
        ("bin/tool", b"#!/bin/sh\n", 0o4755),
    ]);
    let folder = tempfile::tempdir().unwrap();
    let mut archive = Archive::read(bytes.clone()).unwrap();
    assert_eq!(archive.hash(), archive_hash(&bytes));
    let dest = folder.path().join(archive.hash());
    archive.unpack(&dest).unwrap();
    archive.unpack(&dest).unwrap();
    assert_eq!(read_manifest(&dest).unwrap().name, "t");
    let mode = fs::metadata(dest.join("bin/tool"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o755, "no set-uid bit survives");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_plugin_in_the_only_folder_of_its_archive_is_found() {
    let bytes = archive(&[
        ("t-main/fettle-plugin.toml", MANIFEST.as_bytes(), 0o644),
        ("t-main/t.py", b"", 0o644),
    ]);
    let folder = tempfile::tempdir().unwrap();
    let dest = folder.path().join("x");
    Archive::read(bytes).unwrap().unpack(&dest).unwrap();
    assert!(dest.join("t.py").is_file());
}

#[test]
fn entries_that_lead_out_or_are_not_files_are_refused() {
    for (name, part) in [
        ("../evil", "leads out"),
        ("a/../../evil", "leads out"),
        ("/etc/evil", "absolute"),
        ("a\\..\\b", "character"),
        ("C:x", "character"),
    ] {
        let message = refusal(archive(&[
            (MANIFEST_FILE, MANIFEST.as_bytes(), 0o644),
            (name, b"x", 0o644),
        ]));
        assert!(message.contains(part), "{name}: {message}");
    }
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    zip.start_file(MANIFEST_FILE, SimpleFileOptions::default())
        .unwrap();
    zip.write_all(MANIFEST.as_bytes()).unwrap();
    zip.add_symlink("link", "/etc/passwd", SimpleFileOptions::default())
        .unwrap();
    let message = refusal(zip.finish().unwrap().into_inner());
    assert!(message.contains("symbolic link"), "{message}");
}

#[test]
fn archives_without_a_valid_manifest_are_refused() {
    assert!(refusal(archive(&[("t.py", b"", 0o644)])).contains("no fettle-plugin.toml"));
    assert!(
        refusal(archive(&[(MANIFEST_FILE, b"name = 1", 0o644)])).contains("fettle-plugin.toml")
    );
    assert!(refusal(archive(&[(MANIFEST_FILE, &[0xff, 0xfe], 0o644)])).contains("UTF-8"));
    assert!(refusal(b"PK nonsense".to_vec()).contains("zip"));
    assert!(refusal(Vec::new()).contains("zip"));
}

#[test]
fn files_that_unpack_to_too_much_together_are_refused_before_anything_is_written() {
    let bytes = archive(&[("a", &[0; 600], 0o644), ("b", &[0; 600], 0o644)]);
    let mut zip = ZipArchive::new(Cursor::new(bytes)).unwrap();
    assert!(check_entries(&mut zip, 1200).is_ok());
    let refused = check_entries(&mut zip, 1199).err().unwrap();
    assert!(matches!(refused, ArchiveError::UnpacksTooLarge));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_safe_path_never_leaves_its_folder(name in "[a./\\\\:\u{0}é]{0,12}") {
        if let Ok(path) = safe_path(&name) {
            prop_assert!(path.components().all(|part| matches!(part, Component::Normal(_))));
        }
    }

    #[test]
    fn a_damaged_archive_is_an_error_or_reads_the_same(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = archive(&[(MANIFEST_FILE, MANIFEST.as_bytes(), 0o644), ("a/b", b"content", 0o644)]);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let folder = tempfile::tempdir().unwrap();
        if let Ok(mut archive) = Archive::read(bytes) {
            let _ = archive.unpack(&folder.path().join("x"));
        }
    }
}

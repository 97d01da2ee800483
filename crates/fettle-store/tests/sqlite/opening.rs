//! Opening: locks, versions, files of something else.

use std::os::unix::fs::PermissionsExt;

use fettle_ports::Store;
use fettle_store::{OpenError, SqliteStore};

use crate::fixture::Fixture;

#[tokio::test]
async fn a_second_store_on_the_same_file_is_refused_and_told_who_has_it() {
    let fixture = Fixture::new();
    let error = SqliteStore::open(&fixture.path()).unwrap_err();
    let expected = format!("in use by process {}", std::process::id());
    assert!(error.to_string().contains(&expected), "{error}");
    let fixture = fixture.reopen();
    fixture.store.check().await.unwrap();
}

#[tokio::test]
async fn a_file_of_a_newer_version_is_refused_and_left_alone() {
    let Fixture { dir, store } = Fixture::new();
    drop(store);
    let path = dir.path().join("fettle.db");
    let db = rusqlite::Connection::open(&path).unwrap();
    db.pragma_update(None, "user_version", 99).unwrap();
    drop(db);
    let error = SqliteStore::open(&path).unwrap_err();
    assert!(
        matches!(error, OpenError::TooNew { found: 99, .. }),
        "{error:?}"
    );
    assert!(error.to_string().contains("upgrade fettle"), "{error}");
    let db = rusqlite::Connection::open(&path).unwrap();
    let version: i64 = db
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .unwrap();
    assert_eq!(version, 99);
}

#[tokio::test]
async fn a_file_of_something_else_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let other = dir.path().join("other.db");
    rusqlite::Connection::open(&other)
        .unwrap()
        .execute_batch("CREATE TABLE t (a)")
        .unwrap();
    let text = dir.path().join("notes.txt");
    let notes = "these are notes, and long enough to be taken for a header ".repeat(20);
    std::fs::write(&text, notes).unwrap();
    for path in [&other, &text] {
        let before = std::fs::read(path).unwrap();
        let error = SqliteStore::open(path).unwrap_err();
        assert!(matches!(error, OpenError::Foreign { .. }), "{error:?}");
        assert_eq!(std::fs::read(path).unwrap(), before);
    }
}

#[tokio::test]
async fn folders_are_made_and_the_file_is_its_owners_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/b/fettle.db");
    let store = SqliteStore::open(&path).unwrap();
    store.check().await.unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn a_path_that_cannot_be_is_refused_with_the_path() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "x").unwrap();
    let path = dir.path().join("file/fettle.db");
    let error = SqliteStore::open(&path).unwrap_err();
    assert!(matches!(error, OpenError::Folder { .. }), "{error:?}");
    assert!(error.to_string().contains("file/fettle.db"), "{error}");
}

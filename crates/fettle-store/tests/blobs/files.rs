//! Blobs in a folder.

use bytes::Bytes;
use fettle_ports::{BlobError, Blobs};
use fettle_store::ObjectBlobs;

use crate::common::{deletes_by_prefix, keeps_blobs, keeps_streams};

fn open() -> (tempfile::TempDir, ObjectBlobs) {
    let dir = tempfile::tempdir().unwrap();
    let address = format!("file://{}", dir.path().join("blobs").display());
    let blobs = ObjectBlobs::open(&address).unwrap();
    (dir, blobs)
}

#[tokio::test]
async fn a_folder_keeps_blobs() {
    let (_dir, blobs) = open();
    keeps_blobs(&blobs).await;
    keeps_streams(&blobs).await;
}

#[tokio::test]
async fn a_folder_deletes_by_prefix_and_leaves_no_empty_folders() {
    let (dir, blobs) = open();
    deletes_by_prefix(&blobs).await;
    blobs.delete_prefix("q").await.unwrap();
    assert!(!dir.path().join("blobs/q").exists());
}

#[tokio::test]
async fn blobs_are_plain_files_below_the_base_address() {
    let (_dir, blobs) = open();
    blobs
        .put("a/b.txt", Bytes::from_static(b"hello"))
        .await
        .unwrap();
    let base = blobs.base_address();
    let folder = base.strip_prefix("file://").unwrap();
    let path = std::path::Path::new(folder).join("a/b.txt");
    assert_eq!(std::fs::read_to_string(path).unwrap(), "hello");
    let again = ObjectBlobs::open(&base).unwrap();
    assert_eq!(again.get("a/b.txt").await.unwrap(), "hello");
    assert_eq!(again.base_address(), base);
}

#[tokio::test]
async fn what_a_write_that_was_cut_off_left_is_no_blob_and_goes_with_its_prefix() {
    let (dir, blobs) = open();
    blobs.put("m/a", Bytes::from_static(b"x")).await.unwrap();
    let half = dir.path().join("blobs/m/a#1");
    std::fs::write(&half, "half").unwrap();
    blobs
        .put("m/a", Bytes::from_static(b"whole"))
        .await
        .unwrap();
    assert_eq!(blobs.get("m/a").await.unwrap(), "whole");
    assert_eq!(blobs.delete_prefix("m").await.unwrap(), 1);
    assert!(!half.exists());
}

#[tokio::test]
async fn many_writers_of_one_blob_leave_one_whole_blob() {
    let (_dir, blobs) = open();
    let blobs = std::sync::Arc::new(blobs);
    let tasks: Vec<_> = (0..16_u8)
        .map(|n| {
            let blobs = std::sync::Arc::clone(&blobs);
            tokio::spawn(async move { blobs.put("deep/er/blob", vec![n; 100_000].into()).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    let read = blobs.get("deep/er/blob").await.unwrap();
    assert_eq!(read.len(), 100_000);
    assert!(read.iter().all(|byte| *byte == read[0]));
}

#[tokio::test]
async fn a_folder_that_is_gone_is_an_outage_not_an_empty_store() {
    let (dir, blobs) = open();
    std::fs::remove_dir_all(dir.path().join("blobs")).unwrap();
    assert!(matches!(
        blobs.check().await,
        Err(BlobError::Unavailable { .. })
    ));
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "x").unwrap();
    let address = format!("file://{}/file/blobs", dir.path().display());
    let error = ObjectBlobs::open(&address).unwrap_err();
    assert!(error.to_string().contains("file/blobs"), "{error}");
}

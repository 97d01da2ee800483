//! A disk that is full, for real: a small tmpfs.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;
use fettle_model::RowOutcome;
use fettle_ports::{BlobError, Blobs, Store, StoreError};
use fettle_store::{ObjectBlobs, OpenError, SqliteStore};

use crate::fixture::{job, report, submit};

/// A mounted tmpfs that goes away with this value.
struct SmallDisk {
    dir: tempfile::TempDir,
}

impl SmallDisk {
    /// `None` where we may not mount.
    #[expect(clippy::print_stderr, reason = "a test that is passed over says so")]
    fn mount(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(dir.path())
            .output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self { dir });
        }
        eprintln!("SKIPPED: mounting a tmpfs needs root; the full disk is not tested here");
        None
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Takes all space that is left.
    fn fill(&self) -> PathBuf {
        let ballast = self.path().join("ballast");
        let mut file = std::fs::File::create(&ballast).unwrap();
        let full = loop {
            if let Err(error) = std::io::Write::write_all(&mut file, &[1; 4096]) {
                break error;
            }
        };
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
        ballast
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount")
            .arg("--lazy")
            .arg(self.path())
            .status();
        assert!(
            unmounted.is_ok_and(|status| status.success()),
            "the test's tmpfs stays mounted"
        );
    }
}

async fn write_row(store: &SqliteStore, row: u32) -> Result<(), StoreError> {
    let mut rows = report(1, 0, 1, &[(row, RowOutcome::Failed, 0)]);
    rows.errors[0].error.message = "x".repeat(2_000);
    store.record_rows(rows).await.map(drop)
}

/// Writes rows until the disk is full; returns the error and the first row that was not acknowledged.
async fn write_until_full(store: &SqliteStore, first: u32) -> (StoreError, u32) {
    for row in first.. {
        if let Err(error) = write_row(store, row).await {
            return (error, row);
        }
    }
    unreachable!("the disk is small")
}

#[tokio::test]
async fn a_full_disk_answers_full_loses_nothing_acknowledged_and_works_again_with_room() {
    let Some(disk) = SmallDisk::mount("4m") else {
        return;
    };
    let path = disk.path().join("fettle.db");
    let store = SqliteStore::open(&path).unwrap();
    submit(&store, 1, 1).await;
    for row in 0..20 {
        write_row(&store, row).await.unwrap();
    }
    let ballast = disk.fill();
    let (error, unwritten) = write_until_full(&store, 20).await;
    assert!(matches!(error, StoreError::Full), "{error:?}");
    for _ in 0..3 {
        let again = write_row(&store, unwritten).await;
        assert!(matches!(again, Err(StoreError::Full)), "{again:?}");
    }
    let kept: Vec<u32> = (0..unwritten).collect();
    assert_eq!(
        store.finished_rows(&job(1, 0)).await.unwrap(),
        kept,
        "reads go on"
    );

    std::fs::remove_file(ballast).unwrap();
    for row in unwritten..unwritten + 50 {
        write_row(&store, row).await.unwrap();
    }
    let (error, unwritten) = write_until_full(&store, unwritten + 50).await;
    assert!(matches!(error, StoreError::Full), "{error:?}");
    drop(store);
    let store = SqliteStore::open(&path).unwrap();
    let kept: Vec<u32> = (0..unwritten).collect();
    assert_eq!(store.finished_rows(&job(1, 0)).await.unwrap(), kept);
    assert_eq!(
        store.job_counts(&job(1, 0)).await.unwrap().rows.failed,
        u64::from(unwritten)
    );
}

#[tokio::test]
async fn on_a_full_disk_every_one_of_many_writers_gets_a_true_answer() {
    let Some(disk) = SmallDisk::mount("4m") else {
        return;
    };
    let path = disk.path().join("fettle.db");
    let store = Arc::new(SqliteStore::open(&path).unwrap());
    submit(&store, 1, 1).await;
    let tasks: Vec<_> = (0..2_000)
        .map(|row| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { (row, write_row(&store, row).await) })
        })
        .collect();
    let mut kept = Vec::new();
    for task in tasks {
        match task.await.unwrap() {
            (row, Ok(())) => kept.push(row),
            (_, Err(StoreError::Full)) => {}
            (row, Err(other)) => panic!("row {row}: {other:?}"),
        }
    }
    assert!(kept.len() > 100 && kept.len() < 2_000, "{}", kept.len());
    assert_eq!(store.finished_rows(&job(1, 0)).await.unwrap(), kept);
    drop(store);
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(store.finished_rows(&job(1, 0)).await.unwrap(), kept);
    assert_eq!(
        store.job_counts(&job(1, 0)).await.unwrap().rows.failed,
        kept.len() as u64
    );
}

#[tokio::test]
async fn opening_on_a_full_disk_says_so_and_works_with_room() {
    let Some(disk) = SmallDisk::mount("4m") else {
        return;
    };
    let path = disk.path().join("fettle.db");
    let store = SqliteStore::open(&path).unwrap();
    submit(&store, 1, 1).await;
    write_row(&store, 0).await.unwrap();
    drop(store);

    let ballast = disk.fill();
    for path in [&path, &disk.path().join("new.db")] {
        let error = SqliteStore::open(path).unwrap_err();
        assert!(matches!(error, OpenError::Full { .. }), "{error:?}");
    }
    std::fs::remove_file(ballast).unwrap();
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(store.finished_rows(&job(1, 0)).await.unwrap(), [0]);
    SqliteStore::open(&disk.path().join("new.db")).unwrap();
}

#[tokio::test]
async fn a_full_disk_lets_no_half_blob_appear() {
    let Some(disk) = SmallDisk::mount("1m") else {
        return;
    };
    let folder = disk.path().join("blobs");
    let blobs = ObjectBlobs::open(&format!("file://{}", folder.display())).unwrap();
    let old = Bytes::from_static(b"old");
    blobs.put("a/kept", old.clone()).await.unwrap();
    let large = Bytes::from(vec![7_u8; 2 << 20]);
    for key in ["a/kept", "b/new"] {
        let error = blobs.put(key, large.clone()).await.unwrap_err();
        assert!(matches!(error, BlobError::Full { .. }), "{error:?}");
    }
    assert_eq!(blobs.get("a/kept").await.unwrap(), old);
    assert!(matches!(
        blobs.get("b/new").await,
        Err(BlobError::NotFound { .. })
    ));
    let ballast = disk.fill();
    let error = blobs
        .put("c/d/new", Bytes::from_static(b"x"))
        .await
        .unwrap_err();
    assert!(matches!(error, BlobError::Full { .. }), "{error:?}");
    std::fs::remove_file(ballast).unwrap();
    blobs
        .put("b/new", Bytes::from(vec![7_u8; 512 << 10]))
        .await
        .unwrap();
}

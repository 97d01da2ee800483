//! What every backend must do.

use bytes::Bytes;
use fettle_ports::{BlobError, BlobMeta, Blobs};

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

/// Puts, reads, replaces, deletes; keys are checked; absence is told as such.
pub(crate) async fn keeps_blobs(blobs: &dyn Blobs) {
    blobs.check().await.unwrap();
    let key = "manifests/btch_1/t0/job_1.parquet";
    let meta = BlobMeta {
        key: key.to_owned(),
        size_bytes: 3,
    };
    assert_eq!(blobs.put(key, bytes("one")).await.unwrap(), meta);
    assert_eq!(blobs.get(key).await.unwrap(), "one");
    assert_eq!(blobs.head(key).await.unwrap(), meta);
    blobs.put(key, bytes("other")).await.unwrap();
    assert_eq!(blobs.get(key).await.unwrap(), "other");
    blobs.put("empty", Bytes::new()).await.unwrap();
    assert_eq!(blobs.head("empty").await.unwrap().size_bytes, 0);
    let large = Bytes::from(vec![9_u8; 3 << 20]);
    blobs.put("large", large.clone()).await.unwrap();
    assert!(blobs.get("large").await.unwrap() == large);

    blobs.delete(key).await.unwrap();
    blobs.delete(key).await.unwrap();
    for missing in [
        blobs.get(key).await.map(drop),
        blobs.head(key).await.map(drop),
    ] {
        assert!(
            matches!(&missing, Err(BlobError::NotFound { key: named }) if named == key),
            "{missing:?}"
        );
    }
    for bad in ["../escape", "/etc/passwd", "a//b", ""] {
        let results = [
            blobs.put(bad, bytes("x")).await.map(drop),
            blobs.get(bad).await.map(drop),
            blobs.head(bad).await.map(drop),
            blobs.delete(bad).await,
            blobs.delete_prefix(bad).await.map(drop),
        ];
        for result in results {
            assert!(
                matches!(result, Err(BlobError::BadKey { .. })),
                "{bad:?}: {result:?}"
            );
        }
    }
}

/// A prefix ends at a slash.
pub(crate) async fn deletes_by_prefix(blobs: &dyn Blobs) {
    for key in ["p/a", "p/b/c", "p/b/d", "pp/a", "p.x", "q/p/a"] {
        blobs.put(key, bytes("x")).await.unwrap();
    }
    assert_eq!(blobs.delete_prefix("p").await.unwrap(), 3);
    assert_eq!(blobs.delete_prefix("p").await.unwrap(), 0);
    for kept in ["pp/a", "p.x", "q/p/a"] {
        blobs.head(kept).await.unwrap();
    }
    for gone in ["p/a", "p/b/c", "p/b/d"] {
        assert!(matches!(
            blobs.head(gone).await,
            Err(BlobError::NotFound { .. })
        ));
    }
    blobs.put("p/a", bytes("again")).await.unwrap();
    assert_eq!(
        blobs.delete_prefix("pp/a").await.unwrap(),
        0,
        "a blob is not below itself"
    );
    blobs.head("pp/a").await.unwrap();
}

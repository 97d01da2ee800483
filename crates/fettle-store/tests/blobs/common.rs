//! What every backend must do.

use bytes::Bytes;
use fettle_ports::{BlobError, BlobMeta, Blobs, Pieces};
use futures_util::StreamExt;

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

/// Puts, reads, replaces, deletes; keys are checked; absence is told as such.
pub(crate) async fn keeps_blobs(blobs: &dyn Blobs) {
    blobs.check().await.unwrap();
    let key = "manifests/btch_1/t0/job_1.parquet";
    let is_one = |meta: BlobMeta| meta.key == key && meta.size_bytes == 3;
    assert!(is_one(blobs.put(key, bytes("one")).await.unwrap()));
    assert_eq!(blobs.get(key).await.unwrap(), "one");
    assert!(is_one(blobs.head(key).await.unwrap()));
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

fn pieces(pieces: Vec<Result<Bytes, BlobError>>) -> Pieces {
    futures_util::stream::iter(pieces).boxed()
}

/// A stream is stored whole or not at all.
pub(crate) async fn keeps_streams(blobs: &dyn Blobs) {
    let part = Bytes::from(vec![7_u8; 3 << 20]);
    let parts = vec![
        Ok(part.clone()),
        Ok(part.clone()),
        Ok(part.clone()),
        Ok(part),
    ];
    let meta = blobs.put_stream("streamed", pieces(parts)).await.unwrap();
    assert_eq!(meta.size_bytes, 12 << 20);
    let stored = blobs.get("streamed").await.unwrap();
    assert!(stored.len() == 12 << 20 && stored.iter().all(|byte| *byte == 7));
    let broken = BlobError::Unavailable {
        key: "broken".to_owned(),
        message: "it broke off".to_owned(),
    };
    let parts = vec![Ok(bytes("first")), Err(broken)];
    let error = blobs.put_stream("broken", pieces(parts)).await.unwrap_err();
    assert!(matches!(error, BlobError::Unavailable { .. }), "{error:?}");
    let missing = blobs.head("broken").await.unwrap_err();
    assert!(matches!(missing, BlobError::NotFound { .. }), "{missing:?}");
    let error = blobs
        .put_stream("../escape", pieces(vec![]))
        .await
        .unwrap_err();
    assert!(matches!(error, BlobError::BadKey { .. }), "{error:?}");
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

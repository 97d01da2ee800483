//! What the index does with documents, seen through its port.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use crate::common::{collection, document, id, limits, namespace, open, spec, typical, vector};
use fettle_index::{EdgeIndex, Limits, OpenError};
use fettle_model::filter::Filter;
use fettle_ports::{DocumentQuery, Index, IndexError};
use serde_json::{Value, json};

fn query(limit: usize) -> DocumentQuery {
    DocumentQuery {
        limit,
        ..DocumentQuery::default()
    }
}

fn filter(value: Value) -> Filter {
    serde_json::from_value(value).unwrap()
}

async fn filled(root: &Path, count: u64, dimensions: u32) -> EdgeIndex {
    let index = open(root);
    let specs = if dimensions == 0 {
        vec![]
    } else {
        vec![spec("text", dimensions)]
    };
    index
        .ensure(&namespace(), &collection("a"), &specs)
        .await
        .unwrap();
    let documents = (0..count)
        .map(|n| typical(n, dimensions as usize))
        .collect();
    index
        .upsert(&namespace(), &collection("a"), documents)
        .await
        .unwrap();
    index
}

async fn listed(index: &EdgeIndex, mut query: DocumentQuery) -> Vec<String> {
    let mut ids = Vec::new();
    loop {
        let page = index
            .list(&namespace(), &collection("a"), &query)
            .await
            .unwrap();
        assert!(page.documents.len() <= query.limit);
        ids.extend(page.documents.iter().map(|d| d.id.to_string()));
        match page.next_cursor {
            Some(cursor) => {
                assert_eq!(
                    page.documents.len(),
                    query.limit,
                    "only the last page may be short"
                );
                query.cursor = Some(cursor);
            }
            None => return ids,
        }
    }
}

#[tokio::test]
async fn a_document_comes_back_as_it_was_written() {
    let root = tempfile::tempdir().unwrap();
    let index = open(root.path());
    let (ns, col) = (namespace(), collection("a"));
    index
        .ensure(&ns, &col, &[spec("text", 2), spec("acme/image@1", 3)])
        .await
        .unwrap();
    let payload = json!({
        "title": "Größe \u{0} 🦀", "empty": {}, "none": null, "list": [1, -2.5, [true, {"x": null}]],
        "big": 18_446_744_073_709_551_615_u64, "small": -9_007_199_254_740_993_i64, "dotted.key": 1, "": "",
        "_internal": {"lineage": {"root_object_id": "obj_1"}},
    });
    let mut written = document("x", payload);
    written.vectors = vec![
        vector("acme/image@1", &[0.0, 1.0, 0.0]),
        vector("text", &[0.6, 0.8]),
    ];
    index
        .upsert(&ns, &col, vec![written.clone()])
        .await
        .unwrap();

    let read = index
        .get(&ns, &col, &[id("x"), id("y"), id("x")], true)
        .await
        .unwrap();
    written.payload["_internal"]["document_id"] = json!("doc_x");
    assert_eq!(read, [written.clone()]);
    let plain = index.get(&ns, &col, &[id("x")], false).await.unwrap();
    assert!(plain[0].vectors.is_empty());

    drop(index);
    let read = open(root.path())
        .get(&ns, &col, &[id("x")], true)
        .await
        .unwrap();
    assert_eq!(read, [written]);
}

#[tokio::test]
async fn writing_again_replaces_payload_and_vectors() {
    let root = tempfile::tempdir().unwrap();
    let index = filled(root.path(), 10, 4).await;
    let (ns, col) = (namespace(), collection("a"));
    let twice = vec![document(3, json!({"v": 1})), document(3, json!({"v": 2}))];
    index.upsert(&ns, &col, twice).await.unwrap();
    let read = index.get(&ns, &col, &[id(3)], true).await.unwrap();
    assert_eq!(read[0].payload["v"], 2);
    assert!(read[0].payload.get("text").is_none());
    assert!(read[0].vectors.is_empty());
    assert_eq!(index.count(&ns, &col, &query(0)).await.unwrap(), 10);
    // A document whose vector is gone is not found by it.
    let near = index
        .search(&ns, &col, &vector("text", &[1.0, 0.0, 0.0, 0.0]), None, 100)
        .await
        .unwrap();
    assert_eq!(near.len(), 9);
}

#[tokio::test]
async fn changes_after_reopening_take_effect() {
    // The library passes over operations whose number is below a document's; numbers must go on where they were.
    let root = tempfile::tempdir().unwrap();
    drop(filled(root.path(), 5, 4).await);
    let (ns, col) = (namespace(), collection("a"));
    for round in 0..4 {
        let index = open(root.path());
        index
            .upsert(&ns, &col, vec![document(1, json!({"round": round}))])
            .await
            .unwrap();
        let read = index.get(&ns, &col, &[id(1)], false).await.unwrap();
        assert_eq!(read[0].payload["round"], round);
        assert_eq!(
            index.delete(&ns, &col, &[id(2)]).await.unwrap(),
            u64::from(round == 0)
        );
        assert_eq!(index.count(&ns, &col, &query(0)).await.unwrap(), 4);
    }
}

#[tokio::test]
async fn a_collection_without_vectors_works() {
    let root = tempfile::tempdir().unwrap();
    let index = filled(root.path(), 7, 0).await;
    let (ns, col) = (namespace(), collection("a"));
    assert_eq!(listed(&index, query(3)).await.len(), 7);
    let read = index.get(&ns, &col, &[id(1)], true).await.unwrap();
    assert!(read[0].vectors.is_empty());
    let error = index
        .search(&ns, &col, &vector("text", &[1.0]), None, 5)
        .await
        .unwrap_err();
    assert!(matches!(error, IndexError::BadVector { .. }), "{error}");
}

#[tokio::test]
async fn vectors_can_be_added_later_and_survive_reopening() {
    let root = tempfile::tempdir().unwrap();
    let (ns, col) = (namespace(), collection("a"));
    let index = filled(root.path(), 5, 0).await;
    for _ in 0..2 {
        index.ensure(&ns, &col, &[spec("text", 4)]).await.unwrap();
    }
    index.ensure(&ns, &col, &[spec("other", 2)]).await.unwrap();
    let error = index
        .ensure(&ns, &col, &[spec("text", 5)])
        .await
        .unwrap_err();
    assert!(
        matches!(&error, IndexError::BadVector { name, .. } if name == "text"),
        "{error}"
    );
    index.upsert(&ns, &col, vec![typical(9, 4)]).await.unwrap();
    drop(index);

    let index = open(root.path());
    index.upsert(&ns, &col, vec![typical(2, 4)]).await.unwrap();
    let near = index
        .search(&ns, &col, &typical(2, 4).vectors[0], None, 5)
        .await
        .unwrap();
    let ids: Vec<_> = near.iter().map(|f| f.document.id.as_str()).collect();
    assert_eq!(ids, ["doc_2", "doc_9"]);
    assert!((near[0].score - 1.0).abs() < 1e-5);
    assert_eq!(listed(&index, query(100)).await.len(), 6);
}

#[tokio::test]
async fn a_vector_whose_addition_was_cut_short_can_be_added() {
    let root = tempfile::tempdir().unwrap();
    let (ns, col) = (namespace(), collection("a"));
    let index = filled(root.path(), 5, 0).await;
    // A kill between making the vector's files and noting it in the segment's state leaves files, and no vector.
    let segments = root.path().join("ns_test/col_a/segments");
    let segment = std::fs::read_dir(segments)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let noted = std::fs::read(segment.join("segment.json")).unwrap();
    index.ensure(&ns, &col, &[spec("text", 3)]).await.unwrap();
    drop(index);
    std::fs::write(segment.join("segment.json"), noted).unwrap();

    let index = open(root.path());
    assert_eq!(index.count(&ns, &col, &query(0)).await.unwrap(), 5);
    index.ensure(&ns, &col, &[spec("text", 4)]).await.unwrap();
    index.upsert(&ns, &col, vec![typical(7, 4)]).await.unwrap();
    drop(index);
    let index = open(root.path());
    let near = index
        .search(&ns, &col, &typical(7, 4).vectors[0], None, 5)
        .await
        .unwrap();
    assert_eq!(near.len(), 1);
    drop(index);
    let state = std::fs::read_to_string(segment.join("segment.json")).unwrap();
    assert!(!state.contains("InRamChunkedMmap"), "{state}");
}

#[tokio::test]
async fn a_vector_that_does_not_fit_is_refused_and_nothing_is_written() {
    let root = tempfile::tempdir().unwrap();
    let index = filled(root.path(), 1, 4).await;
    let (ns, col) = (namespace(), collection("a"));
    let cases = [
        vector("text", &[1.0]),
        vector("nope", &[1.0; 4]),
        vector("", &[1.0; 4]),
        vector("text", &[f32::NAN; 4]),
        vector("text", &[]),
    ];
    for bad in cases {
        let mut with_bad = document("bad", json!({}));
        with_bad.vectors = vec![bad.clone()];
        let outcome = index
            .upsert(&ns, &col, vec![document("good", json!({})), with_bad])
            .await;
        assert!(
            matches!(outcome, Err(IndexError::BadVector { .. })),
            "{outcome:?}"
        );
        let outcome = index.search(&ns, &col, &bad, None, 5).await;
        assert!(
            matches!(outcome, Err(IndexError::BadVector { .. })),
            "{outcome:?}"
        );
    }
    for bad in [spec("", 4), spec("x", 0), spec("x", 65_537)] {
        let outcome = index.ensure(&ns, &col, &[bad]).await;
        assert!(
            matches!(outcome, Err(IndexError::BadVector { .. })),
            "{outcome:?}"
        );
    }
    assert_eq!(index.count(&ns, &col, &query(0)).await.unwrap(), 1);
}

#[tokio::test]
async fn pages_hold_every_document_once_in_one_order() {
    let root = tempfile::tempdir().unwrap();
    let index = filled(root.path(), 300, 0).await;
    let all = listed(&index, query(1000)).await;
    assert_eq!(all.len(), 300);
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 300);
    for limit in [1, 7, 100, 299, 300] {
        assert_eq!(listed(&index, query(limit)).await, all, "limit {limit}");
    }
    let nothing = index
        .list(&namespace(), &collection("a"), &query(0))
        .await
        .unwrap();
    assert!(nothing.documents.is_empty() && nothing.next_cursor.is_none());
}

#[tokio::test]
async fn filters_and_internal_fields_choose_documents() {
    let root = tempfile::tempdir().unwrap();
    let index = filled(root.path(), 600, 0).await;
    let (ns, col) = (namespace(), collection("a"));
    let cases = [
        (
            Some(json!({"field": "number", "operator": "lt", "value": 30})),
            vec![],
            30,
        ),
        (None, vec![("batch_id", "btch_1")], 200),
        (
            Some(json!({"field": "number", "operator": "lt", "value": 30})),
            vec![("batch_id", "btch_1")],
            10,
        ),
        (
            None,
            vec![("batch_id", "btch_1"), ("source_id", "obj_4")],
            1,
        ),
        (None, vec![("batch_id", "BTCH_1")], 0),
        (None, vec![("not_indexed", "x")], 0),
        (
            Some(json!({"NOT": [{"field": "_internal.batch_id", "value": "btch_0"}]})),
            vec![],
            400,
        ),
        (
            Some(json!({"field": "nope", "operator": "exists"})),
            vec![],
            0,
        ),
    ];
    for (condition, internal, expected) in cases {
        let query = DocumentQuery {
            filter: condition.map(filter),
            internal_eq: internal
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect::<BTreeMap<_, _>>(),
            ..query(9)
        };
        let count = index.count(&ns, &col, &query).await.unwrap();
        assert_eq!(count, expected, "{query:?}");
        assert_eq!(
            listed(&index, query.clone()).await.len() as u64,
            expected,
            "{query:?}"
        );
    }
}

#[tokio::test]
async fn a_foreign_cursor_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let index = filled(root.path(), 10, 0).await;
    let (ns, col) = (namespace(), collection("a"));
    let page = index.list(&ns, &col, &query(3)).await.unwrap();
    index.ensure(&ns, &collection("b"), &[]).await.unwrap();
    for (collection, cursor) in [
        (col, "nonsense".to_owned()),
        (collection("b"), page.next_cursor.unwrap()),
    ] {
        let query = DocumentQuery {
            cursor: Some(cursor),
            ..query(3)
        };
        let outcome = index.list(&ns, &collection, &query).await;
        assert!(matches!(outcome, Err(IndexError::BadCursor)), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_search_finds_the_nearest_that_match() {
    let root = tempfile::tempdir().unwrap();
    let index = filled(root.path(), 1500, 8).await;
    let (ns, col) = (namespace(), collection("a"));
    let wanted = typical(777, 8).vectors[0].clone();
    let near = index.search(&ns, &col, &wanted, None, 3).await.unwrap();
    assert_eq!(near.len(), 3);
    assert_eq!(near[0].document.id, id(777));
    assert!(near[0].score >= near[1].score && near[1].score >= near[2].score);

    // Longer queries point the same way.
    let longer = vector(
        "text",
        &wanted.values.iter().map(|v| v * 10.0).collect::<Vec<_>>(),
    );
    assert_eq!(
        index.search(&ns, &col, &longer, None, 3).await.unwrap()[0]
            .document
            .id,
        id(777)
    );

    // Rare matches are found however far they are.
    let rare = filter(json!({"field": "number", "operator": "in", "value": [5, 900, 1499]}));
    let found = index
        .search(&ns, &col, &wanted, Some(&rare), 10)
        .await
        .unwrap();
    let numbers: BTreeSet<_> = found
        .iter()
        .map(|f| f.document.payload["number"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, BTreeSet::from([5, 900, 1499]));
    assert!(found.is_sorted_by(|a, b| a.score >= b.score));
    assert!(
        index
            .search(&ns, &col, &wanted, None, 0)
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn an_unknown_collection_is_told_as_such() {
    let root = tempfile::tempdir().unwrap();
    let index = open(root.path());
    let (ns, col) = (namespace(), collection("none"));
    let outcomes = [
        index
            .upsert(&ns, &col, vec![document(1, json!({}))])
            .await
            .err(),
        index.get(&ns, &col, &[id(1)], false).await.err(),
        index.list(&ns, &col, &query(1)).await.err(),
        index.count(&ns, &col, &query(1)).await.err(),
        index.delete(&ns, &col, &[id(1)]).await.err(),
        index
            .search(&ns, &col, &vector("text", &[1.0]), None, 1)
            .await
            .err(),
    ];
    for outcome in outcomes {
        assert!(
            matches!(outcome, Some(IndexError::NoCollection { .. })),
            "{outcome:?}"
        );
    }
    index.drop_collection(&ns, &col).await.unwrap();
    index.check().await.unwrap();
}

#[tokio::test]
async fn a_dropped_collection_is_gone_and_can_be_made_anew() {
    let root = tempfile::tempdir().unwrap();
    let index = filled(root.path(), 5, 4).await;
    let (ns, col) = (namespace(), collection("a"));
    index.drop_collection(&ns, &col).await.unwrap();
    let outcome = index.count(&ns, &col, &query(0)).await;
    assert!(
        matches!(outcome, Err(IndexError::NoCollection { .. })),
        "{outcome:?}"
    );
    assert_eq!(
        std::fs::read_dir(root.path().join("ns_test"))
            .unwrap()
            .count(),
        0
    );
    index.ensure(&ns, &col, &[spec("text", 9)]).await.unwrap();
    assert_eq!(index.count(&ns, &col, &query(0)).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn everything_at_once_is_safe() {
    let root = tempfile::tempdir().unwrap();
    let small = Limits {
        open_shards_max: 2,
        log_files_max: 0,
        ..limits()
    };
    let index = Arc::new(EdgeIndex::open_with(root.path(), small).unwrap());
    let mut tasks = tokio::task::JoinSet::new();
    for name in ["a", "b", "c", "d"] {
        index
            .ensure(&namespace(), &collection(name), &[spec("text", 8)])
            .await
            .unwrap();
        for part in 0..3_u64 {
            let index = Arc::clone(&index);
            tasks.spawn(async move {
                let (ns, col) = (namespace(), collection(name));
                for round in 0..8 {
                    let first = part * 1000 + round * 10;
                    let documents = (first..first + 10).map(|n| typical(n, 8)).collect();
                    index.upsert(&ns, &col, documents).await.unwrap();
                    assert_eq!(index.delete(&ns, &col, &[id(first)]).await.unwrap(), 1);
                    let page = index.list(&ns, &col, &query(20)).await.unwrap();
                    assert!(page.documents.len() >= 9);
                    index
                        .search(&ns, &col, &vector("text", &[1.0; 8]), None, 5)
                        .await
                        .unwrap();
                    index.ensure(&ns, &col, &[spec("text", 8)]).await.unwrap();
                }
            });
        }
    }
    // Meanwhile one collection comes and goes.
    for _ in 0..4 {
        let (ns, col) = (namespace(), collection("brief"));
        index.ensure(&ns, &col, &[]).await.unwrap();
        index
            .upsert(&ns, &col, vec![document(1, json!({}))])
            .await
            .unwrap();
        let all = query(0);
        let (one, two) = tokio::join!(
            index.drop_collection(&ns, &col),
            index.count(&ns, &col, &all)
        );
        one.unwrap();
        assert!(
            matches!(two, Ok(1) | Err(IndexError::NoCollection { .. })),
            "{two:?}"
        );
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
    for name in ["a", "b", "c", "d"] {
        assert_eq!(
            index
                .count(&namespace(), &collection(name), &query(0))
                .await
                .unwrap(),
            3 * 8 * 9
        );
    }
    assert!(index.open_shards() <= 2, "{} are open", index.open_shards());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn collections_that_come_and_go_at_once_are_safe() {
    let root = tempfile::tempdir().unwrap();
    let index = Arc::new(open(root.path()));
    let mut tasks = tokio::task::JoinSet::new();
    for part in 0..4 {
        let index = Arc::clone(&index);
        tasks.spawn(async move {
            let (ns, col) = (namespace(), collection("a"));
            for round in 0..6 {
                index.ensure(&ns, &col, &[spec("text", 4)]).await.unwrap();
                let outcome = index.upsert(&ns, &col, vec![typical(round, 4)]).await;
                assert!(
                    matches!(outcome, Ok(()) | Err(IndexError::NoCollection { .. })),
                    "{outcome:?}"
                );
                if part % 2 == 0 {
                    index.drop_collection(&ns, &col).await.unwrap();
                }
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
    index
        .drop_collection(&namespace(), &collection("a"))
        .await
        .unwrap();
    assert_eq!(
        std::fs::read_dir(root.path().join("ns_test"))
            .unwrap()
            .count(),
        0
    );
}

#[tokio::test]
async fn a_full_disk_is_told_before_anything_is_written() {
    let root = tempfile::tempdir().unwrap();
    drop(filled(root.path(), 3, 0).await);
    let full = Limits {
        disk_reserve_bytes: u64::MAX,
        ..limits()
    };
    let index = EdgeIndex::open_with(root.path(), full).unwrap();
    let (ns, col) = (namespace(), collection("a"));
    let outcomes = [
        index
            .upsert(&ns, &col, vec![document(9, json!({}))])
            .await
            .err(),
        index.delete(&ns, &col, &[id(1)]).await.err(),
        index.ensure(&ns, &collection("b"), &[]).await.err(),
        index.check().await.err(),
    ];
    for outcome in outcomes {
        assert!(
            matches!(outcome, Some(IndexError::Full { .. })),
            "{outcome:?}"
        );
    }
    assert_eq!(
        index.count(&ns, &col, &query(0)).await.unwrap(),
        3,
        "reading goes on"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs a small disk: mount a tmpfs of 128 MiB and name it in FETTLE_INDEX_SMALL_DISK"]
async fn a_small_disk_fills_without_a_crash() {
    let root = std::env::var("FETTLE_INDEX_SMALL_DISK").unwrap();
    let reserve = Limits {
        disk_reserve_bytes: 16 * 1024 * 1024,
        ..Limits::default()
    };
    let index = Arc::new(EdgeIndex::open_with(Path::new(&root), reserve).unwrap());
    let (ns, col) = (namespace(), collection("a"));
    index.ensure(&ns, &col, &[spec("text", 384)]).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for caller in 0..4_u64 {
        let index = Arc::clone(&index);
        tasks.spawn(async move {
            let mut acknowledged = 0;
            loop {
                let first = caller * 1_000_000 + acknowledged;
                let documents = (first..first + 64).map(|n| typical(n, 384)).collect();
                match index
                    .upsert(&namespace(), &collection("a"), documents)
                    .await
                {
                    Ok(()) => acknowledged += 64,
                    Err(error) => return (acknowledged, error),
                }
            }
        });
    }
    let mut all = 0;
    while let Some(task) = tasks.join_next().await {
        let (acknowledged, error) = task.unwrap();
        assert!(matches!(error, IndexError::Full { .. }), "{error}");
        all += acknowledged;
    }
    assert!(all > 1000, "{all}");
    assert_eq!(index.count(&ns, &col, &query(0)).await.unwrap(), all);
}

#[tokio::test]
async fn an_index_is_opened_once_at_a_time() {
    let root = tempfile::tempdir().unwrap();
    let index = open(root.path());
    assert!(matches!(
        EdgeIndex::open(root.path()),
        Err(OpenError::InUse { .. })
    ));
    drop(index);
    open(root.path());
}

/// Writes 40 MiB, so that several log files fill; returns the most files and bytes that the log had.
async fn write_much(root: &Path, log_files_max: usize) -> (usize, u64) {
    let small = Limits {
        log_files_max,
        ..limits()
    };
    let index = EdgeIndex::open_with(root, small).unwrap();
    let (ns, col) = (namespace(), collection("a"));
    index.ensure(&ns, &col, &[]).await.unwrap();
    let log = root.join("ns_test/col_a/wal");
    let large = "x".repeat(1024 * 1024);
    let mut most = (0, 0);
    for round in 0..40 {
        let changed = document(1, json!({"round": round, "text": large}));
        index.upsert(&ns, &col, vec![changed]).await.unwrap();
        // Reading takes a turn after whatever the writer does when it has acknowledged.
        let read = index.get(&ns, &col, &[id(1)], false).await.unwrap();
        assert_eq!(read[0].payload["round"], round);
        let files = std::fs::read_dir(&log).into_iter().flatten().flatten();
        let sizes: Vec<_> = files
            .filter_map(|f| Some(f.metadata().ok()?.blocks() * 512))
            .collect();
        most = (most.0.max(sizes.len()), most.1.max(sizes.iter().sum()));
    }
    most
}

#[tokio::test]
async fn a_long_log_is_given_up_for_a_new_one() {
    let root = tempfile::tempdir().unwrap();
    let (files, _) = write_much(root.path(), 1).await;
    assert!(files <= 5, "{files} log files");
}

#[tokio::test]
async fn a_log_gives_its_space_back_while_it_grows() {
    let root = tempfile::tempdir().unwrap();
    let (files, bytes) = write_much(root.path(), 100).await;
    assert!(files >= 5, "{files} log files");
    assert!(bytes <= 32 * 1024 * 1024, "{bytes} bytes of log");
}

#[tokio::test]
async fn a_flush_that_fails_is_told_and_the_collection_recovers() {
    let root = tempfile::tempdir().unwrap();
    let index = filled(root.path(), 10, 4).await;
    let (ns, col) = (namespace(), collection("a"));
    // Without its directory the segment cannot be flushed, and the library panics.
    let segments = root.path().join("ns_test/col_a/segments");
    let segment = std::fs::read_dir(&segments)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let away = root.path().join("away");
    std::fs::rename(&segment, &away).unwrap();
    for _ in 0..2 {
        let outcome = index
            .upsert(&ns, &col, vec![document("lost", json!({}))])
            .await;
        assert!(
            matches!(outcome, Err(IndexError::Unavailable { .. })),
            "{outcome:?}"
        );
    }
    let _ = std::fs::remove_dir_all(&segment);
    std::fs::rename(&away, &segment).unwrap();
    index
        .upsert(&ns, &col, vec![document("kept", json!({}))])
        .await
        .unwrap();
    assert_eq!(index.count(&ns, &col, &query(0)).await.unwrap(), 11);
    assert!(
        index
            .get(&ns, &col, &[id("lost")], false)
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn a_damaged_or_missing_log_does_no_harm() {
    let root = tempfile::tempdir().unwrap();
    let (ns, col) = (namespace(), collection("a"));
    let log = root.path().join("ns_test/col_a/wal");
    drop(filled(root.path(), 20, 4).await);
    for file in std::fs::read_dir(&log).unwrap() {
        std::fs::write(file.unwrap().path(), b"rubbish").unwrap();
    }
    let index = open(root.path());
    assert_eq!(index.count(&ns, &col, &query(0)).await.unwrap(), 20);
    drop(index);
    std::fs::remove_dir_all(&log).unwrap();
    let index = open(root.path());
    index
        .upsert(&ns, &col, vec![document(1, json!({"new": true}))])
        .await
        .unwrap();
    assert_eq!(
        index.get(&ns, &col, &[id(1)], false).await.unwrap()[0].payload["new"],
        true
    );
}

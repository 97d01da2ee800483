//! Round trips, chosen rows, and files that are not manifests.

use std::io::Write as _;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::row::ManifestBlob;
use crate::write::{ROW_GROUP_ROWS_MAX, write};

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        prop::collection::vec(any::<u8>(), 0..3).prop_map(|list| json!({ "list": list })),
    ]
}

fn blob() -> impl Strategy<Value = ManifestBlob> {
    (
        ".{0,6}",
        prop::option::of("[a-z/:]{1,20}"),
        prop::option::of("[^\\x00]{1,9}"),
        prop::option::of(any::<u64>()),
    )
        .prop_map(|(property, address, filename, size_bytes)| ManifestBlob {
            property,
            blob_type: "text".into(),
            value: address.is_none().then(|| json!("in line")),
            address,
            filename,
            mime_type: None,
            size_bytes,
        })
}

fn row() -> impl Strategy<Value = ManifestRow> {
    let fields = prop::collection::btree_map(".{0,8}", value(), 0..4);
    let blobs = prop::collection::vec(blob(), 0..3);
    (fields, blobs, ".{0,10}", any::<bool>(), 0..i64::MAX as u64).prop_map(
        |(fields, blobs, source_id, is_document, size_bytes)| ManifestRow {
            row: 0,
            collection_id: "col_a".parse().unwrap(),
            source_kind: if is_document {
                SourceKind::Document
            } else {
                SourceKind::Object
            },
            source_id,
            root_object_id: "obj_r".into(),
            source_collection_id: is_document.then(|| "col_source".parse().unwrap()),
            size_bytes,
            fields: fields.into_iter().collect::<Map<_, _>>(),
            blobs,
        },
    )
}

fn numbered(mut rows: Vec<ManifestRow>) -> Vec<ManifestRow> {
    for (index, row) in rows.iter_mut().enumerate() {
        row.row = index as RowNumber;
    }
    rows
}

fn plain(count: usize) -> Vec<ManifestRow> {
    let row = |index: usize| ManifestRow {
        row: 0,
        collection_id: "col_a".parse().unwrap(),
        source_kind: SourceKind::Object,
        source_id: format!("obj_{index}"),
        root_object_id: format!("obj_{index}"),
        source_collection_id: index.is_multiple_of(3).then(|| "col_s".parse().unwrap()),
        size_bytes: index as u64,
        fields: Map::from_iter([("n".to_owned(), json!(index))]),
        blobs: vec![],
    };
    numbered((0..count).map(row).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn rows_survive_the_file(rows in prop::collection::vec(row(), 0..40)) {
        let rows = numbered(rows);
        let reader = ManifestReader::open(Bytes::from(write(&rows).unwrap())).unwrap();
        prop_assert_eq!(reader.rows(), rows.len() as u64);
        let all: Vec<_> = (0..rows.len() as RowNumber).collect();
        prop_assert_eq!(reader.read(&all).unwrap(), rows);
    }

    #[test]
    fn any_chosen_rows_are_read_across_groups(chosen in prop::collection::btree_set(0_u32..2500, 0..80)) {
        static FILE: std::sync::LazyLock<(Vec<ManifestRow>, Bytes)> = std::sync::LazyLock::new(|| {
            let rows = plain(2500);
            let bytes = Bytes::from(write(&rows).unwrap());
            (rows, bytes)
        });
        let reader = ManifestReader::open(FILE.1.clone()).unwrap();
        let chosen: Vec<_> = chosen.into_iter().collect();
        let expected: Vec<_> = chosen.iter().map(|row| FILE.0[*row as usize].clone()).collect();
        prop_assert_eq!(reader.read(&chosen).unwrap(), expected);
    }

    #[test]
    fn a_cut_file_is_an_error(cut in 0.0_f64..1.0) {
        let whole = write(&plain(100)).unwrap();
        let length = (whole.len() as f64 * cut) as usize;
        prop_assert!(ManifestReader::open(Bytes::from(whole[..length].to_vec())).is_err());
    }
}

#[test]
fn groups_are_bounded_and_a_file_on_disk_reads_the_same() {
    let rows = plain(ROW_GROUP_ROWS_MAX + 1);
    let bytes = write(&rows).unwrap();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&bytes).unwrap();
    let reader = ManifestReader::open_file(file).unwrap();
    assert_eq!(reader.starts, vec![0, 1024, 1025]);
    assert_eq!(
        reader.read(&[5, 1024]).unwrap(),
        vec![rows[5].clone(), rows[1024].clone()]
    );
    assert!(matches!(
        reader.read(&[1025]),
        Err(ManifestError::NoSuchRow {
            row: 1025,
            rows: 1025
        })
    ));
    assert!(reader.read(&[7, 6]).is_err());
}

#[test]
fn large_rows_make_smaller_groups() {
    let mut rows = plain(40);
    for row in &mut rows {
        row.fields
            .insert("text".into(), json!("x".repeat(1024 * 1024)));
    }
    let reader = ManifestReader::open(Bytes::from(write(&rows).unwrap())).unwrap();
    assert_eq!(reader.starts.len(), 6, "{:?}", reader.starts);
    assert_eq!(reader.read(&[39]).unwrap()[0], rows[39]);
}

#[test]
fn foreign_files_and_wrong_numbers_say_what_they_are() {
    let garbage = ManifestReader::open(Bytes::from_static(b"not parquet at all"))
        .err()
        .unwrap();
    assert!(
        matches!(garbage, ManifestError::Unreadable { .. }),
        "{garbage}"
    );
    let mut rows = plain(2);
    rows[1].row = 5;
    assert!(matches!(
        write(&rows),
        Err(ManifestError::OutOfOrder {
            position: 1,
            given: 5
        })
    ));
}

#[test]
fn a_flipped_byte_is_an_error_or_other_rows_but_never_a_crash() {
    let whole = write(&plain(30)).unwrap();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x41;
        if let Ok(reader) = ManifestReader::open(Bytes::from(bytes)) {
            let _ = reader.read(&[0, 29]);
        }
    }
}

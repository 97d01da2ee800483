//! `text_extractor` and `passthrough_extractor` without a model.

use fettle_model::ErrorCategory;
use fettle_model::catalogue::LEXICAL_VECTOR;
use fettle_model::lexical::lexical_vector;
use fettle_worker::extract::{BuildError, ExtractorContext, InputValue, build};
use serde_json::json;

use crate::support::{
    assert_permanent, assert_vector, blob_row, extractor, one, one_part, row, text_row,
};

#[test]
fn chunks_carry_their_place_and_a_lexical_vector() {
    let mut text = extractor(
        "text_extractor",
        &json!({ "split_by": "sentences", "chunk_size": 1 }),
    );
    let parts = one(text.as_mut(), text_row("Größe zählt. Second one.")).unwrap();
    assert_eq!(parts.len(), 2);
    let expected = json!({
        "text": "Second one.", "chunk_index": 1, "chunk_count": 2, "start_char": 13, "end_char": 24,
    });
    assert_eq!(json!(parts[1].fields), expected);
    assert_eq!(parts[1].index, 1);
    assert_vector(&parts[1], LEXICAL_VECTOR, 384);
    assert_eq!(parts[1].vectors[0].values, lexical_vector("Second one."));
}

#[test]
fn rows_of_one_call_keep_their_order_and_fail_alone() {
    let mut text = extractor(
        "text_extractor",
        &json!({ "split_by": "words", "chunk_size": 1 }),
    );
    let rows = [
        text_row("a b"),
        text_row(" \n "),
        row("other", InputValue::Text("x".to_owned())),
        blob_row("text", b"PK\x03\x04\x14\x00\x00"),
        blob_row("text", b""),
        row("text", InputValue::Json(json!({ "a": 1 }))),
        row("text", InputValue::Json(json!(["c", 4]))),
        blob_row("text", b"caf\xe9 noir d'\xe9t\xe9"),
    ];
    let results = text.extract(&rows);
    let texts: Vec<Vec<String>> = results
        .iter()
        .map(|result| {
            let parts = result.iter().flatten();
            parts
                .map(|part| part.fields["text"].as_str().unwrap().to_owned())
                .collect()
        })
        .collect();
    assert_eq!(texts[0], ["a", "b"]);
    assert_eq!(texts[6], ["c", "4"]);
    assert_eq!(texts[7][0], "café");
    let errors = [
        (1, "has no text"),
        (2, "no value for input `text`"),
        (3, "application/zip"),
        (4, "empty (0 bytes)"),
        (5, "nested JSON"),
    ];
    for (index, says) in errors {
        assert_permanent(results[index].clone(), ErrorCategory::Validation, says);
    }
}

#[test]
fn a_text_that_makes_too_many_chunks_fails_with_advice() {
    let mut text = extractor(
        "text_extractor",
        &json!({ "split_by": "words", "chunk_size": 1 }),
    );
    let result = one(text.as_mut(), text_row(&"a ".repeat(30_000)));
    assert_permanent(result, ErrorCategory::Resource, "chunk_size");
}

#[test]
fn large_texts_are_cut_in_reasonable_time() {
    let mut text = extractor("text_extractor", &json!({ "embedding": "none" }));
    let paragraph =
        "The quick brown fox jumps over the lazy dog and tells nobody about it. ".repeat(12);
    let long = format!("{paragraph}\n\n").repeat(1_200);
    let started = std::time::Instant::now();
    let parts = one(text.as_mut(), text_row(&long)).unwrap();
    assert!(parts.len() >= 1_000 && parts[0].vectors.is_empty());
    let seconds = started.elapsed().as_secs_f32();
    assert!(seconds < 60.0, "one megabyte took {seconds} s");
}

#[test]
fn what_cannot_be_built_says_why() {
    let context = |model_dir| ExtractorContext {
        model_dir,
        scratch_dir: std::env::temp_dir(),
    };
    let refused = |parameters: serde_json::Value, model_dir| {
        let parameters = parameters.as_object().unwrap().clone();
        match build("text_extractor", "v1", &parameters, &context(model_dir)) {
            Ok(_) => panic!("built with {parameters:?}"),
            Err(error) => error,
        }
    };
    let error = refused(json!({ "chunk_length": 3 }), None);
    assert!(error.to_string().contains("`chunk_size`"), "{error}");
    let error = refused(json!({ "embedding": "minilm" }), None);
    assert!(error.to_string().contains("FETTLE_MODEL_DIR"), "{error}");
    let empty = tempfile::tempdir().unwrap();
    let BuildError::Model(error) = refused(json!({}), Some(empty.path().to_owned())) else {
        panic!("no model error");
    };
    assert!(error.to_string().contains("config.json"), "{error}");
    std::fs::write(empty.path().join("config.json"), "{}").unwrap();
    let BuildError::Model(error) = refused(json!({}), Some(empty.path().to_owned())) else {
        panic!("no model error");
    };
    assert!(
        error.to_string().contains("fetch the model again"),
        "{error}"
    );
}

#[test]
fn passthrough_copies_fields_and_describes_blobs() {
    let mut passthrough = extractor("passthrough_extractor", &json!({}));
    let mut source = blob_row("file", b"abc");
    source
        .inputs
        .insert("price".to_owned(), InputValue::Json(json!({ "eur": 4.5 })));
    let part = one_part(passthrough.as_mut(), source);
    assert_eq!(part.fields["price"], json!({ "eur": 4.5 }));
    assert_eq!(part.fields["file"]["size_bytes"], json!(3));
    assert!(part.vectors.is_empty());
    let mut nothing = extractor(
        "passthrough_extractor",
        &json!({ "preserve_metadata": false }),
    );
    assert!(one_part(nothing.as_mut(), text_row("x")).fields.is_empty());
}

//! The catalogue against what users and the published client send.

use serde_json::{Map, Value, json};

use super::*;

fn map(value: Value) -> Map<String, Value> {
    value.as_object().expect("an object").clone()
}

fn refusal(name: &str, parameters: Value) -> String {
    resolve(name, "v1", &map(parameters), true)
        .expect_err("refused")
        .to_string()
}

#[test]
fn every_entry_resolves_with_its_defaults_and_pins_to_itself() {
    for info in catalogue() {
        for model_present in [false, true] {
            let resolved = resolve(info.name, info.version, &Map::new(), model_present).unwrap();
            let again = resolve(info.name, info.version, &resolved.pinned, true).unwrap();
            assert_eq!(again.pinned, resolved.pinned, "{}", info.name);
            assert_eq!(again.vectors, resolved.vectors, "{}", info.name);
        }
        let defaults = resolve(info.name, info.version, &info.default_parameters(), false);
        assert!(defaults.is_ok(), "{}", info.name);
        assert_eq!(
            info.parameter_schema()["additionalProperties"],
            json!(false)
        );
    }
}

#[test]
fn unknown_names_are_refused_with_those_that_would_do() {
    let error = find("text_extracter", "v1").unwrap_err().to_string();
    assert!(
        error.contains("`text_extracter`") && error.contains("`text_extractor`"),
        "{error}"
    );
    let error = find("text_extractor", "v2").unwrap_err().to_string();
    assert!(error.contains("`v2`") && error.contains("`v1`"), "{error}");
    let error = refusal("text_extractor", json!({ "chunksize": 5 }));
    assert!(
        error.contains("`chunksize`") && error.contains("`chunk_size`"),
        "{error}"
    );
    assert!(!error.contains("segment_length_seconds"), "{error}");
}

#[test]
fn wrong_values_are_refused_with_what_fits() {
    let cases = [
        (json!({ "chunk_size": 0 }), "from 1 to 10000"),
        (json!({ "chunk_size": "10" }), "whole number"),
        (json!({ "chunk_size": -1 }), "whole number"),
        (json!({ "split_by": "time_segments" }), "`sentences`"),
        (
            json!({ "chunk_size": 10, "chunk_overlap": 10 }),
            "smaller than `chunk_size`",
        ),
        (
            json!({ "split_by": "sentences", "chunk_overlap": 5 }),
            "which is 5",
        ),
        (json!({ "source_type": "youtube" }), "no effect"),
        (
            json!({ "embedding": "none", "embedding_model": "all_minilm_l6_v2_v1" }),
            "leave one",
        ),
        (
            json!({ "embedding_model": "text-embedding-3-small" }),
            "all_minilm_l6_v2_v1",
        ),
    ];
    for (parameters, expected) in cases {
        let error = refusal("text_extractor", parameters.clone());
        assert!(error.contains(expected), "{parameters}: {error}");
    }
}

#[test]
fn what_the_published_client_sends_unasked_is_accepted() {
    let sent = json!({
        "extractor_type": "text_extractor", "source_type": "text", "language": "en", "chunk_size": 1000,
        "chunk_overlap": 0, "extract_captions": true, "segment_length_seconds": 120, "split_by": null,
    });
    assert!(resolve("text_extractor", "v1", &map(sent), false).is_ok());
    let sent =
        json!({ "extractor_type": "image_extractor", "enable_thumbnails": true, "use_cdn": false });
    assert!(resolve("image_extractor", "v1", &map(sent), false).is_ok());
}

#[test]
fn auto_follows_the_model_and_minilm_needs_it() {
    let vector = |parameters: Value, model: bool| {
        let resolved = resolve("text_extractor", "v1", &map(parameters), model).unwrap();
        resolved
            .vectors
            .iter()
            .map(|vector| vector.name)
            .collect::<Vec<_>>()
    };
    assert_eq!(vector(json!({}), true), [MINILM_VECTOR]);
    assert_eq!(vector(json!({}), false), [LEXICAL_VECTOR]);
    assert_eq!(
        vector(json!({ "embedding": "lexical" }), true),
        [LEXICAL_VECTOR]
    );
    assert_eq!(
        vector(json!({ "embedding_model": "all_minilm_l6_v2_v1" }), true),
        [MINILM_VECTOR]
    );
    assert!(vector(json!({ "embedding": "none" }), true).is_empty());
    let asked = map(json!({ "embedding": "minilm" }));
    let error = resolve("text_extractor", "v1", &asked, false).unwrap_err();
    assert!(error.to_string().contains("FETTLE_MODEL_DIR"), "{error}");
}

#[test]
fn input_keys_are_checked() {
    let text = find("text_extractor", "v1").unwrap();
    assert_eq!(text.check_inputs(["text"]), Ok(()));
    let error = text.check_inputs([]).unwrap_err().to_string();
    assert!(error.contains("`text`"), "{error}");
    let error = text.check_inputs(["text", "body"]).unwrap_err().to_string();
    assert!(
        error.contains("`body`") && error.contains("`text`"),
        "{error}"
    );
    let passthrough = find("passthrough_extractor", "v1").unwrap();
    assert_eq!(passthrough.check_inputs(["anything"]), Ok(()));
}

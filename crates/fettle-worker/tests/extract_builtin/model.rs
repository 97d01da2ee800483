//! `text_extractor` with the real sentence model. Runs only where FETTLE_MODEL_DIR is set, and then must hold.

use std::path::PathBuf;
use std::time::Instant;

use fettle_model::catalogue::{Embedding, MINILM_VECTOR};
use fettle_worker::extract::{ExtractorContext, TextEmbedder, build, embed_query};
use serde_json::{Map, json};

use crate::support::{assert_vector, text_row};

fn model_dir() -> Option<PathBuf> {
    std::env::var_os("FETTLE_MODEL_DIR").map(PathBuf::from)
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

#[test]
fn like_meanings_are_near_whatever_the_batch() {
    let Some(directory) = model_dir() else { return };
    let embedder = TextEmbedder::load(&directory).unwrap();
    let long = "Interest rates were raised by a quarter point. ".repeat(80);
    let texts = [
        "a cat sits on the mat",
        "a kitten rests on a rug",
        "quarterly interest rates rose",
        long.as_str(),
        "?",
    ];
    let together = embedder.embed(&texts).unwrap();
    let vectors: Vec<&[f32]> = together
        .iter()
        .map(|it| it.vector.values.as_slice())
        .collect();
    let near = cosine(vectors[0], vectors[1]);
    let far = cosine(vectors[0], vectors[2]);
    assert!(near > 0.5 && far < 0.2, "near {near}, far {far}");
    assert!(cosine(vectors[2], vectors[3]) > 0.5);
    assert_eq!(
        together.iter().map(|it| it.truncated).collect::<Vec<_>>(),
        [false, false, false, true, false]
    );
    for (text, batched) in texts.iter().zip(&vectors) {
        let alone = embedder.embed(&[text]).unwrap();
        let same = cosine(&alone[0].vector.values, batched);
        assert!(same > 0.9999, "padding changed a vector: {same}");
        let query = embed_query(text, Embedding::MiniLm, Some(&embedder))
            .unwrap()
            .unwrap();
        assert_eq!(query, alone[0].vector);
    }
}

/// Values of the reference implementation (sentence-transformers) for one sentence, as published with the model's files
/// would give them: the first components, to three digits.
#[test]
fn vectors_agree_with_the_reference_implementation() {
    let Some(directory) = model_dir() else { return };
    let embedder = TextEmbedder::load(&directory).unwrap();
    let vector = &embedder.embed(&["This is an example sentence"]).unwrap()[0]
        .vector
        .values;
    let reference = [0.0677, 0.0635, 0.0487, 0.0793, 0.0374, 0.0027];
    for (found, expected) in vector.iter().zip(reference) {
        assert!((found - expected).abs() < 5e-4, "{:?}", &vector[..6]);
    }
}

#[test]
fn the_extractor_uses_the_model_by_itself() {
    let Some(directory) = model_dir() else { return };
    let context = ExtractorContext {
        model_dir: Some(directory),
        scratch_dir: std::env::temp_dir(),
    };
    let mut text = build("text_extractor", "v1", &Map::new(), &context).unwrap();
    let parts = text.extract(&[text_row("hello world"), text_row(""), text_row("good bye")]);
    assert_vector(&parts[0].as_ref().unwrap()[0], MINILM_VECTOR, 384);
    assert!(parts[1].is_err());
    assert_vector(&parts[2].as_ref().unwrap()[0], MINILM_VECTOR, 384);
    let lexical = json!({ "embedding": "lexical" })
        .as_object()
        .unwrap()
        .clone();
    let mut text = build("text_extractor", "v1", &lexical, &context).unwrap();
    let part = &text.extract(&[text_row("hello world")])[0]
        .as_ref()
        .unwrap()[0]
        .clone();
    assert_vector(part, "text_extractor_v1_hashed_lexical", 384);
}

/// Not a check of speed, which differs by machine, but a way to see it: `--no-capture`.
#[test]
fn speed_is_shown() {
    let Some(directory) = model_dir() else { return };
    let started = Instant::now();
    let embedder = TextEmbedder::load(&directory).unwrap();
    println!("model loaded in {:.2} s", started.elapsed().as_secs_f32());
    let sentence =
        "The committee met on Tuesday to discuss the new budget and its effects on schools. ";
    for (name, sentences) in [("1000 characters", 12), ("one sentence", 1)] {
        let text = sentence.repeat(sentences);
        let texts: Vec<&str> = std::iter::repeat_n(text.as_str(), 32).collect();
        let started = Instant::now();
        let vectors = embedder.embed(&texts).unwrap();
        let per_second = vectors.len() as f32 / started.elapsed().as_secs_f32();
        println!("{per_second:.1} chunks of {name} a second");
    }
}

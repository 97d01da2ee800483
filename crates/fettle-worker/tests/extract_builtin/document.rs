//! `document_extractor`.

use fettle_model::ErrorCategory;
use fettle_worker::extract::InputValue;
use serde_json::json;

use crate::support::{
    assert_permanent, blob_row, extractor, named_blob_row, one, one_part, pdf, row,
};

#[test]
fn a_pdf_becomes_a_part_a_page() {
    let mut documents = extractor("document_extractor", &json!({}));
    let file = pdf(&["Hello first page", "Second page here"]);
    let parts = one(documents.as_mut(), blob_row("document", &file)).unwrap();
    assert_eq!(parts.len(), 2);
    assert_eq!((parts[0].index, parts[1].index), (0, 1));
    let expected = json!({
        "mime_type": "application/pdf", "size_bytes": file.len(), "text": "Second page here",
        "title": "A small file", "page_number": 2, "page_count": 2,
    });
    assert_eq!(json!(parts[1].fields), expected);
}

#[test]
fn pages_beyond_the_limit_are_counted_but_not_read() {
    let mut documents = extractor("document_extractor", &json!({ "max_document_pages": 1 }));
    let part = one_part(
        documents.as_mut(),
        blob_row("document", &pdf(&["a", "b", "c"])),
    );
    assert_eq!(part.fields["page_count"], json!(3));
}

#[test]
fn one_bad_page_leaves_the_others() {
    let mut documents = extractor("document_extractor", &json!({}));
    let mut file = pdf(&["good page", "bad page"]);
    // A font that is not there, under a name of the same length.
    let at = file
        .windows(11)
        .rposition(|window| window == b"/F1 12 Tf 7")
        .unwrap();
    file[at + 2] = b'9';
    let parts = one(documents.as_mut(), blob_row("document", &file)).unwrap();
    assert_eq!(parts[0].fields["text"], json!("good page"));
    assert!(
        parts[1].fields["page_error"]
            .as_str()
            .is_some_and(|reason| !reason.is_empty())
    );
}

#[test]
fn hostile_pdfs_fail_their_row_only() {
    let file = pdf(&["some text"]);
    let mut documents = extractor("document_extractor", &json!({}));
    for garbage in [
        b"%PDF-1.7 and then nothing".to_vec(),
        [b"%PDF-1.4\n".as_slice(), &[0xfe; 3000]].concat(),
        file[..file.len() / 3].to_vec(),
        pdf(&[]),
    ] {
        let result = one(documents.as_mut(), blob_row("document", &garbage));
        assert_permanent(result, ErrorCategory::Validation, "PDF");
    }
    for position in (9..file.len()).step_by(5) {
        let mut damaged = file.clone();
        damaged[position] ^= 0x15;
        one(documents.as_mut(), blob_row("document", &damaged)).ok();
    }
}

#[test]
fn html_and_text_are_read_in_their_encoding() {
    let mut documents = extractor("document_extractor", &json!({}));
    let html = b"<html><head><meta charset='latin1'><title>\xdcber</title></head><p>gr\xfcn <a href='/x'>x</a>";
    let part = one_part(
        documents.as_mut(),
        named_blob_row("document", html, Some("lies.pdf")),
    );
    let expected = json!({
        "mime_type": "text/html", "size_bytes": html.len(), "text": "grün x", "title": "Über",
        "encoding": "windows-1252", "links": ["/x"],
    });
    assert_eq!(json!(part.fields), expected);
    let markdown = named_blob_row("document", b"intro\n# A title \n\ntext", Some("notes.MD"));
    let part = one_part(documents.as_mut(), markdown);
    assert_eq!(
        (&part.fields["mime_type"], &part.fields["title"]),
        (&json!("text/markdown"), &json!("A title"))
    );
    let field = row("document", InputValue::Text("from a field".to_owned()));
    let part = one_part(documents.as_mut(), field);
    assert_eq!(part.fields["text"], json!("from a field"));
}

#[test]
fn what_is_no_document_is_refused_with_advice() {
    let mut documents = extractor("document_extractor", &json!({}));
    let zip = one(
        documents.as_mut(),
        named_blob_row("document", b"PK\x03\x04\x14\x00\x00\x00", Some("a.pdf")),
    );
    assert_permanent(zip, ErrorCategory::Validation, "universal_extractor");
    let empty = one(documents.as_mut(), blob_row("document", b""));
    assert_permanent(empty, ErrorCategory::Validation, "empty");
    let huge = one(
        documents.as_mut(),
        blob_row("document", &vec![b'a'; 9 << 20]),
    );
    assert_permanent(huge, ErrorCategory::Resource, "text_extractor");
}

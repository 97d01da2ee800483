//! Rows, files and a small HTTP server for these tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use fettle_model::{DocumentErrorClass, ErrorCategory};
use fettle_worker::extract::{
    ExtractError, Extractor, ExtractorContext, InputValue, LoadedBlob, Part, RowInput, RowResult,
    build,
};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// An extractor without a model.
pub(crate) fn extractor(name: &str, parameters: &Value) -> Box<dyn Extractor> {
    let context = ExtractorContext {
        model_dir: None,
        scratch_dir: std::env::temp_dir(),
    };
    let parameters = parameters.as_object().expect("an object");
    build(name, "v1", parameters, &context).unwrap_or_else(|error| panic!("{name}: {error}"))
}

pub(crate) fn row(key: &str, value: InputValue) -> RowInput {
    RowInput {
        inputs: BTreeMap::from([(key.to_owned(), value)]),
        source_id: "obj_1".to_owned(),
    }
}

pub(crate) fn text_row(text: &str) -> RowInput {
    row("text", InputValue::Text(text.to_owned()))
}

pub(crate) fn blob_row(key: &str, bytes: &[u8]) -> RowInput {
    named_blob_row(key, bytes, None)
}

pub(crate) fn named_blob_row(key: &str, bytes: &[u8], filename: Option<&str>) -> RowInput {
    let blob = LoadedBlob {
        property: "content".to_owned(),
        filename: filename.map(str::to_owned),
        mime_type: None,
        bytes: bytes.to_vec().into(),
    };
    row(key, InputValue::Blob(blob))
}

/// The result of one row.
pub(crate) fn one(extractor: &mut dyn Extractor, row: RowInput) -> RowResult {
    let mut results = extractor.extract(&[row]);
    assert_eq!(results.len(), 1);
    results.remove(0)
}

/// The only part of one row.
pub(crate) fn one_part(extractor: &mut dyn Extractor, row: RowInput) -> Part {
    let mut parts = one(extractor, row).unwrap();
    assert_eq!(parts.len(), 1);
    parts.remove(0)
}

/// Asserts that a row failed for good, with a text that says what is meant.
pub(crate) fn assert_permanent(result: RowResult, category: ErrorCategory, says: &str) {
    let ExtractError {
        category: found,
        class,
        message,
        ..
    } = result.expect_err("fails");
    assert_eq!(
        (found, class),
        (category, DocumentErrorClass::Permanent),
        "{message}"
    );
    assert!(message.contains(says), "`{message}` does not say `{says}`");
}

/// Asserts that a vector has this name and length and points somewhere.
pub(crate) fn assert_vector(part: &Part, name: &str, dimensions: usize) {
    let [vector] = part.vectors.as_slice() else {
        panic!("{} vectors", part.vectors.len())
    };
    assert_eq!(
        (vector.name.as_str(), vector.values.len()),
        (name, dimensions)
    );
    let length: f32 = vector.values.iter().map(|value| value * value).sum();
    assert!((length - 1.0).abs() < 1e-3, "length {length}");
}

/// A PDF with a page for each text.
pub(crate) fn pdf(pages: &[&str]) -> Vec<u8> {
    let kids: Vec<String> = (0..pages.len())
        .map(|page| format!("{} 0 R", 4 + 2 * page))
        .collect();
    let mut objects = vec![
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        format!(
            "<< /Type /Pages /Kids [{}] /Count {} >>",
            kids.join(" "),
            pages.len()
        ),
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>"
            .to_owned(),
    ];
    for (page, text) in pages.iter().enumerate() {
        let content = format!("BT /F1 12 Tf 72 720 Td ({text}) Tj ET");
        objects.push(format!(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {} 0 R \
             /Resources << /Font << /F1 3 0 R >> >> >>",
            5 + 2 * page
        ));
        objects.push(format!(
            "<< /Length {} >>\nstream\n{content}\nendstream",
            content.len()
        ));
    }
    objects.push("<< /Title (A small file) >>".to_owned());
    let mut file = b"%PDF-1.4\n".to_vec();
    let mut offsets = Vec::new();
    for (number, object) in (1..).zip(&objects) {
        offsets.push(file.len());
        file.extend(format!("{number} 0 obj\n{object}\nendobj\n").bytes());
    }
    let (start, size) = (file.len(), objects.len() + 1);
    file.extend(format!("xref\n0 {size}\n0000000000 65535 f \n").bytes());
    for offset in offsets {
        file.extend(format!("{offset:010} 00000 n \n").bytes());
    }
    let trailer = format!(
        "trailer\n<< /Size {size} /Root 1 0 R /Info {} 0 R >>\nstartxref\n{start}\n%%EOF\n",
        size - 1
    );
    file.extend(trailer.bytes());
    file
}

/// Serves `answers` by path on a free port of this machine: raw HTTP/1.1 responses, connection closed after each.
pub(crate) async fn serve(answers: Vec<(&'static str, String)>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let answers = Arc::new(answers);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answers = Arc::clone(&answers);
            tokio::spawn(async move {
                let mut request = vec![0; 8192];
                let length = stream.read(&mut request).await.unwrap_or(0);
                let line = String::from_utf8_lossy(&request[..length]).into_owned();
                let path = line.split(' ').nth(1).unwrap_or("/").to_owned();
                let known = answers.iter().find(|(known, _)| *known == path);
                let missing = response("404 Not Found", "", "");
                let answer = known.map_or(missing, |(_, answer)| answer.clone());
                stream.write_all(answer.as_bytes()).await.ok();
            });
        }
    });
    port
}

/// A raw response; `headers` are complete lines.
pub(crate) fn response(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    )
}

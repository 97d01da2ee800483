//! Chosen EXIF values as text.
//!
//! Owns the choice. It must not fail an image: broken EXIF data is common and counts as none.

use std::io::Cursor;

use exif::{In, Reader, Tag};
use serde_json::{Map, Value};

/// What is kept: when, where, with what and how a picture was taken.
const CHOSEN: [(Tag, &str); 16] = [
    (Tag::Make, "make"),
    (Tag::Model, "model"),
    (Tag::LensModel, "lens_model"),
    (Tag::Software, "software"),
    (Tag::Artist, "artist"),
    (Tag::Copyright, "copyright"),
    (Tag::ImageDescription, "description"),
    (Tag::DateTimeOriginal, "date_time_original"),
    (Tag::OffsetTimeOriginal, "offset_time_original"),
    (Tag::Orientation, "orientation"),
    (Tag::ExposureTime, "exposure_time"),
    (Tag::FNumber, "f_number"),
    (Tag::PhotographicSensitivity, "iso"),
    (Tag::FocalLength, "focal_length"),
    (Tag::GPSLatitude, "gps_latitude"),
    (Tag::GPSLongitude, "gps_longitude"),
];

/// Longest text that is kept of one value, in characters; makers' fields can hold anything.
const VALUE_CHARS_MAX: usize = 256;

/// The chosen values; none where there are none.
pub(super) fn chosen(bytes: &[u8]) -> Option<Map<String, Value>> {
    let exif = Reader::new()
        .read_from_container(&mut Cursor::new(bytes))
        .ok()?;
    let found: Map<String, Value> = CHOSEN
        .iter()
        .filter_map(|(tag, name)| {
            let field = exif.get_field(*tag, In::PRIMARY)?;
            let text = field.display_value().with_unit(&exif).to_string();
            let text = text.trim_matches(['"', ' ', '\0']);
            let kept: String = text.chars().take(VALUE_CHARS_MAX).collect();
            (!kept.is_empty()).then(|| ((*name).to_owned(), Value::String(kept)))
        })
        .collect();
    (!found.is_empty()).then_some(found)
}

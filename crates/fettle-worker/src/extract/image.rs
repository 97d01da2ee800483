//! `image_extractor`: what an image is and what it looks like.
//!
//! Owns the limits under which images are decoded. It must not see what an image shows: no model is used, and the vector's
//! name says so.

mod colour;
mod exif;

use std::io::Cursor;

use bytes::Bytes;
use fettle_model::ErrorCategory;
use fettle_model::catalogue::{IMAGE_COLOUR_LAYOUT_VECTOR, ImageParameters};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, RgbImage};
use serde_json::{Map, Value, json};

use super::guard::guarded;
use super::{
    Artifact, ExtractError, Extractor, NamedVector, Part, RowInput, RowResult, chain, input,
};

/// Most pixels that are decoded: twice the largest common camera. A few bytes can claim any size.
const PIXELS_MAX: u64 = 200_000_000;
/// Most memory that decoding may take, in bytes: [`PIXELS_MAX`] in RGBA.
const DECODE_BYTES_MAX: u64 = 800_000_000;
/// Longest side of the small picture that all features are computed from, in pixels; also the largest thumbnail.
const SMALL_SIDE_PX: u32 = 256;
/// Quality of thumbnails in JPEG: artefacts are invisible at that size and files are about 10 kB.
const THUMBNAIL_JPEG_QUALITY: u8 = 82;

const COMPONENT: &str = "image_extractor_v1";

/// Reads images.
pub(super) struct ImageExtractor {
    parameters: ImageParameters,
}

impl ImageExtractor {
    pub(super) fn new(parameters: ImageParameters) -> Self {
        Self { parameters }
    }
}

impl Extractor for ImageExtractor {
    fn extract(&mut self, rows: &[RowInput]) -> Vec<RowResult> {
        rows.iter()
            .map(|row| {
                let bytes = input::bytes(row, "image", COMPONENT)?;
                part(
                    bytes,
                    self.parameters,
                    IMAGE_COLOUR_LAYOUT_VECTOR,
                    COMPONENT,
                )
                .map(|p| vec![p])
            })
            .collect()
    }
}

/// The part of one image; also for `universal_extractor`, under its vector's name.
pub(super) fn part(
    bytes: Bytes,
    parameters: ImageParameters,
    vector: &'static str,
    component: &str,
) -> Result<Part, ExtractError> {
    let look = guarded(move || look(&bytes, parameters)).map_err(|panic| {
        let message = format!("the image decoder failed on this file ({panic}); the file is probably damaged, save it again");
        ExtractError::permanent(ErrorCategory::Runtime, component, message)
    })?;
    let look = look
        .map_err(|refused| ExtractError::permanent(refused.category, component, refused.message))?;
    Ok(Part {
        index: 0,
        fields: look.fields,
        vectors: vec![NamedVector {
            name: vector.to_owned(),
            values: look.colour_layout,
        }],
        artifacts: look.thumbnail.into_iter().collect(),
    })
}

struct Look {
    fields: Map<String, Value>,
    colour_layout: Vec<f32>,
    thumbnail: Option<Artifact>,
}

struct Refused {
    category: ErrorCategory,
    message: String,
}

struct Decoded {
    image: DynamicImage,
    format: ImageFormat,
}

fn look(bytes: &[u8], parameters: ImageParameters) -> Result<Look, Refused> {
    let Decoded { image, format } = decode(bytes)?;
    let has_alpha = image.color().has_alpha();
    let small = shrink(&image, SMALL_SIDE_PX);
    let flat = colour::over_white(&small);
    let mut fields = Map::new();
    let mut set = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    set("mime_type", json!(format.to_mime_type()));
    set("size_bytes", json!(bytes.len()));
    set("width", json!(image.width()));
    set("height", json!(image.height()));
    set("format", json!(format.extensions_str().first()));
    set("has_alpha", json!(has_alpha));
    set("perceptual_hash", json!(colour::difference_hash(&flat)));
    set(
        "dominant_colours",
        colour::dominant(&flat, parameters.dominant_colours_max),
    );
    if let Some(exif) = exif::chosen(bytes) {
        set("exif", Value::Object(exif));
    }
    let colour_layout = colour::layout(&flat);
    let thumbnail = match parameters.enable_thumbnails {
        true => Some(thumbnail(
            &shrink(&small, parameters.thumbnail_size_px),
            has_alpha,
        )?),
        false => None,
    };
    Ok(Look {
        fields,
        colour_layout,
        thumbnail,
    })
}

fn decode(bytes: &[u8]) -> Result<Decoded, Refused> {
    let mut reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|error| unreadable(&chain(&error)))?;
    let Some(format) = reader.format() else {
        let kind = infer::get(bytes).map_or("of no known type", |found| found.mime_type());
        return Err(Refused {
            category: ErrorCategory::Validation,
            message: format!(
                "the blob is not an image that can be decoded: it is {kind}; PNG, JPEG, GIF, WebP, BMP and TIFF can"
            ),
        });
    };
    let mut limits = Limits::default();
    limits.max_alloc = Some(DECODE_BYTES_MAX);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(|error| refused(&error))?;
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    if pixels > PIXELS_MAX || decoder.total_bytes() > DECODE_BYTES_MAX {
        return Err(Refused {
            category: ErrorCategory::Resource,
            message: format!(
                "the image is {width} × {height} pixels, more than the {PIXELS_MAX} that are decoded; make it smaller"
            ),
        });
    }
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut image = DynamicImage::from_decoder(decoder).map_err(|error| refused(&error))?;
    image.apply_orientation(orientation);
    Ok(Decoded { image, format })
}

fn refused(error: &ImageError) -> Refused {
    match error {
        ImageError::Limits(_) => Refused {
            category: ErrorCategory::Resource,
            message: format!(
                "decoding the image would take more than {DECODE_BYTES_MAX} bytes of memory; make it smaller"
            ),
        },
        other => unreadable(&chain(other)),
    }
}

fn unreadable(reason: &str) -> Refused {
    Refused {
        category: ErrorCategory::Validation,
        message: format!(
            "the image cannot be decoded: {reason}; it is damaged or cut short, upload it again"
        ),
    }
}

/// The image with no side longer than `side_px`; smaller images stay as they are.
fn shrink(image: &DynamicImage, side_px: u32) -> DynamicImage {
    if image.width().max(image.height()) <= side_px {
        return image.clone();
    }
    image.thumbnail(side_px, side_px)
}

/// JPEG for photographs; PNG where transparency must survive.
fn thumbnail(small: &DynamicImage, has_alpha: bool) -> Result<Artifact, Refused> {
    let mut bytes = Cursor::new(Vec::new());
    let (mime_type, written) = if has_alpha {
        (
            "image/png",
            small.to_rgba8().write_to(&mut bytes, ImageFormat::Png),
        )
    } else {
        let encoder =
            image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, THUMBNAIL_JPEG_QUALITY);
        (
            "image/jpeg",
            RgbImage::from(small.to_rgb8()).write_with_encoder(encoder),
        )
    };
    written.map_err(|error| Refused {
        category: ErrorCategory::Runtime,
        message: format!("the thumbnail cannot be written: {}", chain(&error)),
    })?;
    Ok(Artifact {
        field: "thumbnail".to_owned(),
        mime_type: mime_type.to_owned(),
        bytes: bytes.into_inner().into(),
    })
}

//! `image_extractor`.

use std::io::Cursor;

use exif::experimental::Writer;
use exif::{Field, In, Tag, Value as ExifValue};
use fettle_model::ErrorCategory;
use fettle_model::catalogue::IMAGE_COLOUR_LAYOUT_VECTOR;
use image::{DynamicImage, ImageFormat, Rgb, RgbImage, Rgba, RgbaImage};
use serde_json::json;

use crate::support::{
    assert_permanent, assert_vector, blob_row, extractor, one, one_part, text_row,
};

fn picture(width: u32, height: u32) -> DynamicImage {
    RgbImage::from_fn(width, height, |x, y| {
        Rgb([
            (x * 255 / width) as u8,
            (y * 255 / height) as u8,
            if x > y { 200 } else { 20 },
        ])
    })
    .into()
}

fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// A JPEG that a camera held upright would write: landscape pixels, orientation 6.
fn upright_jpeg() -> Vec<u8> {
    let ascii = |tag, text: &str| Field {
        tag,
        ifd_num: In::PRIMARY,
        value: ExifValue::Ascii(vec![text.as_bytes().to_vec()]),
    };
    let fields = [
        ascii(Tag::Make, "Fettle Optics"),
        ascii(Tag::DateTimeOriginal, "2024:05:06 07:08:09"),
        Field {
            tag: Tag::Orientation,
            ifd_num: In::PRIMARY,
            value: ExifValue::Short(vec![6]),
        },
    ];
    let mut writer = Writer::new();
    fields.iter().for_each(|field| writer.push_field(field));
    let mut tiff = Cursor::new(Vec::new());
    writer.write(&mut tiff, false).unwrap();
    let mut segment = b"Exif\0\0".to_vec();
    segment.extend(tiff.into_inner());
    let mut jpeg = encoded(&picture(60, 40), ImageFormat::Jpeg);
    let length = u16::try_from(segment.len() + 2).unwrap().to_be_bytes();
    let app1 = [&[0xff, 0xe1], length.as_slice(), &segment].concat();
    jpeg.splice(2..2, app1);
    jpeg
}

/// A PNG whose header claims any size, with next to no data.
fn png_claiming(width: u32, height: u32) -> Vec<u8> {
    let mut png = encoded(&picture(2, 2), ImageFormat::Png);
    png[16..20].copy_from_slice(&width.to_be_bytes());
    png[20..24].copy_from_slice(&height.to_be_bytes());
    let checksum = crc(&png[12..29]);
    png[29..33].copy_from_slice(&checksum.to_be_bytes());
    png
}

/// The checksum of PNG chunks (ISO 3309).
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    })
}

#[test]
fn every_format_is_described() {
    let mut images = extractor("image_extractor", &json!({}));
    let cases = [
        (ImageFormat::Png, "image/png"),
        (ImageFormat::Jpeg, "image/jpeg"),
        (ImageFormat::Gif, "image/gif"),
        (ImageFormat::WebP, "image/webp"),
        (ImageFormat::Bmp, "image/bmp"),
        (ImageFormat::Tiff, "image/tiff"),
    ];
    for (format, mime_type) in cases {
        let part = one_part(
            images.as_mut(),
            blob_row("image", &encoded(&picture(600, 300), format)),
        );
        assert_eq!(part.fields["mime_type"], json!(mime_type));
        assert_eq!(
            (&part.fields["width"], &part.fields["height"]),
            (&json!(600), &json!(300))
        );
        assert_eq!(part.fields["perceptual_hash"].as_str().unwrap().len(), 16);
        let colours = part.fields["dominant_colours"].as_array().unwrap();
        assert!((2..=5).contains(&colours.len()), "{colours:?}");
        assert_vector(&part, IMAGE_COLOUR_LAYOUT_VECTOR, 192);
        let thumbnail = image::load_from_memory(&part.artifacts[0].bytes).unwrap();
        assert_eq!(
            (thumbnail.width(), thumbnail.height()),
            (256, 128),
            "{mime_type}"
        );
    }
}

#[test]
fn orientation_and_exif_are_read() {
    let mut images = extractor("image_extractor", &json!({ "thumbnail_size_px": 16 }));
    let part = one_part(images.as_mut(), blob_row("image", &upright_jpeg()));
    assert_eq!(
        (&part.fields["width"], &part.fields["height"]),
        (&json!(40), &json!(60))
    );
    assert_eq!(part.fields["exif"]["make"], json!("Fettle Optics"));
    assert_eq!(
        part.fields["exif"]["date_time_original"],
        json!("2024-05-06 07:08:09")
    );
    assert_eq!(part.artifacts[0].mime_type, "image/jpeg");
}

#[test]
fn transparency_survives_in_the_thumbnail() {
    let mut images = extractor("image_extractor", &json!({}));
    let clear: DynamicImage = RgbaImage::from_pixel(10, 10, Rgba([255, 0, 0, 0])).into();
    let part = one_part(
        images.as_mut(),
        blob_row("image", &encoded(&clear, ImageFormat::Png)),
    );
    assert_eq!(part.fields["has_alpha"], json!(true));
    assert_eq!(part.fields["dominant_colours"][0]["hex"], json!("#ffffff"));
    assert_eq!(part.artifacts[0].mime_type, "image/png");
    let mut without = extractor("image_extractor", &json!({ "enable_thumbnails": false }));
    let part = one_part(
        without.as_mut(),
        blob_row("image", &encoded(&clear, ImageFormat::Png)),
    );
    assert!(part.artifacts.is_empty());
}

#[test]
fn hostile_images_fail_their_row_only() {
    let png = encoded(&picture(50, 50), ImageFormat::Png);
    let jpeg = encoded(&picture(50, 50), ImageFormat::Jpeg);
    let cases: Vec<(&[u8], ErrorCategory, &str)> = vec![
        (
            &png[..png.len() / 2],
            ErrorCategory::Validation,
            "damaged or cut short",
        ),
        (
            &png[..20],
            ErrorCategory::Validation,
            "damaged or cut short",
        ),
        (
            b"%PDF-1.4 not an image",
            ErrorCategory::Validation,
            "application/pdf",
        ),
        (b"just text", ErrorCategory::Validation, "PNG, JPEG"),
    ];
    let bombs = [
        png_claiming(100_000, 100_000),
        png_claiming(u32::MAX / 2, 3),
        png_claiming(0, 5),
    ];
    let mut images = extractor("image_extractor", &json!({}));
    for (bytes, category, says) in cases {
        assert_permanent(
            one(images.as_mut(), blob_row("image", bytes)),
            category,
            says,
        );
    }
    for (bomb, category) in bombs.iter().zip([
        ErrorCategory::Resource,
        ErrorCategory::Resource,
        ErrorCategory::Validation,
    ]) {
        assert_permanent(
            one(images.as_mut(), blob_row("image", bomb)),
            category,
            "image",
        );
    }
    let rows = [
        blob_row("image", &bombs[0]),
        blob_row("image", &jpeg),
        text_row("no image"),
    ];
    let results = images.extract(&rows);
    assert!(results[0].is_err() && results[1].is_ok() && results[2].is_err());
}

#[test]
fn damaged_bytes_never_end_the_worker() {
    let mut images = extractor("image_extractor", &json!({}));
    for format in [
        ImageFormat::Png,
        ImageFormat::Jpeg,
        ImageFormat::Gif,
        ImageFormat::WebP,
        ImageFormat::Bmp,
        ImageFormat::Tiff,
    ] {
        let whole = encoded(&picture(20, 20), format);
        for position in (0..whole.len()).step_by(whole.len() / 40 + 1) {
            let mut damaged = whole.clone();
            damaged[position] ^= 0xff;
            // Some damage cannot be seen; what counts is an answer.
            one(images.as_mut(), blob_row("image", &damaged)).ok();
        }
    }
}

//! What an image looks like: hash, dominant colours and colour layout, all of a small picture without transparency.
//!
//! Owns these formulas. Stored values depend on them: a change needs a new extractor version.

use fettle_model::catalogue::{COLOUR_LAYOUT_DIMENSIONS, COLOUR_LAYOUT_GRID};
use image::imageops::{self, FilterType};
use image::{DynamicImage, Rgb, RgbImage};
use serde_json::{Value, json};

/// Side of the picture whose colours are counted, in pixels: enough for shares of a per cent.
const COUNTED_SIDE_PX: u32 = 64;

/// The image over a white ground, which is how most pages would show it.
pub(super) fn over_white(image: &DynamicImage) -> RgbImage {
    let rgba = image.to_rgba8();
    RgbImage::from_fn(rgba.width(), rgba.height(), |x, y| {
        let [red, green, blue, alpha] = rgba.get_pixel(x, y).0.map(u32::from);
        let blend = |value: u32| ((value * alpha + 255 * (255 - alpha)) / 255) as u8;
        Rgb([blend(red), blend(green), blend(blue)])
    })
}

/// The difference hash: a 9 by 8 grey picture, a bit for each pixel that is brighter than its right neighbour.
pub(super) fn difference_hash(image: &RgbImage) -> String {
    let grey = imageops::grayscale(image);
    let grid = imageops::resize(&grey, 9, 8, FilterType::Triangle);
    let cells = (0..8).flat_map(|y| (0..8).map(move |x| (x, y)));
    let hash = cells.fold(0_u64, |hash, (x, y)| {
        let brighter = grid.get_pixel(x, y).0 > grid.get_pixel(x + 1, y).0;
        (hash << 1) | u64::from(brighter)
    });
    format!("{hash:016x}")
}

/// Dominant colours by median cut, as `{hex, share}`, the most frequent first.
pub(super) fn dominant(image: &RgbImage, colours_max: u32) -> Value {
    let small = imageops::thumbnail(
        image,
        image.width().min(COUNTED_SIDE_PX),
        image.height().min(COUNTED_SIDE_PX),
    );
    let pixels: Vec<[u8; 3]> = small.pixels().map(|pixel| pixel.0).collect();
    let total = pixels.len();
    let mut boxes = vec![pixels];
    while boxes.len() < colours_max as usize {
        let Some((index, channel)) = widest(&boxes) else {
            break;
        };
        let mut pixels = boxes.swap_remove(index);
        pixels.sort_unstable_by_key(|pixel| pixel[channel]);
        let upper = pixels.split_off(cut(&pixels, channel));
        boxes.extend([pixels, upper]);
    }
    boxes.sort_by_key(|pixels| std::cmp::Reverse(pixels.len()));
    let colours = boxes.iter().map(|pixels| {
        let [red, green, blue] = mean(pixels);
        let share = pixels.len() as f64 / total as f64;
        json!({ "hex": format!("#{red:02x}{green:02x}{blue:02x}"), "share": (share * 1000.0).round() / 1000.0 })
    });
    Value::Array(colours.collect())
}

/// The box and channel with the most spread; none where every box has one colour.
fn widest(boxes: &[Vec<[u8; 3]>]) -> Option<(usize, usize)> {
    let spreads = boxes.iter().enumerate().flat_map(|(index, pixels)| {
        (0..3).map(move |channel| {
            let values = pixels.iter().map(|pixel| pixel[channel]);
            let spread = values.clone().max().unwrap_or(0) - values.min().unwrap_or(0);
            (u64::from(spread) * pixels.len() as u64, index, channel)
        })
    });
    spreads
        .max()
        .filter(|(weight, ..)| *weight > 0)
        .map(|(_, index, channel)| (index, channel))
}

/// Where sorted pixels are cut: halfway between the extremes, so that flat areas stay whole; both sides get at least one.
fn cut(sorted: &[[u8; 3]], channel: usize) -> usize {
    let value = |pixel: Option<&[u8; 3]>| pixel.map_or(0, |pixel| u16::from(pixel[channel]));
    let middle = (value(sorted.first()) + value(sorted.last())) / 2;
    let at = sorted.partition_point(|pixel| u16::from(pixel[channel]) <= middle);
    at.clamp(1, sorted.len().saturating_sub(1).max(1))
}

fn mean(pixels: &[[u8; 3]]) -> [u8; 3] {
    let count = pixels.len().max(1) as u64;
    std::array::from_fn(|channel| {
        let sum: u64 = pixels.iter().map(|pixel| u64::from(pixel[channel])).sum();
        ((sum + count / 2) / count) as u8
    })
}

/// The colour layout: the image averaged to 8 by 8 cells, each as luma and two chroma values (BT.601), scaled to length one.
/// Luma lies in (0, 1] so that a black image has a direction too; chroma lies around 0.
pub(super) fn layout(image: &RgbImage) -> Vec<f32> {
    let grid = imageops::resize(
        image,
        COLOUR_LAYOUT_GRID,
        COLOUR_LAYOUT_GRID,
        FilterType::Triangle,
    );
    let mut values = Vec::with_capacity(COLOUR_LAYOUT_DIMENSIONS as usize);
    for pixel in grid.pixels() {
        let [red, green, blue] = pixel.0.map(f32::from);
        let luma = 0.299 * red + 0.587 * green + 0.114 * blue;
        values.push((luma + 1.0) / 256.0);
        values.push((blue - luma) * 0.564 / 128.0);
        values.push((red - luma) * 0.713 / 128.0);
    }
    let length = values.iter().map(|value| value * value).sum::<f32>().sqrt();
    values.iter().map(|value| value / length).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn halves(left: [u8; 3], right: [u8; 3]) -> RgbImage {
        RgbImage::from_fn(40, 20, |x, _| Rgb(if x < 20 { left } else { right }))
    }

    #[test]
    fn dominant_colours_are_those_that_are_there() {
        let colours = dominant(&halves([255, 0, 0], [0, 0, 255]), 5);
        let hex: Vec<_> = colours
            .as_array()
            .unwrap()
            .iter()
            .map(|c| c["hex"].clone())
            .collect();
        assert_eq!(hex.len(), 2, "{colours}");
        assert!(
            hex.contains(&json!("#ff0000")) && hex.contains(&json!("#0000ff")),
            "{colours}"
        );
        assert_eq!(colours[0]["share"], json!(0.5));
    }

    #[test]
    fn hashes_are_near_for_near_images() {
        let hash = |image: &RgbImage| u64::from_str_radix(&difference_hash(image), 16).unwrap();
        let gradient = |gain: u32| {
            RgbImage::from_fn(90, 80, |x, y| Rgb([((x * x + y * gain) % 251) as u8; 3]))
        };
        let bits = |a: u64, b: u64| (a ^ b).count_ones();
        let image = gradient(2);
        let smaller = imageops::resize(&image, 60, 50, FilterType::Triangle);
        assert!(bits(hash(&image), hash(&smaller)) <= 6);
        assert!(bits(hash(&image), hash(&imageops::flip_horizontal(&image))) > 20);
    }

    #[test]
    fn layouts_have_length_one_and_tell_colours_apart() {
        let dot = |a: &RgbImage, b: &RgbImage| -> f32 {
            layout(a).iter().zip(layout(b)).map(|(x, y)| x * y).sum()
        };
        let black = halves([0; 3], [0; 3]);
        let red_blue = halves([255, 0, 0], [0, 0, 255]);
        let blue_red = halves([0, 0, 255], [255, 0, 0]);
        assert!((dot(&black, &black) - 1.0).abs() < 1e-4);
        assert!((dot(&red_blue, &red_blue) - 1.0).abs() < 1e-4);
        assert!(dot(&red_blue, &blue_red) < 0.3);
    }
}

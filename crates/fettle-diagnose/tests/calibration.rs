//! How sure verdicts are against how often they are right, drawn for docs/failures.md.
//!
//! Owns docs/calibration.svg: it is what the labelled texts give. `FETTLE_DRAW=1 cargo test -p fettle-diagnose --test calibration` draws it anew.

#[path = "support/measure.rs"]
mod measure;

use std::fmt::Write as _;
use std::path::Path;

use fettle_diagnose::{FailureText, classify};
use measure::{Measured, samples};

/// Bands of confidence are so wide, in hundredths; the first begins at [`FIRST`].
const WIDTH: u32 = 5;
const FIRST: u32 = 40;
/// Size of the plot, in pixels, and its place in the picture.
const SIDE: f64 = 360.0;
const LEFT: f64 = 60.0;
const TOP: f64 = 20.0;

/// Colours follow the reader's scheme; nothing is told by colour alone.
const HEAD: &str = r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 460 460" role="img" aria-labelledby="title">
<title id="title">Share of right verdicts by confidence, with the number of texts</title>
<style>
svg { color: #1f2328; background: #ffffff; font: 12px sans-serif }
.bar { fill: #0969da; fill-opacity: .55; stroke: #0969da } .line { stroke: currentColor } .even { stroke: currentColor; stroke-dasharray: 4 4 }
text { fill: currentColor }
@media (prefers-color-scheme: dark) { svg { color: #e6edf3; background: #0d1117 } .bar { fill: #58a6ff; stroke: #58a6ff } }
</style>
"##;

#[derive(Clone, Copy, Default)]
struct Band {
    right: u32,
    all: u32,
}

fn bands() -> Vec<Band> {
    let mut measured = Measured::default();
    for sample in samples() {
        let verdict = classify(&FailureText {
            text: &sample.text,
            exit_code: sample.exit_code,
            backend: sample.backend.as_deref(),
        });
        measured.add(&sample, &verdict);
    }
    let mut bands = vec![Band::default(); ((100 - FIRST) / WIDTH) as usize];
    for (confidence, right) in &measured.verdicts {
        let hundredths = (confidence * 100.0).round() as u32;
        let index = (hundredths.max(FIRST) - FIRST) / WIDTH;
        let band = &mut bands[(index as usize).min(((100 - FIRST) / WIDTH - 1) as usize)];
        band.all += 1;
        band.right += u32::from(*right);
    }
    bands
}

fn across(hundredths: f64) -> f64 {
    LEFT + (hundredths - f64::from(FIRST)) / f64::from(100 - FIRST) * SIDE
}

fn down(share: f64) -> f64 {
    TOP + (1.0 - share) * SIDE
}

fn drawn(bands: &[Band]) -> String {
    let mut svg = HEAD.to_owned();
    for (index, band) in bands.iter().enumerate().filter(|(_, band)| band.all > 0) {
        let share = f64::from(band.right) / f64::from(band.all);
        let from = f64::from(FIRST + index as u32 * WIDTH);
        let (x, y) = (across(from) + 2.0, down(share));
        let (width, height) = (across(from + f64::from(WIDTH)) - x - 2.0, down(0.0) - y);
        let middle = x + width / 2.0;
        let _ = writeln!(
            svg,
            r#"<rect class="bar" x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}"/>"#
        );
        let _ = writeln!(
            svg,
            r#"<text x="{middle:.1}" y="{:.1}" text-anchor="middle">{}/{}</text>"#,
            y - 5.0,
            band.right,
            band.all
        );
    }
    for tenths in 0..=5 {
        let share = f64::from(tenths) / 5.0;
        let _ = writeln!(
            svg,
            r#"<text x="{:.1}" y="{:.1}" text-anchor="end">{share:.1}</text>"#,
            LEFT - 8.0,
            down(share) + 4.0
        );
    }
    for hundredths in (FIRST..=100).step_by(10) {
        let hundredths = f64::from(hundredths);
        let _ = writeln!(
            svg,
            r#"<text x="{:.1}" y="{:.1}" text-anchor="middle">{:.1}</text>"#,
            across(hundredths),
            down(0.0) + 18.0,
            hundredths / 100.0
        );
    }
    let (left, right, bottom) = (LEFT, LEFT + SIDE, down(0.0));
    let _ = writeln!(
        svg,
        r#"<path class="line" fill="none" d="M{left} {TOP}V{bottom}H{right}"/>"#
    );
    let _ = writeln!(
        svg,
        r#"<path class="even" fill="none" d="M{left} {:.1}L{right} {TOP}"/>"#,
        down(f64::from(FIRST) / 100.0)
    );
    let _ = writeln!(
        svg,
        r#"<text x="{:.1}" y="{:.1}" text-anchor="middle">confidence (the dashed line: as sure as right)</text>"#,
        LEFT + SIDE / 2.0,
        bottom + 42.0
    );
    let _ = writeln!(
        svg,
        r#"<text transform="translate(18 {:.1}) rotate(-90)" text-anchor="middle">share right</text>"#,
        TOP + SIDE / 2.0
    );
    svg.push_str("</svg>\n");
    svg
}

#[test]
fn the_drawing_in_the_docs_is_what_the_texts_give() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/calibration.svg");
    let svg = drawn(&bands());
    if std::env::var_os("FETTLE_DRAW").is_some() {
        std::fs::write(&file, &svg).expect("the docs can be written");
    }
    let kept = std::fs::read_to_string(&file).expect("the drawing is in the docs");
    assert_eq!(kept, svg, "draw it anew with FETTLE_DRAW=1");
}

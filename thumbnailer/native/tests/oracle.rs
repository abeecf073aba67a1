//! The decoder against an inverse DCT in floating point, over every sampling, scale and scan script.
//!
//! Targets of exactly the decoded size pass the resizer unchanged. The components are named R, G and B, so
//! that no colour conversion comes between.

mod support;

use std::f64::consts::PI;

use support::{scan, Jpeg, Scan};
use thumbnailer_jpeg::{render, Request, Target};

const SCALES: [usize; 7] = [1, 2, 3, 4, 5, 6, 8];

const ZIGZAG: [usize; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21,
    28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54,
    47, 55, 62, 63,
];

fn basis(n: usize, x: usize, u: usize) -> f64 {
    let angle = PI * ((2 * x + 1) * u) as f64 / (2 * n) as f64;
    angle.cos() * if u == 0 { 1.0 } else { 2f64.sqrt() }
}

/// Samples of a component at `across` x `down` pixels a block.
fn samples(jpeg: &Jpeg, index: usize, across: usize, down: usize) -> Vec<Vec<f64>> {
    let (wide, high) = jpeg.padded(index);
    let mut rows = vec![vec![0.0; wide * across]; high * down];
    for (number, block) in jpeg.blocks[index].iter().enumerate() {
        for y in 0..down {
            for x in 0..across {
                let mut sum = 0.0;
                for (k, natural) in ZIGZAG.iter().enumerate() {
                    let (u, v) = (natural % 8, natural / 8);
                    if u < across && v < down {
                        let weight = basis(across, x, u) * basis(down, y, v) / 8.0;
                        sum += f64::from(block[k] * i32::from(jpeg.quant)) * weight;
                    }
                }
                let value = (sum + 128.0).clamp(0.0, 255.0);
                rows[number / wide * down + y][number % wide * across + x] = value;
            }
        }
    }
    rows
}

/// Value of a component at a pixel of the decoded picture.
fn expected(rows: &[Vec<f64>], size: (usize, usize), ratio: (usize, usize), at: (usize, usize)) -> f64 {
    let weights = |position: usize, ratio: usize, length: usize| -> Vec<(usize, f64)> {
        let near = position / ratio;
        if ratio != 2 {
            return vec![(near, 1.0)];
        }
        let far = if position % 2 == 1 { near + 1 } else { near.saturating_sub(1) };
        vec![(near, 0.75), (far.min(length - 1), 0.25)]
    };
    let mut sum = 0.0;
    for (y, a) in weights(at.1, ratio.1, size.1) {
        for (x, b) in weights(at.0, ratio.0, size.0) {
            sum += rows[y][x] * a * b;
        }
    }
    sum
}

/// Largest difference at each scale.
fn check(jpeg: &Jpeg, name: &str) {
    let file = jpeg.bytes();
    let h_max = jpeg.components.iter().map(|c| c.1).max().unwrap();
    let v_max = jpeg.components.iter().map(|c| c.2).max().unwrap();
    for scale in SCALES {
        let (width, height) = (jpeg.width * scale / 8, jpeg.height * scale / 8);
        let target = Target { width, height, area: None };
        let request = Request { targets: vec![target], orientation: 1, scale: Some(scale), max_bytes: 1 << 26 };
        let rendered = render(&&file[..], &request).unwrap_or_else(|e| panic!("{name} {scale}/8: {e:?}"));
        let picture = &rendered.pictures[0];
        assert_eq!((picture.width, picture.height), (width, height));
        for (index, (_, h, v)) in jpeg.components.iter().enumerate() {
            let size = |ratio: usize| match (scale, ratio) {
                (8, _) => (8, ratio),
                (_, 2 | 4) => (2 * scale, ratio / 2),
                _ => (scale, ratio),
            };
            let ((across, left_h), (down, left_v)) = (size(h_max / h), size(v_max / v));
            let rows = samples(jpeg, index, across, down);
            let plane = ((jpeg.width * h).div_ceil(h_max), (jpeg.height * v).div_ceil(v_max));
            // libjpeg filters only where both ratios are 1 or 2; elsewhere it repeats.
            let filtered = scale == 8 && left_h <= 2 && left_v <= 2;
            // Three rounded values meet in the filter.
            let limit = if filtered && left_h * left_v > 1 { 1.6 } else { 1.01 };
            for y in 0..height {
                for x in 0..width {
                    let want = if filtered {
                        expected(&rows, plane, (left_h, left_v), (x, y))
                    } else {
                        rows[y / left_v][x / left_h]
                    };
                    let got = picture.pixels[(y * width + x) * picture.channels + index];
                    let difference = (f64::from(got) - want).abs();
                    assert!(difference <= limit, "{name} {scale}/8 c{index} ({x}, {y}): {got} for {want}");
                }
            }
        }
    }
}

fn rgb(h: usize, v: usize, h2: usize, v2: usize) -> [(u8, usize, usize); 3] {
    [(b'R', h, v), (b'G', h2, v2), (b'B', h2, v2)]
}

fn spectral_script() -> Vec<Scan> {
    let mut scans = vec![scan(&[0, 1, 2], (0, 0), 0, 0)];
    for c in 0..3 {
        scans.extend([scan(&[c], (1, 5), 0, 0), scan(&[c], (6, 63), 0, 0)]);
    }
    scans
}

/// As libjpeg's own script: two steps of successive approximation.
fn refining_script() -> Vec<Scan> {
    let mut scans = vec![scan(&[0, 1, 2], (0, 0), 0, 1)];
    for c in 0..3 {
        scans.extend([scan(&[c], (1, 5), 0, 2), scan(&[c], (6, 63), 0, 2), scan(&[c], (1, 63), 2, 1)]);
    }
    scans.push(scan(&[0, 1, 2], (0, 0), 1, 0));
    scans.extend((0..3).map(|c| scan(&[c], (1, 63), 1, 0)));
    scans
}

#[test]
fn grey_files_match() {
    for (seed, (width, height)) in [(8, 8), (64, 40), (136, 72)].into_iter().enumerate() {
        check(&Jpeg::new(width, height, &[(1, 2, 2)], seed as u64), "grey");
    }
}

#[test]
fn every_sampling_matches() {
    let samplings = [(1, 1, 1, 1), (2, 1, 1, 1), (1, 2, 1, 1), (2, 2, 1, 1), (4, 1, 1, 1), (1, 4, 1, 1), (4, 2, 1, 1)];
    let odd = [(3, 1, 1, 1), (1, 3, 1, 1), (2, 2, 2, 1), (2, 2, 1, 2), (1, 1, 2, 2), (1, 2, 2, 1), (2, 4, 1, 1)];
    for (seed, (h, v, h2, v2)) in samplings.into_iter().chain(odd).enumerate() {
        if h * v + 2 * h2 * v2 > 10 {
            continue;
        }
        check(&Jpeg::new(72, 56, &rgb(h, v, h2, v2), seed as u64), &format!("{h}x{v} {h2}x{v2}"));
    }
}

#[test]
fn restart_intervals_match() {
    for restart in [1, 2, 5, 7, 100] {
        let mut jpeg = Jpeg::new(120, 56, &rgb(2, 2, 1, 1), restart as u64);
        jpeg.restart = restart;
        check(&jpeg, &format!("restart {restart}"));
        check(&jpeg.progressive(refining_script_without_loss_at_one()), &format!("progressive restart {restart}"));
    }
}

/// 1/8 leaves refinement of AC out, which costs up to half a step of the quantiser: the script sends AC of
/// the lowest frequencies at once.
fn refining_script_without_loss_at_one() -> Vec<Scan> {
    let mut scans = vec![scan(&[0, 1, 2], (0, 0), 0, 1)];
    for c in 0..3 {
        scans.extend([scan(&[c], (1, 5), 0, 0), scan(&[c], (6, 63), 0, 2), scan(&[c], (6, 63), 2, 1)]);
    }
    scans.push(scan(&[0, 1, 2], (0, 0), 1, 0));
    scans.extend((0..3).map(|c| scan(&[c], (6, 63), 1, 0)));
    scans
}

#[test]
fn codes_of_many_lengths_match() {
    let mut jpeg = Jpeg::new(96, 64, &rgb(2, 1, 1, 1), 5);
    jpeg.long_codes = true;
    check(&jpeg, "long codes");
    check(&jpeg.progressive(spectral_script()), "long codes, progressive");
}

#[test]
fn quantisers_match() {
    for quant in [1, 2, 7, 10] {
        let mut jpeg = Jpeg::new(48, 48, &rgb(2, 2, 1, 1), u64::from(quant));
        jpeg.quant = quant;
        check(&jpeg, &format!("quantiser {quant}"));
    }
}

#[test]
fn scans_of_single_components_match() {
    let mut jpeg = Jpeg::new(88, 40, &rgb(2, 2, 1, 1), 9);
    jpeg.scans = (0..3).map(|c| scan(&[c], (0, 63), 0, 0)).collect();
    check(&jpeg, "not interleaved");
}

#[test]
fn progressive_scripts_match() {
    for (h, v) in [(1, 1), (2, 1), (2, 2)] {
        let jpeg = Jpeg::new(104, 72, &rgb(h, v, 1, 1), 3);
        check(&jpeg.clone().progressive(spectral_script()), "spectral selection");
        check(&jpeg.progressive(refining_script_without_loss_at_one()), "successive approximation");
    }
}

/// At 1/8 luma has no AC, so that the full script is exact where chroma is not subsampled.
#[test]
fn libjpegs_script_matches() {
    check(&Jpeg::new(104, 72, &rgb(1, 1, 1, 1), 4).progressive(refining_script()), "libjpeg's script");
}

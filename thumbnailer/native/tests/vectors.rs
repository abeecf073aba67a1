//! The vector kernels give the bits of plain code, on every processor.

mod support;

use std::array::from_fn;
use std::f64::consts::{PI, SQRT_2};

use support::Random;
use thumbnailer_jpeg::audited;
use thumbnailer_jpeg::memory::Memory;
use thumbnailer_jpeg::picture::basis::BASIS;
use thumbnailer_jpeg::picture::{kernel, store::SURPLUS};
use thumbnailer_jpeg::resize::axis::{Axis, Span};
use thumbnailer_jpeg::resize::rows::{Ring, GROUP};

const SIZES: [(usize, usize); 21] = [
    (1, 1),
    (2, 1),
    (1, 2),
    (2, 2),
    (4, 2),
    (2, 4),
    (4, 4),
    (3, 3),
    (6, 3),
    (3, 6),
    (6, 6),
    (8, 4),
    (4, 8),
    (5, 5),
    (10, 5),
    (5, 10),
    (10, 10),
    (12, 6),
    (6, 12),
    (12, 12),
    (8, 8),
];

/// Miri is slow.
const ROUNDS: usize = if cfg!(miri) { 1 } else { 60 };

#[test]
#[allow(clippy::needless_range_loop)] // The formula names the indices.
fn the_basis_is_the_cosine() {
    for n in [2, 3, 4, 5, 6, 8, 10, 12] {
        for y in 0..n {
            for u in 1..n.min(8) {
                let angle = PI * ((2 * y + 1) * u) as f64 / (2 * n) as f64;
                assert_eq!(BASIS[n][y][u], (8192.0 * SQRT_2 * angle.cos()).round() as i16, "n {n} y {y} u {u}");
            }
        }
    }
}

/// Pixel (x, y) of a block.
fn plain_pixel(block: &[i16], (w, h): (usize, usize), x: usize, y: usize) -> u8 {
    let (wide, high) = (w.min(8), h.min(8));
    if w <= 2 && h <= 2 {
        let sign = |i: usize| if (i % w * x + i / w * y) % 2 == 1 { -1 } else { 1 };
        let sum: i32 = block.iter().enumerate().map(|(i, value)| sign(i) * i32::from(*value)).sum();
        return (((sum + 4) >> 3) + 128).clamp(0, 255) as u8;
    }
    let column = |u: usize| {
        let sum: i32 = (0..high).map(|v| i32::from(BASIS[h][y][v]) * i32::from(block[v * wide + u])).sum();
        ((sum + (1 << 10)) >> 11).clamp(i16::MIN.into(), i16::MAX.into())
    };
    let sum: i32 = (0..wide).map(|u| i32::from(BASIS[w][x][u]) * column(u)).sum();
    ((sum + (1 << 17) + (128 << 18)) >> 18).clamp(0, 255) as u8
}

#[test]
fn transforms_equal_plain_code() {
    let mut random = Random(7);
    for (w, h) in SIZES {
        let size = w.min(8) * h.min(8);
        for round in 0..ROUNDS {
            let blocks = 1 + random.below(7);
            let mut values = vec![0i16; blocks * size + SURPLUS];
            for block in values[..blocks * size].chunks_mut(size) {
                // Flat blocks, blocks of low frequencies, full blocks.
                let kind = random.below(3);
                for (i, value) in block.iter_mut().enumerate() {
                    let low = i % w.min(8) < 4 && i / w.min(8) < 4;
                    if i == 0 || kind == 2 || (kind == 1 && low) {
                        *value = random.below(4097) as i16 - 2048;
                    }
                }
            }
            let stride = blocks * w + 8;
            let mut pixels = vec![0; stride * h + 16];
            kernel(w, h)(&values, &mut pixels, stride);
            for (b, block) in values[..blocks * size].chunks(size).enumerate() {
                for (x, y) in (0..w * h).map(|i| (i % w, i / w)) {
                    let got = pixels[y * stride + b * w + x];
                    assert_eq!(got, plain_pixel(block, (w, h), x, y), "{w}x{h} round {round} block {b} ({x}, {y})");
                }
            }
        }
    }
}

/// `value * weight / 32768`, rounded.
fn multiply(value: i16, weight: i16) -> i16 {
    ((((i32::from(value) * i32::from(weight)) >> 14) + 1) >> 1) as i16
}

fn words(random: &mut Random, count: usize) -> Vec<i16> {
    (0..count).map(|_| random.next() as i16).collect()
}

#[test]
fn passes_of_the_resize_equal_plain_code() {
    let mut random = Random(11);
    for _ in 0..ROUNDS {
        let (stride, capacity, taps) = (64 * (1 + random.below(3)) + 32, 9, 1 + random.below(9));
        let (samples, weights) = (words(&mut random, stride * capacity), words(&mut random, taps));
        let (first, mut out) = (random.below(30), vec![0; stride]);
        audited::vertical(Ring { samples: &samples, stride, capacity }, first, &weights, &mut out);
        for x in 0..stride / 64 * 64 {
            let sum = weights.iter().enumerate().fold(0i16, |sum, (i, weight)| {
                sum.saturating_add(multiply(samples[(first + i) % capacity * stride + x], *weight))
            });
            assert_eq!(out[x], sum);
        }
        let span = Span { samples: 20 + random.below(80), start: 0.5, length: 18.0, out: 1 + random.below(40) };
        let axis = Axis::new(span, &mut Memory::default());
        let columns = words(&mut random, span.samples * GROUP);
        let mut out = vec![0; span.out * GROUP];
        audited::horizontal(&columns, &axis, &mut out);
        for (i, value) in out.iter().enumerate() {
            let (start, weights) = axis.get(i / GROUP);
            let mut sums = [0i16; 2];
            for (tap, weight) in weights.iter().enumerate() {
                let product = multiply(columns[(start + tap) * GROUP + i % GROUP], *weight);
                sums[tap % 2] = sums[tap % 2].saturating_add(product);
            }
            assert_eq!(*value, sums[0].saturating_add(sums[1]));
        }
    }
}

fn to_byte(value: i16) -> u8 {
    ((value.saturating_add(32) >> 6) + 128).clamp(0, 255) as u8
}

#[test]
fn colours_pixels_and_transposes_equal_plain_code() {
    let mut random = Random(13);
    for _ in 0..ROUNDS {
        let bytes: [[u8; 32]; 3] = from_fn(|_| from_fn(|_| random.next() as u8));
        let mut rgb = [[0i16; 32]; 3];
        let [red, green, blue] = &mut rgb;
        audited::ycbcr_rows([&bytes[0], &bytes[1], &bytes[2]], [red, green, blue]);
        for i in 0..32 {
            let [y, cb, cr] = bytes.map(|row| (i16::from(row[i]) - 128) << 6);
            let less = multiply(cb, 11277).saturating_add(multiply(cr, 23401));
            let want = [
                y.saturating_add(cr).saturating_add(multiply(cr, 13173)),
                y.saturating_sub(less),
                y.saturating_add(cb.saturating_add(cb)).saturating_sub(multiply(cb, 7471)),
            ];
            assert_eq!(rgb.map(|row| row[i]), want.map(|value| i16::from((to_byte(value) ^ 0x80) as i8) << 8));
        }
        let rows: [Vec<i16>; 3] = from_fn(|_| words(&mut random, 32));
        let (mut pixels, mut grey) = ([0; 96], [0; 32]);
        audited::pack_rgb([&rows[0], &rows[1], &rows[2]], &mut pixels);
        audited::pack_grey(&rows[0], &mut grey);
        for i in 0..96 {
            assert_eq!(pixels[i], to_byte(rows[i % 3][i / 3]));
            assert_eq!(grey[i / 3], to_byte(rows[0][i / 3]));
        }
        let (samples, mut out) = (words(&mut random, 24 * 50), vec![0; 48 * 24]);
        audited::transpose(&samples, 50, &mut out, 24, (24, 48));
        for (i, value) in out.iter().enumerate() {
            assert_eq!(*value, samples[i % 24 * 50 + i / 24]);
        }
    }
}

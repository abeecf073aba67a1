//! The transforms: two blocks at a time, one in each half of the vectors.

use std::array::from_fn;

use super::basis::BASIS;
use super::store::SURPLUS;
use crate::audited::Vector;

/// Bits dropped after the vertical and after the horizontal pass. The basis has 13 fraction bits, and a
/// coefficient is 8 times as large as its share of the pixels.
const DROP_1: i32 = 11;
const DROP_2: i32 = 18;
const ROUND_1: i32 = 1 << (DROP_1 - 1);
const ROUND_2: i32 = (1 << (DROP_2 - 1)) + (128 << DROP_2);

/// The pixel of a block with one coefficient.
#[inline(always)]
fn flat_pixel(dc: i16) -> u8 {
    ((dc.saturating_add(4) >> 3) + 128).clamp(0, 255) as u8
}

/// Up to two pixels in a direction: sums and differences.
pub fn small<const W: usize, const H: usize>(values: &[i16], pixels: &mut [u8], stride: usize) {
    let values = &values[..values.len() - SURPLUS];
    for (y, row) in pixels.chunks_mut(stride).enumerate().take(H) {
        for (out, block) in row.chunks_exact_mut(W).zip(values.chunks_exact(W * H)) {
            for (x, pixel) in out.iter_mut().enumerate() {
                let mut sum = 0i16;
                for (i, value) in block.iter().enumerate() {
                    let negative = (i % W * x + i / W * y) % 2 == 1;
                    sum = if negative { sum.wrapping_sub(*value) } else { sum.wrapping_add(*value) };
                }
                *pixel = flat_pixel(sum);
            }
        }
    }
}

/// Eight coefficients of both blocks; zeros if the slice is too short.
#[inline(always)]
fn load(values: &[i16], first: usize, second: usize) -> Vector {
    let eight = |at: usize| values.get(at..).and_then(|rest| rest.first_chunk::<8>()).unwrap_or(&[0; 8]);
    Vector::halves(eight(first), eight(second))
}

/// Ones in the words from `first` to `end` of both halves.
#[inline(always)]
fn mask(first: usize, end: usize) -> Vector {
    Vector::load(&from_fn(|i| -i16::from((first..end).contains(&(i % 8)))))
}

#[inline(always)]
pub fn transform<const W: usize, const H: usize>(values: &[i16], pixels: &mut [u8], stride: usize) {
    let (wide, high) = (W.min(8), H.min(8));
    let size = wide * high;
    let blocks = (values.len() - SURPLUS) / size;
    // Words beyond the width belong to the next row.
    let (own, not_first, right) = (mask(0, wide), mask(1, wide), mask(4, wide));
    for x in (0..blocks).step_by(2) {
        let second = (x + 1).min(blocks - 1);
        let mut rows = [Vector::splat(0); 8];
        let (mut upper, mut lower) = (Vector::splat(0), Vector::splat(0));
        for (v, row) in rows.iter_mut().enumerate().take(high) {
            *row = load(values, x * size + v * wide, second * size + v * wide);
            match v {
                0 => {}
                1..4 => upper = upper.or(*row),
                _ => lower = lower.or(*row),
            }
        }
        let mut place = Place { pixels, stride, left: x * W, both: x + 1 < blocks };
        if upper.or(lower).and(own).or(rows[0].and(not_first)).is_zero() {
            flat::<W, H>([values[x * size], values[second * size]], &mut place);
        } else if (W > 4 || H > 4) && lower.and(own).or(upper.or(rows[0]).and(right)).is_zero() {
            pair::<W, H, true>(&rows, &mut place);
        } else {
            pair::<W, H, false>(&rows, &mut place);
        }
    }
}

/// Where the pixels of two blocks go.
struct Place<'a> {
    pixels: &'a mut [u8],
    stride: usize,
    left: usize,
    /// The second block exists.
    both: bool,
}

impl Place<'_> {
    /// Writes a line of both blocks, given by up to 8 and by further pixels of each.
    #[inline(always)]
    fn write<const W: usize>(&mut self, line: usize, parts: [[u8; 16]; 2]) {
        for half in 0..1 + usize::from(self.both) {
            let at = line * self.stride + self.left + half * W;
            for (part, bytes) in parts.iter().enumerate().take(W.div_ceil(8)) {
                let bytes = &bytes[8 * half..];
                let place = self.pixels.get_mut(at + 8 * part..).unwrap_or_default();
                if W <= 4 {
                    copy::<4>(bytes, place);
                } else {
                    copy::<8>(bytes, place);
                }
            }
        }
    }
}

#[inline(always)]
fn copy<const N: usize>(from: &[u8], to: &mut [u8]) {
    if let (Some(from), Some(to)) = (from.first_chunk::<N>(), to.first_chunk_mut::<N>()) {
        *to = *from;
    }
}

#[inline(always)]
fn flat<const W: usize, const H: usize>(dc: [i16; 2], place: &mut Place) {
    let pixels = dc.map(flat_pixel);
    let line = from_fn(|i| pixels[i / 8]);
    for y in 0..H {
        place.write::<W>(y, [line; 2]);
    }
}

/// `LOW`: only 4 x 4 coefficients are set.
#[inline(always)]
fn pair<const W: usize, const H: usize, const LOW: bool>(rows: &[Vector; 8], place: &mut Place) {
    let lines = pass::<H, LOW, DROP_1>(rows, W > 4 && !LOW, ROUND_1);
    horizontal::<W, LOW>(&transpose(&lines, 0), 0, H.min(8), place);
    if H > 8 {
        horizontal::<W, LOW>(&transpose(&lines, 8), 8, H - 8, place);
    }
}

/// Writes up to eight lines, given by columns.
#[inline(always)]
fn horizontal<const W: usize, const LOW: bool>(x: &[Vector; 8], top: usize, count: usize, place: &mut Place) {
    let points = pass::<W, LOW, DROP_2>(x, count > 4, ROUND_2);
    let (left, right) = (transpose(&points, 0), transpose(&points, if W > 8 { 8 } else { 0 }));
    for i in 0..count {
        place.write::<W>(top + i, [left[i].to_bytes(), right[i].to_bytes()]);
    }
}

/// N points of all columns. `right`: the columns from the fifth on are needed.
#[inline(always)]
fn pass<const N: usize, const LOW: bool, const DROP: i32>(x: &[Vector; 8], right: bool, round: i32) -> [Vector; 16] {
    let (mut points, round) = ([Vector::splat(0); 16], Vector::splat32(round));
    let left = four_columns::<N, LOW, false>(x);
    let right = if right { four_columns::<N, LOW, true>(x) } else { points };
    for i in 0..N {
        let (left, right) = (left[i].add32(round), right[i].add32(round));
        points[i] = left.shift_right32::<DROP>().pack32(right.shift_right32::<DROP>());
    }
    points
}

#[inline(always)]
fn zip<const HIGH: bool>(a: Vector, b: Vector) -> Vector {
    if HIGH {
        a.zip_high16(b)
    } else {
        a.zip_low16(b)
    }
}

/// N points of the left or right columns, in 32 bits.
#[inline(always)]
fn four_columns<const N: usize, const LOW: bool, const RIGHT: bool>(x: &[Vector; 8]) -> [Vector; 16] {
    let mut sums = [Vector::splat(0); 16];
    let (e02, o13) = (zip::<RIGHT>(x[0], x[2]), zip::<RIGHT>(x[1], x[3]));
    let (e46, o57) = (zip::<RIGHT>(x[4], x[6]), zip::<RIGHT>(x[5], x[7]));
    for y in 0..N.div_ceil(2) {
        let k = &BASIS[N][y];
        let mut even = e02.madd(Vector::splat_pair(k[0], k[2]));
        let mut odd = o13.madd(Vector::splat_pair(k[1], k[3]));
        if N > 4 && !LOW {
            even = even.add32(e46.madd(Vector::splat_pair(k[4], k[6])));
        }
        if N > 5 && !LOW {
            odd = odd.add32(o57.madd(Vector::splat_pair(k[5], k[7])));
        }
        sums[y] = even.add32(odd);
        if 2 * y + 1 != N {
            sums[N - 1 - y] = even.sub32(odd);
        }
    }
    sums
}

/// Transposes 8 x 8 words in both halves, from line `at` on.
#[inline(always)]
pub fn transpose(lines: &[Vector; 16], at: usize) -> [Vector; 8] {
    let (mut a, mut b, mut c) = ([Vector::splat(0); 8], [Vector::splat(0); 8], [Vector::splat(0); 8]);
    for i in 0..4 {
        let (upper, lower) = (lines[at + 2 * i], lines[at + 2 * i + 1]);
        (a[i], a[i + 4]) = (upper.zip_low16(lower), upper.zip_high16(lower));
    }
    for i in [0, 2, 4, 6] {
        (b[i], b[i + 1]) = (a[i].zip_low32(a[i + 1]), a[i].zip_high32(a[i + 1]));
    }
    for (i, from) in [(0, 0), (2, 1), (4, 4), (6, 5)] {
        (c[i], c[i + 1]) = (b[from].zip_low64(b[from + 2]), b[from].zip_high64(b[from + 2]));
    }
    c
}

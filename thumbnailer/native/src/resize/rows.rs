//! Rows of samples: colour conversion, the two passes of the resize, packing of pixels.
//!
//! Samples have 8 fraction bits and 128 subtracted, weights 14 fraction bits; the vertical pass gives values
//! of 7 fraction bits, the horizontal one of 6.

use super::axis::Axis;
use crate::audited::Vector;
use crate::picture::idct::transpose as transpose8;

/// Output rows that the horizontal pass takes at once.
pub const GROUP: usize = 16;
/// Columns that the vertical pass takes at once.
pub const COLUMNS: usize = 64;

/// Fractions of the YCbCr coefficients 1.402, 0.344136, 0.714136 and 1.772, times 32768.
const RED_CR: i16 = 13173;
const GREEN_CB: i16 = 11277;
const GREEN_CR: i16 = 23401;
const BLUE_CB: i16 = 7471;

/// Rows of samples of which the last `capacity` are kept.
#[derive(Clone, Copy)]
pub struct Ring<'a> {
    pub samples: &'a [i16],
    pub stride: usize,
    pub capacity: usize,
}

#[inline(always)]
fn add_product(sum: Vector, samples: &[i16; 16], weight: i16) -> Vector {
    sum.adds(Vector::load(samples).scale(Vector::splat(weight)))
}

/// `out` = sum of the rows from `first` on, each times its weight.
#[inline(always)]
pub fn vertical(ring: Ring, first: usize, weights: &[i16], out: &mut [i16]) {
    let begin = first % ring.capacity;
    for (step, out) in out.as_chunks_mut::<COLUMNS>().0.iter_mut().enumerate() {
        let mut sums = [Vector::splat(0); COLUMNS / 16];
        let mut slot = begin;
        for weight in weights {
            let start = slot * ring.stride + step * COLUMNS;
            if let Some(row) = ring.samples.get(start..).and_then(|rest| rest.first_chunk::<COLUMNS>()) {
                for (sum, samples) in sums.iter_mut().zip(row.as_chunks::<16>().0) {
                    *sum = add_product(*sum, samples, *weight);
                }
            }
            slot = if slot + 1 == ring.capacity { 0 } else { slot + 1 };
        }
        for (out, sum) in out.as_chunks_mut::<16>().0.iter_mut().zip(sums) {
            *out = sum.store();
        }
    }
}

/// From columns of `GROUP` samples to columns of `GROUP` samples.
#[inline(always)]
pub fn horizontal(columns: &[i16], axis: &Axis, out: &mut [i16]) {
    let columns = columns.as_chunks::<GROUP>().0;
    for (x, out) in out.as_chunks_mut::<GROUP>().0.iter_mut().enumerate().take(axis.outputs()) {
        let (start, weights) = axis.get(x);
        let Some(columns) = columns.get(start..start + weights.len()) else { continue };
        // Two sums, because one waits for its own last addition.
        let (mut even, mut odd) = (Vector::splat(0), Vector::splat(0));
        let (column_pairs, weight_pairs) = (columns.as_chunks::<2>(), weights.as_chunks::<2>());
        for (columns, weights) in column_pairs.0.iter().zip(weight_pairs.0) {
            even = add_product(even, &columns[0], weights[0]);
            odd = add_product(odd, &columns[1], weights[1]);
        }
        for (column, weight) in column_pairs.1.iter().zip(weight_pairs.1) {
            even = add_product(even, column, *weight);
        }
        *out = even.adds(odd).store();
    }
}

/// `out[c * out_stride + r] = samples[r * stride + c]`
#[inline(always)]
pub fn transpose(samples: &[i16], stride: usize, out: &mut [i16], out_stride: usize, size: (usize, usize)) {
    let (rows, columns) = size;
    for column in (0..columns).step_by(16) {
        for row in (0..rows).step_by(8) {
            let mut block = [Vector::splat(0); 16];
            for (i, line) in block.iter_mut().enumerate().take(8) {
                let start = (row + i) * stride + column;
                if let Some(words) = samples.get(start..).and_then(|rest| rest.first_chunk()) {
                    *line = Vector::load(words);
                }
            }
            for (i, line) in transpose8(&block, 0).into_iter().enumerate() {
                for (half, words) in line.store().as_chunks::<8>().0.iter().enumerate() {
                    let at = (column + 8 * half + i) * out_stride + row;
                    if let Some(place) = out.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
                        *place = *words;
                    }
                }
            }
        }
    }
}

/// Rounds values with 6 fraction bits.
#[inline(always)]
fn round(values: Vector) -> Vector {
    values.adds(Vector::splat(32)).shift_right::<6>()
}

/// Rounds values with 6 fraction bits to samples.
#[inline(always)]
fn sample(values: Vector) -> [i16; 16] {
    round(values).min(Vector::splat(127)).max(Vector::splat(-128)).shift_left::<8>().store()
}

#[inline(always)]
fn times(values: Vector, weight: i16) -> Vector {
    values.scale(Vector::splat(weight))
}

/// 16 bytes with 6 fraction bits and 128 subtracted.
#[inline(always)]
fn centred(bytes: &[u8; 16]) -> Vector {
    Vector::widen(bytes).subs(Vector::splat(128)).shift_left::<6>()
}

/// Three rows of YCbCr to rows of red, green and blue, each pixel rounded to 8 bits.
#[inline(always)]
pub fn ycbcr_rows([y, cb, cr]: [&[u8]; 3], [red, green, blue]: [&mut [i16]; 3]) {
    let bytes = y.as_chunks().0.iter().zip(cb.as_chunks().0).zip(cr.as_chunks().0);
    let places = red.as_chunks_mut().0.iter_mut().zip(green.as_chunks_mut().0).zip(blue.as_chunks_mut().0);
    for (((y, cb), cr), ((red, green), blue)) in bytes.zip(places) {
        let (y, cb, cr) = (centred(y), centred(cb), centred(cr));
        let less = times(cb, GREEN_CB).adds(times(cr, GREEN_CR));
        *red = sample(y.adds(cr).adds(times(cr, RED_CR)));
        *green = sample(y.subs(less));
        *blue = sample(y.adds(cb.adds(cb)).subs(times(cb, BLUE_CB)));
    }
}

/// 16 values with 6 fraction bits to bytes.
#[inline(always)]
fn bytes(values: &[i16; 16]) -> [u8; 16] {
    round(Vector::load(values)).adds(Vector::splat(128)).to_bytes()
}

#[inline(always)]
pub fn pack_grey(row: &[i16], pixels: &mut [u8]) {
    for (pixels, values) in pixels.as_chunks_mut().0.iter_mut().zip(row.as_chunks().0) {
        *pixels = bytes(values);
    }
}

#[inline(always)]
pub fn pack_rgb([red, green, blue]: [&[i16]; 3], pixels: &mut [u8]) {
    let values = red.as_chunks().0.iter().zip(green.as_chunks().0).zip(blue.as_chunks().0);
    for (pixels, ((red, green), blue)) in pixels.as_chunks_mut::<48>().0.iter_mut().zip(values) {
        let (red, green, blue) = (bytes(red), bytes(green), bytes(blue));
        for i in 0..16 {
            (pixels[3 * i], pixels[3 * i + 1], pixels[3 * i + 2]) = (red[i], green[i], blue[i]);
        }
    }
}

/// A row of bytes to samples.
pub fn widen_row(bytes: &[u8], row: &mut [i16]) {
    for (value, byte) in row.iter_mut().zip(bytes) {
        *value = i16::from((byte ^ 0x80) as i8) << 8;
    }
}

/// A row of values with 6 fraction bits to samples.
pub fn lift_row(row: &[i16], samples: &mut [i16]) {
    for (sample, value) in samples.iter_mut().zip(row) {
        *sample = (*value).clamp(-8192, 8191) << 2;
    }
}

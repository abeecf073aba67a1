//! The two passes of the resize in plain code: a sum of rows or columns, each times a weight.
//!
//! Samples have 8 fraction bits, weights 14; the vertical pass gives 7 fraction bits, the horizontal one 6.
#![forbid(unsafe_code)]

use super::axis::Axis;
use crate::colour::multiply;

/// Output rows that the horizontal pass takes at once.
pub const GROUP: usize = 16;
/// Columns that the vertical pass takes at once.
pub const COLUMNS: usize = 64;

/// Rows of samples of which the last `capacity` are kept.
#[derive(Clone, Copy)]
pub struct Ring<'a> {
    pub samples: &'a [i16],
    pub stride: usize,
    pub capacity: usize,
}

/// `out` = sum of the rows from `first` on, each times its weight.
#[inline(always)]
pub fn vertical(ring: Ring, first: usize, weights: &[i16], out: &mut [i16]) {
    for (step, out) in out.chunks_exact_mut(COLUMNS).enumerate() {
        let mut sums = [0i16; COLUMNS];
        let mut slot = first % ring.capacity;
        for weight in weights {
            let start = slot * ring.stride + step * COLUMNS;
            if let Some(row) = ring.samples.get(start..).and_then(|rest| rest.first_chunk::<COLUMNS>()) {
                for (sum, sample) in sums.iter_mut().zip(row) {
                    *sum = sum.saturating_add(multiply(*sample, *weight));
                }
            }
            slot = if slot + 1 == ring.capacity { 0 } else { slot + 1 };
        }
        out.copy_from_slice(&sums);
    }
}

/// From columns of `GROUP` samples to columns of `GROUP` samples. Even and odd taps are summed apart, as the
/// vector version does.
#[inline(always)]
pub fn horizontal(columns: &[i16], axis: &Axis, out: &mut [i16]) {
    for (x, out) in out.chunks_exact_mut(GROUP).enumerate().take(axis.outputs()) {
        let (start, weights) = axis.get(x);
        let mut sums = [[0i16; GROUP]; 2];
        let taps = columns.chunks_exact(GROUP).skip(start).zip(weights);
        for (tap, (column, weight)) in taps.enumerate() {
            for (sum, sample) in sums[tap & 1].iter_mut().zip(column) {
                *sum = sum.saturating_add(multiply(*sample, *weight));
            }
        }
        for (i, value) in out.iter_mut().enumerate() {
            *value = sums[0][i].saturating_add(sums[1][i]);
        }
    }
}

/// `out[c * out_stride + r] = samples[r * stride + c]`
#[inline(always)]
pub fn transpose(samples: &[i16], stride: usize, out: &mut [i16], out_stride: usize, size: (usize, usize)) {
    let (rows, columns) = size;
    for row in 0..rows {
        for column in 0..columns {
            out[column * out_stride + row] = samples[row * stride + column];
        }
    }
}

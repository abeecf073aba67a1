//! Rows and columns with AVX2, 16 samples at a time.
//!
//! The compiler does not make `pmulhrsw` of plain code, which is the reason for this file: without it a set
//! of large targets takes 2.3 times as long.
#![forbid(unsafe_code)]

use std::arch::x86_64::*;

use super::idct::transpose as transpose8;
use super::vectors::{bytes16, load8, to_bytes16, to_words16, to_words8, words16};
use crate::colour::{self, BLUE_CB, GREEN_CB, GREEN_CR, RED_CR};
use crate::resize::axis::Axis;
use crate::resize::rows::{Ring, COLUMNS, GROUP};

#[inline]
#[target_feature(enable = "avx2")]
fn add_product(sum: __m256i, samples: &[i16; 16], weight: i16) -> __m256i {
    _mm256_adds_epi16(sum, _mm256_mulhrs_epi16(words16(samples), _mm256_set1_epi16(weight)))
}

#[target_feature(enable = "avx2")]
pub fn vertical(ring: Ring, first: usize, weights: &[i16], out: &mut [i16]) {
    let begin = first % ring.capacity;
    for (step, out) in out.as_chunks_mut::<COLUMNS>().0.iter_mut().enumerate() {
        let mut sums = [_mm256_setzero_si256(); COLUMNS / 16];
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
            *out = to_words16(sum);
        }
    }
}

#[target_feature(enable = "avx2")]
pub fn horizontal(columns: &[i16], axis: &Axis, out: &mut [i16]) {
    let columns = columns.as_chunks::<GROUP>().0;
    for (x, out) in out.as_chunks_mut::<GROUP>().0.iter_mut().enumerate().take(axis.outputs()) {
        let (start, weights) = axis.get(x);
        let Some(columns) = columns.get(start..start + weights.len()) else { continue };
        // Two sums, because one waits for its own last addition.
        let (mut even, mut odd) = (_mm256_setzero_si256(), _mm256_setzero_si256());
        let (column_pairs, weight_pairs) = (columns.as_chunks::<2>(), weights.as_chunks::<2>());
        for (columns, weights) in column_pairs.0.iter().zip(weight_pairs.0) {
            even = add_product(even, &columns[0], weights[0]);
            odd = add_product(odd, &columns[1], weights[1]);
        }
        for (column, weight) in column_pairs.1.iter().zip(weight_pairs.1) {
            even = add_product(even, column, *weight);
        }
        *out = to_words16(_mm256_adds_epi16(even, odd));
    }
}

/// 16 samples: 128 subtracted, 6 fraction bits.
#[inline]
#[target_feature(enable = "avx2")]
fn centred(bytes: &[u8; 16]) -> __m256i {
    let words = _mm256_cvtepu8_epi16(bytes16(*bytes));
    _mm256_slli_epi16::<6>(_mm256_sub_epi16(words, _mm256_set1_epi16(128)))
}

/// Rounds values with 6 fraction bits and limits them to a byte around 0.
#[inline]
#[target_feature(enable = "avx2")]
fn rounded(values: __m256i) -> __m256i {
    _mm256_srai_epi16::<6>(_mm256_adds_epi16(values, _mm256_set1_epi16(32)))
}

/// Rounds values with 6 fraction bits to samples with 8.
#[inline]
#[target_feature(enable = "avx2")]
fn sample(values: __m256i) -> [i16; 16] {
    let limited = _mm256_min_epi16(rounded(values), _mm256_set1_epi16(127));
    to_words16(_mm256_slli_epi16::<8>(_mm256_max_epi16(limited, _mm256_set1_epi16(-128))))
}

#[inline]
#[target_feature(enable = "avx2")]
fn times(values: __m256i, weight: i16) -> __m256i {
    _mm256_mulhrs_epi16(values, _mm256_set1_epi16(weight))
}

#[target_feature(enable = "avx2")]
pub fn ycbcr_rows(ycbcr: [&[u8]; 3], rgb: [&mut [i16]; 3]) {
    let [y, cb, cr] = ycbcr.map(|row| row.as_chunks::<16>());
    let [red, green, blue] = rgb.map(|row| row.as_chunks_mut::<16>());
    let places = red.0.iter_mut().zip(green.0).zip(blue.0);
    for (((y, cb), cr), ((red, green), blue)) in y.0.iter().zip(cb.0).zip(cr.0).zip(places) {
        let (y, cb, cr) = (centred(y), centred(cb), centred(cr));
        *red = sample(_mm256_adds_epi16(_mm256_adds_epi16(y, cr), times(cr, RED_CR)));
        let less = _mm256_adds_epi16(times(cb, GREEN_CB), times(cr, GREEN_CR));
        *green = sample(_mm256_subs_epi16(y, less));
        let more = _mm256_adds_epi16(y, _mm256_adds_epi16(cb, cb));
        *blue = sample(_mm256_subs_epi16(more, times(cb, BLUE_CB)));
    }
    colour::ycbcr_rows([y.1, cb.1, cr.1], [red.1, green.1, blue.1]);
}

/// 16 values with 6 fraction bits to bytes.
#[inline]
#[target_feature(enable = "avx2")]
fn bytes(values: &[i16; 16]) -> __m128i {
    let whole = _mm256_add_epi16(rounded(words16(values)), _mm256_set1_epi16(128));
    _mm_packus_epi16(_mm256_castsi256_si128(whole), _mm256_extracti128_si256::<1>(whole))
}

/// `SPREAD[channel][part]`: where the bytes of a channel go in a third of 16 pixels.
static SPREAD: [[[u8; 16]; 3]; 3] = spread();

const fn spread() -> [[[u8; 16]; 3]; 3] {
    let mut all = [[[0x80; 16]; 3]; 3];
    let mut place = 0;
    while place < 48 {
        all[place % 3][place / 16][place % 16] = (place / 3) as u8;
        place += 1;
    }
    all
}

#[target_feature(enable = "avx2")]
pub fn pack_row(rows: [&[i16]; 3], pixels: &mut [u8]) {
    let [a, b, c] = rows.map(|row| row.as_chunks::<16>());
    let (whole, _) = pixels.as_chunks_mut::<48>();
    let mut done = 0;
    for (((pixels, a), b), c) in whole.iter_mut().zip(a.0).zip(b.0).zip(c.0) {
        let (a, b, c) = (bytes(a), bytes(b), bytes(c));
        for (part, pixels) in pixels.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            let [a, b, c] = [
                _mm_shuffle_epi8(a, bytes16(SPREAD[0][part])),
                _mm_shuffle_epi8(b, bytes16(SPREAD[1][part])),
                _mm_shuffle_epi8(c, bytes16(SPREAD[2][part])),
            ];
            *pixels = to_bytes16(_mm_or_si128(_mm_or_si128(a, b), c));
        }
        done += 16;
    }
    colour::pack_row(rows.map(|row| &row[done.min(row.len())..]), &mut pixels[3 * done..]);
}

#[target_feature(enable = "avx2")]
pub fn transpose(samples: &[i16], stride: usize, out: &mut [i16], out_stride: usize, size: (usize, usize)) {
    let (rows, columns) = size;
    for column in (0..columns).step_by(8) {
        for row in (0..rows).step_by(8) {
            let mut block = [_mm_setzero_si128(); 8];
            for (i, line) in block.iter_mut().enumerate() {
                *line = load8(samples, (row + i) * stride + column);
            }
            for (i, line) in transpose8(block).into_iter().enumerate() {
                let at = (column + i) * out_stride + row;
                if let Some(place) = out.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<8>()) {
                    *place = to_words8(line);
                }
            }
        }
    }
}

//! The transforms with SSE2, eight columns at a time: pairs of coefficients by `pmaddwd`.
#![forbid(unsafe_code)]
#![allow(clippy::needless_range_loop)] // Several arrays share an index.

use std::arch::x86_64::*;

use super::vectors::{load8, to_u64};
use crate::idct::basis::BASIS;
use crate::idct::{write_row, Block, DROP_1, DROP_2, LOW_LAST, ROUND_1, ROUND_2};

#[inline]
#[target_feature(enable = "sse2")]
pub fn block<const W: usize, const H: usize>(block: &Block, last: u32, out: &mut [u8], stride: usize) {
    if last == 0 {
        fill::<W, H>(block[0], out, stride);
    } else if last <= LOW_LAST && (W > 4 || H > 4) {
        transform::<W, H, true>(block, out, stride);
    } else {
        transform::<W, H, false>(block, out, stride);
    }
}

/// As `idct::fill`, in whole stores.
#[inline]
#[target_feature(enable = "sse2")]
fn fill<const W: usize, const H: usize>(dc: i16, out: &mut [u8], stride: usize) {
    match W {
        0..=4 => crate::idct::fill::<4, H>(dc, out, stride),
        5..=8 => crate::idct::fill::<8, H>(dc, out, stride),
        _ => crate::idct::fill::<16, H>(dc, out, stride),
    }
}

#[inline]
#[target_feature(enable = "sse2")]
fn pairs(values: __m128i, even: i16, odd: i16) -> __m128i {
    _mm_madd_epi16(values, _mm_set1_epi32(i32::from(odd) << 16 | i32::from(even as u16)))
}

/// Four columns: N points from rows (0, 2), (4, 6), (1, 3) and (5, 7), each pair interleaved.
#[inline]
#[target_feature(enable = "sse2")]
fn points<const N: usize>(e02: __m128i, e46: __m128i, o13: __m128i, o57: __m128i) -> [__m128i; 12] {
    let mut sums = [_mm_setzero_si128(); 12];
    for y in 0..N.div_ceil(2) {
        let k = &BASIS[N][y];
        let mut even = pairs(e02, k[0], k[2]);
        if N > 4 {
            even = _mm_add_epi32(even, pairs(e46, k[4], k[6]));
        }
        if 2 * y + 1 == N {
            sums[y] = even;
            continue;
        }
        let mut odd = pairs(o13, k[1], k[3]);
        if N > 5 {
            odd = _mm_add_epi32(odd, pairs(o57, k[5], k[7]));
        }
        sums[y] = _mm_add_epi32(even, odd);
        sums[N - 1 - y] = _mm_sub_epi32(even, odd);
    }
    sums
}

#[inline]
#[target_feature(enable = "sse2")]
fn low_half<const N: usize>(x: &[__m128i; 8]) -> [__m128i; 12] {
    points::<N>(
        _mm_unpacklo_epi16(x[0], x[2]),
        _mm_unpacklo_epi16(x[4], x[6]),
        _mm_unpacklo_epi16(x[1], x[3]),
        _mm_unpacklo_epi16(x[5], x[7]),
    )
}

#[inline]
#[target_feature(enable = "sse2")]
fn high_half<const N: usize>(x: &[__m128i; 8]) -> [__m128i; 12] {
    points::<N>(
        _mm_unpackhi_epi16(x[0], x[2]),
        _mm_unpackhi_epi16(x[4], x[6]),
        _mm_unpackhi_epi16(x[1], x[3]),
        _mm_unpackhi_epi16(x[5], x[7]),
    )
}

#[inline]
#[target_feature(enable = "sse2")]
fn drop_1(sum: __m128i) -> __m128i {
    _mm_srai_epi32::<{ DROP_1 as i32 }>(_mm_add_epi32(sum, _mm_set1_epi32(ROUND_1)))
}

#[inline]
#[target_feature(enable = "sse2")]
fn drop_2(sum: __m128i) -> __m128i {
    _mm_srai_epi32::<{ DROP_2 as i32 }>(_mm_add_epi32(sum, _mm_set1_epi32(ROUND_2)))
}

/// `LOW`: only 4 x 4 coefficients are set.
#[inline]
#[target_feature(enable = "sse2")]
fn transform<const W: usize, const H: usize, const LOW: bool>(block: &Block, out: &mut [u8], stride: usize) {
    let zero = _mm_setzero_si128();
    let mut x = [zero; 8];
    for v in 0..if LOW { H.min(4) } else { H.min(8) } {
        x[v] = load8(block, W.min(8) * v);
    }
    let low = low_half::<H>(&x);
    let high = if W > 4 && !LOW { high_half::<H>(&x) } else { [zero; 12] };
    let mut rows = [zero; 16];
    for y in 0..H {
        let right = if W > 4 && !LOW { drop_1(high[y]) } else { zero };
        rows[y] = _mm_packs_epi32(drop_1(low[y]), right);
    }
    for group in 0..H.div_ceil(8) {
        let columns = transpose(first8(&rows, 8 * group));
        horizontal::<W, LOW>(&columns, (H - 8 * group).min(8), out, 8 * group * stride, stride);
    }
}

/// Up to eight rows, given by columns.
#[inline]
#[target_feature(enable = "sse2")]
fn horizontal<const W: usize, const LOW: bool>(
    columns: &[__m128i; 8], rows: usize, out: &mut [u8], at: usize, stride: usize,
) {
    let zero = _mm_setzero_si128();
    let mut x = *columns;
    if LOW {
        x[4..].fill(zero);
    }
    let low = low_half::<W>(&x);
    let high = if rows > 4 { high_half::<W>(&x) } else { [zero; 12] };
    let mut pixels = [zero; 16];
    for i in 0..W {
        let lower = if rows > 4 { drop_2(high[i]) } else { zero };
        pixels[i] = _mm_packs_epi32(drop_2(low[i]), lower);
    }
    for part in 0..W.div_ceil(8) {
        let lines = transpose(first8(&pixels, 8 * part));
        for i in 0..rows {
            store::<W>(lines[i], out, at + i * stride + 8 * part);
        }
    }
}

#[inline]
#[target_feature(enable = "sse2")]
fn first8(all: &[__m128i; 16], at: usize) -> [__m128i; 8] {
    let mut part = [_mm_setzero_si128(); 8];
    part.copy_from_slice(&all[at..at + 8]);
    part
}

#[inline]
#[target_feature(enable = "sse2")]
fn store<const W: usize>(line: __m128i, out: &mut [u8], at: usize) {
    let word = to_u64(_mm_packus_epi16(line, line));
    if W <= 4 {
        write_row((word as u32).to_le_bytes(), out, at);
    } else {
        write_row(word.to_le_bytes(), out, at);
    }
}

/// Transposes 8 x 8 words.
#[inline]
#[target_feature(enable = "sse2")]
pub fn transpose(x: [__m128i; 8]) -> [__m128i; 8] {
    let a = [
        _mm_unpacklo_epi16(x[0], x[1]),
        _mm_unpacklo_epi16(x[2], x[3]),
        _mm_unpacklo_epi16(x[4], x[5]),
        _mm_unpacklo_epi16(x[6], x[7]),
        _mm_unpackhi_epi16(x[0], x[1]),
        _mm_unpackhi_epi16(x[2], x[3]),
        _mm_unpackhi_epi16(x[4], x[5]),
        _mm_unpackhi_epi16(x[6], x[7]),
    ];
    let b = [
        _mm_unpacklo_epi32(a[0], a[1]),
        _mm_unpackhi_epi32(a[0], a[1]),
        _mm_unpacklo_epi32(a[2], a[3]),
        _mm_unpackhi_epi32(a[2], a[3]),
        _mm_unpacklo_epi32(a[4], a[5]),
        _mm_unpackhi_epi32(a[4], a[5]),
        _mm_unpacklo_epi32(a[6], a[7]),
        _mm_unpackhi_epi32(a[6], a[7]),
    ];
    [
        _mm_unpacklo_epi64(b[0], b[2]),
        _mm_unpackhi_epi64(b[0], b[2]),
        _mm_unpacklo_epi64(b[1], b[3]),
        _mm_unpackhi_epi64(b[1], b[3]),
        _mm_unpacklo_epi64(b[4], b[6]),
        _mm_unpackhi_epi64(b[4], b[6]),
        _mm_unpacklo_epi64(b[5], b[7]),
        _mm_unpackhi_epi64(b[5], b[7]),
    ]
}

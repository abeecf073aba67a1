//! Arrays to vectors and back. A conversion is a transmute between types of one size, of which every bit
//! pattern is valid.

use std::arch::x86_64::*;
use std::mem::transmute;

#[inline]
#[target_feature(enable = "sse2")]
pub fn words8(values: [i16; 8]) -> __m128i {
    // SAFETY: both types have 16 bytes and no invalid bit patterns.
    unsafe { transmute::<[i16; 8], __m128i>(values) }
}

#[inline]
#[target_feature(enable = "sse2")]
pub fn to_words8(vector: __m128i) -> [i16; 8] {
    // SAFETY: both types have 16 bytes and no invalid bit patterns.
    unsafe { transmute::<__m128i, [i16; 8]>(vector) }
}

#[inline]
#[target_feature(enable = "sse2")]
pub fn bytes16(values: [u8; 16]) -> __m128i {
    // SAFETY: both types have 16 bytes and no invalid bit patterns.
    unsafe { transmute::<[u8; 16], __m128i>(values) }
}

#[inline]
#[target_feature(enable = "sse2")]
pub fn to_bytes16(vector: __m128i) -> [u8; 16] {
    // SAFETY: both types have 16 bytes and no invalid bit patterns.
    unsafe { transmute::<__m128i, [u8; 16]>(vector) }
}

#[inline]
#[target_feature(enable = "avx2")]
pub fn words16(values: &[i16; 16]) -> __m256i {
    // SAFETY: both types have 32 bytes and no invalid bit patterns.
    unsafe { transmute::<[i16; 16], __m256i>(*values) }
}

#[inline]
#[target_feature(enable = "avx2")]
pub fn to_words16(vector: __m256i) -> [i16; 16] {
    // SAFETY: both types have 32 bytes and no invalid bit patterns.
    unsafe { transmute::<__m256i, [i16; 16]>(vector) }
}

/// Eight words from an index on; zeros if the slice is too short.
#[inline]
#[target_feature(enable = "sse2")]
pub fn load8(values: &[i16], at: usize) -> __m128i {
    match values.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        Some(words) => words8(*words),
        None => _mm_setzero_si128(),
    }
}

/// The low eight bytes.
#[inline]
#[target_feature(enable = "sse2")]
pub fn to_u64(vector: __m128i) -> u64 {
    _mm_cvtsi128_si64(vector) as u64
}

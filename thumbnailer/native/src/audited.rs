//! The only module with `unsafe`. Two uses, each sound by a check in the same function or file:
//!
//! * calls of functions with a target feature: AVX2 is detected at run time, NEON belongs to AArch64;
//! * transmutes between arrays and vectors of one size, of which every bit pattern is valid.
//!
//! The kernels themselves are safe code over `Vector`, written once for all processors. A vector has 16 words of 16
//! bits in two halves of 8:
//!
//! * `widen` makes words of bytes, `to_bytes` limits each word to a byte.
//! * `adds` and `subs` limit their results to 16 bits; `scale` is `a * b / 32768`, rounded.
//! * Operations named `..32` see 8 signed values of 32 bits instead. `madd` adds the products of two neighbours to
//!   such values; `pack32` limits four values of `a` and four of `b` in each half to 16 bits.
//! * A zip takes from the low or high part of each half in turn; the number is that of the bits that stay together.
#![allow(unsafe_code)]

use std::mem::transmute;

use crate::picture::idct;
use crate::resize::axis::Axis;
use crate::resize::rows::{self, Ring};

/// The instruction set of the kernels, "avx2" or "neon"; "none" if the processor lacks it.
#[inline]
pub fn simd() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    return if is_x86_feature_detected!("avx2") { "avx2" } else { "none" };
    #[cfg(target_arch = "aarch64")]
    "neon"
}

/// Defines functions that run a kernel with vectors. `Plan` refuses processors without them.
macro_rules! dispatch {
    ($($(#[$doc:meta])* $module:ident::$name:ident$(<$($n:ident),*>)?($($arg:ident: $kind:ty),*);)*) => {$(
        $(#[$doc])*
        pub fn $name$(<$(const $n: usize),*>)?($($arg: $kind),*) {
            #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2"))]
            fn vectors$(<$(const $n: usize),*>)?($($arg: $kind),*) {
                $module::$name$(::<$($n),*>)?($($arg),*);
            }
            if simd() != "none" {
                // SAFETY: AVX2 was detected. Other processors enable no feature here.
                #[allow(unused_unsafe)]
                unsafe { vectors$(::<$($n),*>)?($($arg),*) }
            }
        }
    )*};
}

dispatch! {
    rows::vertical(ring: Ring, first: usize, weights: &[i16], out: &mut [i16]);
    rows::horizontal(columns: &[i16], axis: &Axis, out: &mut [i16]);
    /// Rows must be a multiple of 8, columns of 16.
    rows::transpose(samples: &[i16], stride: usize, out: &mut [i16], out_stride: usize, size: (usize, usize));
    /// Rows must have multiples of 16 pixels, as for the next two.
    rows::ycbcr_rows(ycbcr: [&[u8]; 3], rgb: [&mut [i16]; 3]);
    rows::pack_grey(row: &[i16], pixels: &mut [u8]);
    rows::pack_rgb(rows: [&[i16]; 3], pixels: &mut [u8]);
    idct::transform<W, H>(values: &[i16], pixels: &mut [u8], stride: usize);
}

/// Methods as a table: name, arguments, result, expression.
macro_rules! methods {
    ($($name:ident$(<$n:ident>)?($($arg:ident$(: $kind:ty)?),*) -> $out:ty = $body:expr;)*) => {$(
        #[inline(always)]
        #[allow(unused_unsafe)]
        pub fn $name$(<const $n: i32>)?($($arg$(: $kind)?),*) -> $out {
            // SAFETY: `dispatch` uses vectors only where the processor has the instructions. Transmutes are
            // between types of one size without invalid bit patterns.
            unsafe { $body }
        }
    )*};
}

/// Methods of two vectors as a table: operands, name and operation on each part of the vectors.
macro_rules! binary {
    (|$a:ident, $b:ident| $($part:tt)|+; $($name:ident = $body:expr;)*) => {
        binary! { @ $a, $b, ($($part),+), $($name = $body;)* }
    };
    (@ $a:ident, $b:ident, $parts:tt, $($name:ident = $body:expr;)*) => {$(
        #[inline(always)]
        #[allow(unused_unsafe)]
        pub fn $name(self, other: Self) -> Self {
            binary! { each self, other, $parts, $a, $b, $body }
        }
    )*};
    (each $self:ident, $other:ident, ($($part:tt),+), $a:ident, $b:ident, $body:expr) => {
        // SAFETY: as for `methods`.
        unsafe { Vector($({ let ($a, $b) = ($self.$part, $other.$part); $body }),+) }
    };
}

impl Vector {
    /// The words `even` and `odd` in turn.
    #[inline(always)]
    pub fn splat_pair(even: i16, odd: i16) -> Vector {
        Vector::splat32(i32::from(odd) << 16 | i32::from(even as u16))
    }
}

#[cfg(target_arch = "x86_64")]
pub use avx2::Vector;

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::*;

    use super::*;

    #[derive(Clone, Copy)]
    pub struct Vector(__m256i);

    impl Vector {
        methods! {
            load(words: &[i16; 16]) -> Self = Vector(transmute::<[i16; 16], __m256i>(*words));
            store(self) -> [i16; 16] = transmute::<__m256i, [i16; 16]>(self.0);
            halves(first: &[i16; 8], second: &[i16; 8]) -> Self = Vector(_mm256_set_m128i(
                transmute::<[i16; 8], __m128i>(*second), transmute::<[i16; 8], __m128i>(*first)
            ));
            widen(bytes: &[u8; 16]) -> Self =
                Vector(_mm256_cvtepu8_epi16(transmute::<[u8; 16], __m128i>(*bytes)));
            to_bytes(self) -> [u8; 16] = transmute::<__m128i, [u8; 16]>(_mm_packus_epi16(
                _mm256_castsi256_si128(self.0), _mm256_extracti128_si256::<1>(self.0)
            ));
            splat(word: i16) -> Self = Vector(_mm256_set1_epi16(word));
            splat32(value: i32) -> Self = Vector(_mm256_set1_epi32(value));
            is_zero(self) -> bool = _mm256_testz_si256(self.0, self.0) == 1;
            shift_left<N>(self) -> Self = Vector(_mm256_slli_epi16::<N>(self.0));
            shift_right<N>(self) -> Self = Vector(_mm256_srai_epi16::<N>(self.0));
            shift_right32<N>(self) -> Self = Vector(_mm256_srai_epi32::<N>(self.0));
        }
        binary! { |a, b| 0;
            and = _mm256_and_si256(a, b);
            or = _mm256_or_si256(a, b);
            adds = _mm256_adds_epi16(a, b);
            subs = _mm256_subs_epi16(a, b);
            scale = _mm256_mulhrs_epi16(a, b);
            min = _mm256_min_epi16(a, b);
            max = _mm256_max_epi16(a, b);
            madd = _mm256_madd_epi16(a, b);
            add32 = _mm256_add_epi32(a, b);
            sub32 = _mm256_sub_epi32(a, b);
            pack32 = _mm256_packs_epi32(a, b);
            zip_low16 = _mm256_unpacklo_epi16(a, b);
            zip_high16 = _mm256_unpackhi_epi16(a, b);
            zip_low32 = _mm256_unpacklo_epi32(a, b);
            zip_high32 = _mm256_unpackhi_epi32(a, b);
            zip_low64 = _mm256_unpacklo_epi64(a, b);
            zip_high64 = _mm256_unpackhi_epi64(a, b);
        }
    }
}

#[cfg(target_arch = "aarch64")]
pub use neon::Vector;

#[cfg(target_arch = "aarch64")]
mod neon {
    use std::arch::aarch64::{vreinterpretq_s16_s32 as words, vreinterpretq_s32_s16 as values, *};

    use super::*;

    /// A vector for each half.
    #[derive(Clone, Copy)]
    #[repr(C)]
    pub struct Vector(int16x8_t, int16x8_t);

    impl Vector {
        methods! {
            load(words: &[i16; 16]) -> Self = transmute::<[i16; 16], Vector>(*words);
            store(self) -> [i16; 16] = transmute::<Vector, [i16; 16]>(self);
            halves(first: &[i16; 8], second: &[i16; 8]) -> Self =
                transmute::<[[i16; 8]; 2], Vector>([*first, *second]);
            widen(bytes: &[u8; 16]) -> Self = {
                let bytes = transmute::<[u8; 16], uint8x16_t>(*bytes);
                let (low, high) = (vmovl_u8(vget_low_u8(bytes)), vmovl_high_u8(bytes));
                Vector(vreinterpretq_s16_u16(low), vreinterpretq_s16_u16(high))
            };
            to_bytes(self) -> [u8; 16] =
                transmute::<uint8x16_t, [u8; 16]>(vqmovun_high_s16(vqmovun_s16(self.0), self.1));
            splat(word: i16) -> Self = Vector(vdupq_n_s16(word), vdupq_n_s16(word));
            splat32(value: i32) -> Self = Vector(words(vdupq_n_s32(value)), words(vdupq_n_s32(value)));
            is_zero(self) -> bool = vmaxvq_u16(vreinterpretq_u16_s16(vorrq_s16(self.0, self.1))) == 0;
            shift_left<N>(self) -> Self = Vector(vshlq_n_s16::<N>(self.0), vshlq_n_s16::<N>(self.1));
            shift_right<N>(self) -> Self = Vector(vshrq_n_s16::<N>(self.0), vshrq_n_s16::<N>(self.1));
            shift_right32<N>(self) -> Self =
                Vector(words(vshrq_n_s32::<N>(values(self.0))), words(vshrq_n_s32::<N>(values(self.1))));
        }
        binary! { |a, b| 0 | 1;
            and = vandq_s16(a, b);
            or = vorrq_s16(a, b);
            adds = vqaddq_s16(a, b);
            subs = vqsubq_s16(a, b);
            scale = vqrdmulhq_s16(a, b);
            min = vminq_s16(a, b);
            max = vmaxq_s16(a, b);
            madd = words(vpaddq_s32(vmull_s16(vget_low_s16(a), vget_low_s16(b)), vmull_high_s16(a, b)));
            add32 = words(vaddq_s32(values(a), values(b)));
            sub32 = words(vsubq_s32(values(a), values(b)));
            pack32 = vqmovn_high_s32(vqmovn_s32(values(a)), values(b));
            zip_low16 = vzip1q_s16(a, b);
            zip_high16 = vzip2q_s16(a, b);
            zip_low32 = words(vzip1q_s32(values(a), values(b)));
            zip_high32 = words(vzip2q_s32(values(a), values(b)));
            zip_low64 = vreinterpretq_s16_s64(vzip1q_s64(vreinterpretq_s64_s16(a), vreinterpretq_s64_s16(b)));
            zip_high64 = vreinterpretq_s16_s64(vzip2q_s64(vreinterpretq_s64_s16(a), vreinterpretq_s64_s16(b)));
        }
    }
}

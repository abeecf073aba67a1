//! Vectors of 16 words of 16 bits in two halves of 8, for the kernels in `picture::idct` and `resize::rows`.
//!
//! Conversions are transmutes between types of one size, of which every bit pattern is valid.

use std::array::from_fn;

/// Operations named `..32` see 8 signed values of 32 bits instead. A zip takes from the low or high part of
/// each half in turn; the number is that of the bits that stay together.
pub trait Words: Copy {
    fn load(words: &[i16; 16]) -> Self;
    fn store(self) -> [i16; 16];
    fn halves(first: &[i16; 8], second: &[i16; 8]) -> Self;
    fn widen(bytes: &[u8; 16]) -> Self;
    /// Limits each word to a byte.
    fn to_bytes(self) -> [u8; 16];
    fn splat(word: i16) -> Self;
    fn splat32(value: i32) -> Self;
    fn is_zero(self) -> bool;
    fn shift_left<const N: i32>(self) -> Self;
    fn shift_right<const N: i32>(self) -> Self;
    fn shift_right32<const N: i32>(self) -> Self;
    fn and(self, other: Self) -> Self;
    fn or(self, other: Self) -> Self;
    /// Sum and difference, limited to 16 bits.
    fn adds(self, other: Self) -> Self;
    fn subs(self, other: Self) -> Self;
    /// `self * other / 32768`, rounded.
    fn scale(self, other: Self) -> Self;
    fn min(self, other: Self) -> Self;
    fn max(self, other: Self) -> Self;
    /// Sums of the products of two neighbours, in 32 bits.
    fn madd(self, other: Self) -> Self;
    fn add32(self, other: Self) -> Self;
    fn sub32(self, other: Self) -> Self;
    /// In each half four values of `self` and four of `other`, limited to 16 bits.
    fn pack32(self, other: Self) -> Self;
    fn zip_low16(self, other: Self) -> Self;
    fn zip_high16(self, other: Self) -> Self;
    fn zip_low32(self, other: Self) -> Self;
    fn zip_high32(self, other: Self) -> Self;
    fn zip_low64(self, other: Self) -> Self;
    fn zip_high64(self, other: Self) -> Self;

    /// The words `even` and `odd` in turn.
    #[inline(always)]
    fn splat_pair(even: i16, odd: i16) -> Self {
        Self::splat32(i32::from(odd) << 16 | i32::from(even as u16))
    }
}

/// Methods as a table: name, arguments, result, expression.
macro_rules! methods {
    ($($name:ident$(<$n:ident>)?($($arg:ident$(: $kind:ty)?),*) -> $out:ty = $body:expr;)*) => {$(
        #[inline(always)]
        #[allow(unused_unsafe)]
        fn $name$(<const $n: i32>)?($($arg$(: $kind)?),*) -> $out {
            // SAFETY: `super` makes vectors only where the processor has the instructions. Transmutes are
            // between types of one size without invalid bit patterns.
            unsafe { $body }
        }
    )*};
}

/// Methods of two vectors as a table: macro that applies an operation, name and operation.
macro_rules! binary {
    ($apply:ident: $($name:ident = $op:path;)*) => {$(
        #[inline(always)]
        #[allow(unused_unsafe)]
        fn $name(self, other: Self) -> Self {
            // SAFETY: as for `methods`.
            unsafe { $apply!($op, self, other) }
        }
    )*};
}

/// Plain code, for processors without other vectors and as the measure of those.
#[derive(Clone, Copy)]
pub struct Plain([i16; 16]);

impl Plain {
    fn values(self) -> [i32; 8] {
        from_fn(|i| i32::from(self.0[2 * i + 1]) << 16 | i32::from(self.0[2 * i] as u16))
    }

    fn from_values(values: [i32; 8]) -> Plain {
        Plain(from_fn(|i| (values[i / 2] >> (16 * (i % 2))) as i16))
    }

    /// `size`: words that stay together. `from`: 0 for the low part of each half, 4 for the high part.
    fn zip(a: [i16; 16], b: [i16; 16], size: usize, from: usize) -> Plain {
        Plain(from_fn(|i| {
            let (half, i) = (i / 8 * 8, i % 8);
            let source = if i / size % 2 == 0 { a } else { b };
            source[half + from + i / size / 2 * size + i % size]
        }))
    }
}

/// Methods of two plain vectors as a table: name and operation on words, or on values of 32 bits.
macro_rules! plain {
    ($($name:ident = $words:expr;)* 32: $($name32:ident = $values:expr;)*) => {
        $(fn $name(self, other: Self) -> Self {
            let operation: fn(i16, i16) -> i16 = $words;
            Plain(from_fn(|i| operation(self.0[i], other.0[i])))
        })*
        $(fn $name32(self, other: Self) -> Self {
            let (a, b) = (self.values(), other.values());
            let operation: fn(i32, i32) -> i32 = $values;
            Plain::from_values(from_fn(|i| operation(a[i], b[i])))
        })*
    };
}

impl Words for Plain {
    methods! {
        load(words: &[i16; 16]) -> Self = Plain(*words);
        store(self) -> [i16; 16] = self.0;
        halves(first: &[i16; 8], second: &[i16; 8]) -> Self = Plain(from_fn(|i| [first, second][i / 8][i % 8]));
        widen(bytes: &[u8; 16]) -> Self = Plain(bytes.map(i16::from));
        to_bytes(self) -> [u8; 16] = self.0.map(|word| word.clamp(0, 255) as u8);
        splat(word: i16) -> Self = Plain([word; 16]);
        splat32(value: i32) -> Self = Plain::from_values([value; 8]);
        is_zero(self) -> bool = self.0 == [0; 16];
        shift_left<N>(self) -> Self = Plain(self.0.map(|word| word << N));
        shift_right<N>(self) -> Self = Plain(self.0.map(|word| word >> N));
        shift_right32<N>(self) -> Self = Plain::from_values(self.values().map(|value| value >> N));
        zip_low16(self, other: Self) -> Self = Plain::zip(self.0, other.0, 1, 0);
        zip_high16(self, other: Self) -> Self = Plain::zip(self.0, other.0, 1, 4);
        zip_low32(self, other: Self) -> Self = Plain::zip(self.0, other.0, 2, 0);
        zip_high32(self, other: Self) -> Self = Plain::zip(self.0, other.0, 2, 4);
        zip_low64(self, other: Self) -> Self = Plain::zip(self.0, other.0, 4, 0);
        zip_high64(self, other: Self) -> Self = Plain::zip(self.0, other.0, 4, 4);
        pack32(self, other: Self) -> Self = {
            let source = [self.values(), other.values()];
            Plain(from_fn(|i| source[i / 4 % 2][i / 8 * 4 + i % 4].clamp(i16::MIN.into(), i16::MAX.into()) as i16))
        };
        madd(self, other: Self) -> Self = {
            let product = |i: usize| i32::from(self.0[i]) * i32::from(other.0[i]);
            Plain::from_values(from_fn(|i| product(2 * i).wrapping_add(product(2 * i + 1))))
        };
    }
    plain! {
        and = |a, b| a & b;
        or = |a, b| a | b;
        adds = i16::saturating_add;
        subs = i16::saturating_sub;
        scale = |a, b| ((((i32::from(a) * i32::from(b)) >> 14) + 1) >> 1) as i16;
        min = Ord::min;
        max = Ord::max;
        32:
        add32 = i32::wrapping_add;
        sub32 = i32::wrapping_sub;
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub use Plain as Vector;

#[cfg(target_arch = "x86_64")]
pub use avx2::Vector;

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::*;
    use std::mem::transmute;

    use super::*;

    #[derive(Clone, Copy)]
    pub struct Vector(__m256i);

    macro_rules! apply {
        ($operation:path, $a:expr, $b:expr) => {
            Vector($operation($a.0, $b.0))
        };
    }

    impl Words for Vector {
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
        binary! { apply:
            and = _mm256_and_si256;
            or = _mm256_or_si256;
            adds = _mm256_adds_epi16;
            subs = _mm256_subs_epi16;
            scale = _mm256_mulhrs_epi16;
            min = _mm256_min_epi16;
            max = _mm256_max_epi16;
            madd = _mm256_madd_epi16;
            add32 = _mm256_add_epi32;
            sub32 = _mm256_sub_epi32;
            pack32 = _mm256_packs_epi32;
            zip_low16 = _mm256_unpacklo_epi16;
            zip_high16 = _mm256_unpackhi_epi16;
            zip_low32 = _mm256_unpacklo_epi32;
            zip_high32 = _mm256_unpackhi_epi32;
            zip_low64 = _mm256_unpacklo_epi64;
            zip_high64 = _mm256_unpackhi_epi64;
        }
    }
}

#[cfg(target_arch = "aarch64")]
pub use neon::Vector;

#[cfg(target_arch = "aarch64")]
mod neon {
    use std::arch::aarch64::*;
    use std::mem::transmute;

    use super::*;

    /// A vector for each half.
    #[derive(Clone, Copy)]
    #[repr(C)]
    pub struct Vector(int16x8_t, int16x8_t);

    macro_rules! apply {
        ($operation:path, $a:expr, $b:expr) => {
            Vector($operation($a.0, $b.0), $operation($a.1, $b.1))
        };
    }

    /// Applies a function to both halves.
    #[inline(always)]
    fn each(vector: Vector, function: impl Fn(int16x8_t) -> int16x8_t) -> Vector {
        Vector(function(vector.0), function(vector.1))
    }

    /// Applies an operation on values of 32 bits to both halves.
    #[inline(always)]
    fn each32(a: Vector, b: Vector, operation: impl Fn(int32x4_t, int32x4_t) -> int32x4_t) -> Vector {
        // SAFETY: NEON belongs to AArch64.
        #[allow(unused_unsafe)]
        let half =
            |a, b| unsafe { vreinterpretq_s16_s32(operation(vreinterpretq_s32_s16(a), vreinterpretq_s32_s16(b))) };
        Vector(half(a.0, b.0), half(a.1, b.1))
    }

    impl Words for Vector {
        methods! {
            load(words: &[i16; 16]) -> Self = transmute::<[i16; 16], Vector>(*words);
            store(self) -> [i16; 16] = transmute::<Vector, [i16; 16]>(self);
            halves(first: &[i16; 8], second: &[i16; 8]) -> Self = transmute::<[[i16; 8]; 2], Vector>([*first, *second]);
            widen(bytes: &[u8; 16]) -> Self = {
                let bytes = transmute::<[u8; 16], uint8x16_t>(*bytes);
                let words = [vmovl_u8(vget_low_u8(bytes)), vmovl_high_u8(bytes)];
                Vector(vreinterpretq_s16_u16(words[0]), vreinterpretq_s16_u16(words[1]))
            };
            to_bytes(self) -> [u8; 16] =
                transmute::<uint8x16_t, [u8; 16]>(vqmovun_high_s16(vqmovun_s16(self.0), self.1));
            splat(word: i16) -> Self = Vector(vdupq_n_s16(word), vdupq_n_s16(word));
            splat32(value: i32) -> Self = each(Vector::splat(0), |_| vreinterpretq_s16_s32(vdupq_n_s32(value)));
            is_zero(self) -> bool = vmaxvq_u16(vreinterpretq_u16_s16(vorrq_s16(self.0, self.1))) == 0;
            shift_left<N>(self) -> Self = each(self, |half| vshlq_n_s16::<N>(half));
            shift_right<N>(self) -> Self = each(self, |half| vshrq_n_s16::<N>(half));
            shift_right32<N>(self) -> Self = each32(self, self, |half, _| vshrq_n_s32::<N>(half));
            madd(self, other: Self) -> Self = {
                let half = |a, b| {
                    let low = vmull_s16(vget_low_s16(a), vget_low_s16(b));
                    vreinterpretq_s16_s32(vpaddq_s32(low, vmull_high_s16(a, b)))
                };
                Vector(half(self.0, other.0), half(self.1, other.1))
            };
            add32(self, other: Self) -> Self = each32(self, other, |a, b| vaddq_s32(a, b));
            sub32(self, other: Self) -> Self = each32(self, other, |a, b| vsubq_s32(a, b));
            pack32(self, other: Self) -> Self = {
                let half = |a, b| {
                    vqmovn_high_s32(vqmovn_s32(vreinterpretq_s32_s16(a)), vreinterpretq_s32_s16(b))
                };
                Vector(half(self.0, other.0), half(self.1, other.1))
            };
            zip_low32(self, other: Self) -> Self = each32(self, other, |a, b| vzip1q_s32(a, b));
            zip_high32(self, other: Self) -> Self = each32(self, other, |a, b| vzip2q_s32(a, b));
            zip_low64(self, other: Self) -> Self = transmute::<[int64x2_t; 2], Vector>([
                vzip1q_s64(vreinterpretq_s64_s16(self.0), vreinterpretq_s64_s16(other.0)),
                vzip1q_s64(vreinterpretq_s64_s16(self.1), vreinterpretq_s64_s16(other.1)),
            ]);
            zip_high64(self, other: Self) -> Self = transmute::<[int64x2_t; 2], Vector>([
                vzip2q_s64(vreinterpretq_s64_s16(self.0), vreinterpretq_s64_s16(other.0)),
                vzip2q_s64(vreinterpretq_s64_s16(self.1), vreinterpretq_s64_s16(other.1)),
            ]);
        }
        binary! { apply:
            and = vandq_s16;
            or = vorrq_s16;
            adds = vqaddq_s16;
            subs = vqsubq_s16;
            scale = vqrdmulhq_s16;
            min = vminq_s16;
            max = vmaxq_s16;
            zip_low16 = vzip1q_s16;
            zip_high16 = vzip2q_s16;
        }
    }
}

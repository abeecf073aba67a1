//! The only module with `unsafe`. Three uses, each sound by a check in the same function or file:
//!
//! * calls of functions with a target feature: AVX2 is detected at run time, NEON belongs to AArch64;
//! * transmutes between arrays and vectors of one size (`words`);
//! * reads of memory that others may change, by atomic loads (`shared`).
//!
//! The kernels themselves are safe code over `words::Words`, written once for all processors.
#![allow(unsafe_code)]

pub mod shared;
pub mod words;

use self::words::Vector;
use crate::picture::{idct, Kernel};
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
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $kind:ty),*);)*) => {$(
        $(#[$doc])*
        pub fn $name($($arg: $kind),*) {
            #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2"))]
            fn vectors($($arg: $kind),*) {
                rows::$name::<Vector>($($arg),*);
            }
            if simd() != "none" {
                // SAFETY: AVX2 was detected. Other processors enable no feature here.
                #[allow(unused_unsafe)]
                unsafe { vectors($($arg),*) }
            }
        }
    )*};
}

dispatch! {
    vertical(ring: Ring, first: usize, weights: &[i16], out: &mut [i16]);
    horizontal(columns: &[i16], axis: &Axis, out: &mut [i16]);
    /// Rows must be a multiple of 8, columns of 16.
    transpose(samples: &[i16], stride: usize, out: &mut [i16], out_stride: usize, size: (usize, usize));
    /// Rows must have multiples of 16 pixels, as for the next two.
    ycbcr_rows(ycbcr: [&[u8]; 3], rgb: [&mut [i16]; 3]);
    pack_grey(row: &[i16], pixels: &mut [u8]);
    pack_rgb(rows: [&[i16]; 3], pixels: &mut [u8]);
}

#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2"))]
fn transform<const W: usize, const H: usize>(values: &[i16], pixels: &mut [u8], stride: usize) {
    idct::transform::<Vector, W, H>(values, pixels, stride);
}

/// The kernel for W x H pixels.
pub fn idct_kernel<const W: usize, const H: usize>() -> Kernel {
    |values, pixels, stride| {
        if simd() != "none" {
            // SAFETY: AVX2 was detected. Other processors enable no feature here.
            #[allow(unused_unsafe)]
            unsafe {
                transform::<W, H>(values, pixels, stride)
            }
        }
    }
}

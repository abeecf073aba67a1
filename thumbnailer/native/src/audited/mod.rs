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

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::picture::{idct, Kernel};
use crate::resize::axis::Axis;
use crate::resize::rows::{self, Ring};

static PORTABLE: AtomicBool = AtomicBool::new(false);

/// Switches the vector code off or on for the whole process: for tests.
pub fn force_portable(portable: bool) {
    PORTABLE.store(portable, Relaxed);
}

/// Instruction sets in use: "avx2", "neon" or "portable".
pub fn simd() -> &'static str {
    if has_vectors() {
        if cfg!(target_arch = "x86_64") {
            "avx2"
        } else {
            "neon"
        }
    } else {
        "portable"
    }
}

#[inline]
fn has_vectors() -> bool {
    #[cfg(target_arch = "x86_64")]
    let detected = is_x86_feature_detected!("avx2");
    #[cfg(not(target_arch = "x86_64"))]
    let detected = cfg!(target_arch = "aarch64");
    detected && !PORTABLE.load(Relaxed)
}

/// Defines functions that run a kernel with vectors where they exist, else in plain code.
macro_rules! dispatch {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $kind:ty),*);)*) => {$(
        $(#[$doc])*
        #[inline]
        pub fn $name($($arg: $kind),*) {
            #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2"))]
            fn vectors($($arg: $kind),*) {
                rows::$name::<words::Vector>($($arg),*);
            }
            if has_vectors() {
                // SAFETY: `has_vectors` has detected AVX2. Other processors enable no feature here.
                #[allow(unused_unsafe)]
                return unsafe { vectors($($arg),*) };
            }
            rows::$name::<words::Plain>($($arg),*);
        }
    )*};
}

dispatch! {
    vertical(ring: Ring, first: usize, weights: &[i16], out: &mut [i16]);
    horizontal(columns: &[i16], axis: &Axis, out: &mut [i16]);
    ycbcr_rows(ycbcr: [&[u8]; 3], rgb: [&mut [i16]; 3]);
    pack_row(rows: &[&[i16]], pixels: &mut [u8]);
    /// Rows must be a multiple of 8, columns of 16.
    transpose(samples: &[i16], stride: usize, out: &mut [i16], out_stride: usize, size: (usize, usize));
}

#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2"))]
fn transform<const W: usize, const H: usize>(values: &[i16], pixels: &mut [u8], stride: usize) {
    idct::transform::<words::Vector, W, H>(values, pixels, stride);
}

/// The kernel for W x H pixels.
pub fn idct_kernel<const W: usize, const H: usize>() -> Kernel {
    if !has_vectors() {
        return idct::transform::<words::Plain, W, H>;
    }
    // SAFETY: `has_vectors` has detected AVX2. Other processors enable no feature here.
    #[allow(unused_unsafe)]
    |values, pixels, stride| unsafe { transform::<W, H>(values, pixels, stride) }
}

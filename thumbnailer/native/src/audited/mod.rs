//! The only module with `unsafe`. Three uses, each sound by a check in the same function:
//!
//! * calls of functions with a target feature: SSE2 belongs to x86-64, AVX2 is detected at run time;
//! * transmutes between arrays and vectors of one size (`vectors`);
//! * reads of memory that others may change, by atomic loads (`shared`).
//!
//! The kernels themselves (`idct`, `rows`) are safe code. Each gives the same bits as the plain code, which
//! serves all other processors.
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
mod idct;
#[cfg(target_arch = "x86_64")]
mod rows;
pub mod shared;
#[cfg(target_arch = "x86_64")]
mod vectors;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::colour;
use crate::idct::{portable, Kernel};
use crate::resize::axis::Axis;
use crate::resize::rows::{self as plain, Ring};

static PORTABLE: AtomicBool = AtomicBool::new(false);

/// Switches the vector code off or on for the whole process: for tests.
pub fn force_portable(portable: bool) {
    PORTABLE.store(portable, Relaxed);
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2") && !PORTABLE.load(Relaxed)
}

/// Instruction sets in use: "avx2", "sse2" or "portable".
pub fn simd() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    return match (has_avx2(), PORTABLE.load(Relaxed)) {
        (true, _) => "avx2",
        (_, false) => "sse2",
        _ => "portable",
    };
    #[cfg(not(target_arch = "x86_64"))]
    "portable"
}

/// The kernel for W x H pixels.
pub fn idct_kernel<const W: usize, const H: usize>() -> Kernel {
    #[cfg(target_arch = "x86_64")]
    if !PORTABLE.load(Relaxed) {
        return |block, last, out, stride| {
            // SAFETY: SSE2 belongs to x86-64.
            unsafe { idct::block::<W, H>(block, last, out, stride) }
        };
    }
    portable::block::<W, H>
}

/// Defines a function that calls its AVX2 version where there is one, else the plain one.
macro_rules! dispatch {
    ($(#[$doc:meta])* $name:ident, $plain:path, ($($arg:ident: $kind:ty),*)) => {
        $(#[$doc])*
        #[inline]
        pub fn $name($($arg: $kind),*) {
            #[cfg(target_arch = "x86_64")]
            if has_avx2() {
                // SAFETY: AVX2 was detected.
                return unsafe { rows::$name($($arg),*) };
            }
            $plain($($arg),*)
        }
    };
}

dispatch!(vertical, plain::vertical, (ring: Ring, first: usize, weights: &[i16], out: &mut [i16]));
dispatch!(horizontal, plain::horizontal, (columns: &[i16], axis: &Axis, out: &mut [i16]));
dispatch!(ycbcr_rows, colour::ycbcr_rows, (ycbcr: [&[u8]; 3], rgb: [&mut [i16]; 3]));
dispatch!(pack_row, colour::pack_row, (rows: [&[i16]; 3], pixels: &mut [u8]));
dispatch!(
    /// Rows and columns must be multiples of 8.
    transpose,
    plain::transpose,
    (samples: &[i16], stride: usize, out: &mut [i16], out_stride: usize, size: (usize, usize))
);

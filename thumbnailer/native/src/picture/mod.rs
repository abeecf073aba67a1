//! From coefficients to rows of samples.
//!
//! A kernel is an inverse DCT (A.3.3) of another size: the W x H low coefficients of a block give W x H pixels.
//! Up to 8 pixels in a direction a kernel reads as many coefficients as pixels, beyond that all 8.
#![forbid(unsafe_code)]

pub mod bands;
pub mod basis;
pub mod idct;
pub mod layout;
pub mod store;

use crate::audited::transform;

/// Arguments: coefficients of a row of blocks and `store::SURPLUS` more, pixels from the corner of the first
/// block on, length of a row of pixels. A kernel may write up to 8 bytes beyond its last pixel of a row.
pub type Kernel = fn(&[i16], &mut [u8], usize);

/// A dequantised coefficient beyond this is damage: those of 8-bit samples stay within 1024 and half a
/// quantisation step. libjpeg's samples wrap around somewhere above, so that the decoders would differ.
pub const MAX_COEFFICIENT: i32 = 2048;

/// The kernel of a block size that `Layout` makes.
pub fn kernel(across: usize, down: usize) -> Kernel {
    macro_rules! sizes {
        ($($w:literal x $h:literal),*) => {
            match (across, down) {
                (1, 1) => idct::small::<1, 1>,
                (2, 1) => idct::small::<2, 1>,
                (1, 2) => idct::small::<1, 2>,
                (2, 2) => idct::small::<2, 2>,
                $(($w, $h) => transform::<$w, $h>,)*
                _ => transform::<8, 8>,
            }
        };
    }
    sizes!(
        4 x 2, 2 x 4, 4 x 4, 3 x 3, 6 x 3, 3 x 6, 6 x 6, 8 x 4, 4 x 8, 5 x 5, 10 x 5, 5 x 10, 10 x 10,
        12 x 6, 6 x 12, 12 x 12
    )
}

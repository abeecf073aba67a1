//! Inverse DCTs (A.3.3) of other sizes: the W x H low coefficients of a block give W x H pixels.
//!
//! Up to 8 pixels in a direction a kernel reads as many coefficients as pixels, beyond that all 8.
#![forbid(unsafe_code)]

pub mod basis;
pub mod portable;

use crate::audited;

/// Dequantised coefficients, row by row. The second half takes the coefficients that are not needed.
pub type Block = [i16; 128];

/// Arguments: coefficients, zigzag index of the last one that is set, pixels from the block's corner on,
/// length of a row. A kernel may write up to 8 bytes beyond its last pixel of a row.
pub type Kernel = fn(&Block, u32, &mut [u8], usize);

/// Fraction bits of the basis; bits dropped after the vertical and after the horizontal pass.
pub const DROP_1: u32 = 11;
pub const DROP_2: u32 = 18;
/// Rounding of the passes. The second one also adds 128.
pub const ROUND_1: i32 = 1 << (DROP_1 - 1);
pub const ROUND_2: i32 = (1 << (DROP_2 - 1)) + (128 << DROP_2);
/// Blocks without coefficients beyond this zigzag index have 4 x 4 low coefficients at most.
pub const LOW_LAST: u32 = 9;

/// A dequantised coefficient beyond this is damage: those of 8-bit samples stay within 1024 and half a
/// quantisation step. libjpeg's samples wrap around somewhere above, so that the decoders would differ.
pub const MAX_COEFFICIENT: i32 = 2048;

/// The pixel of a block with one coefficient.
#[inline(always)]
pub fn flat_pixel(dc: i32) -> u8 {
    ((dc.wrapping_add(4) >> 3).wrapping_add(128)).clamp(0, 255) as u8
}

#[inline(always)]
pub fn write_row<const W: usize>(pixels: [u8; W], out: &mut [u8], at: usize) {
    if let Some(row) = out.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<W>()) {
        *row = pixels;
    }
}

#[inline(always)]
pub fn fill<const W: usize, const H: usize>(dc: i16, out: &mut [u8], stride: usize) {
    for row in 0..H {
        write_row([flat_pixel(dc.into()); W], out, row * stride);
    }
}

fn one(block: &Block, _last: u32, out: &mut [u8], stride: usize) {
    fill::<1, 1>(block[0], out, stride);
}

fn two_by_one(block: &Block, _last: u32, out: &mut [u8], _stride: usize) {
    let (a, b) = (i32::from(block[0]), i32::from(block[1]));
    write_row([flat_pixel(a + b), flat_pixel(a - b)], out, 0);
}

fn one_by_two(block: &Block, _last: u32, out: &mut [u8], stride: usize) {
    let (a, b) = (i32::from(block[0]), i32::from(block[1]));
    write_row([flat_pixel(a + b)], out, 0);
    write_row([flat_pixel(a - b)], out, stride);
}

fn two(block: &Block, _last: u32, out: &mut [u8], stride: usize) {
    let c = [0, 1, 2, 3].map(|i| i32::from(block[i]));
    let (upper, lower) = ((c[0] + c[1], c[0] - c[1]), (c[2] + c[3], c[2] - c[3]));
    write_row([flat_pixel(upper.0 + lower.0), flat_pixel(upper.1 + lower.1)], out, 0);
    write_row([flat_pixel(upper.0 - lower.0), flat_pixel(upper.1 - lower.1)], out, stride);
}

/// The kernel of a block size that `Layout` makes.
pub fn kernel(across: usize, down: usize) -> Kernel {
    macro_rules! sizes {
        ($($w:literal x $h:literal),*) => {
            match (across, down) {
                (1, 1) => one,
                (2, 1) => two_by_one,
                (1, 2) => one_by_two,
                (2, 2) => two,
                $(($w, $h) => audited::idct_kernel::<$w, $h>(),)*
                _ => audited::idct_kernel::<8, 8>(),
            }
        };
    }
    sizes!(
        4 x 2, 2 x 4, 4 x 4, 3 x 3, 6 x 3, 3 x 6, 6 x 6, 8 x 4, 4 x 8, 5 x 5, 10 x 5, 5 x 10, 10 x 10,
        12 x 6, 6 x 12, 12 x 12
    )
}

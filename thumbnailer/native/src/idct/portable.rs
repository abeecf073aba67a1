//! The transforms in plain code. Every vector version gives the same bits.
#![forbid(unsafe_code)]

use super::basis::BASIS;
use super::{fill, write_row, Block, DROP_1, DROP_2, ROUND_1, ROUND_2};

pub fn block<const W: usize, const H: usize>(block: &Block, last: u32, out: &mut [u8], stride: usize) {
    if last == 0 {
        return fill::<W, H>(block[0], out, stride);
    }
    for y in 0..H {
        write_row(horizontal::<W>(&vertical::<W, H>(block, y)), out, y * stride);
    }
}

/// Row y after the vertical pass.
#[inline(always)]
fn vertical<const W: usize, const H: usize>(block: &Block, y: usize) -> [i16; 8] {
    let wide = W.min(8);
    let mut sums = [ROUND_1; 8];
    for v in 0..H.min(8) {
        let weight = i32::from(BASIS[H][y][v]);
        for u in 0..wide {
            sums[u] = sums[u].wrapping_add(weight * i32::from(block[v * wide + u]));
        }
    }
    sums.map(|sum| (sum >> DROP_1).clamp(i16::MIN.into(), i16::MAX.into()) as i16)
}

#[inline(always)]
fn horizontal<const W: usize>(row: &[i16; 8]) -> [u8; W] {
    let mut pixels = [0; W];
    for (x, pixel) in pixels.iter_mut().enumerate() {
        let mut sum = ROUND_2;
        for u in 0..W.min(8) {
            sum = sum.wrapping_add(i32::from(BASIS[W][x][u]) * i32::from(row[u]));
        }
        *pixel = (sum >> DROP_2).clamp(0, 255) as u8;
    }
    pixels
}

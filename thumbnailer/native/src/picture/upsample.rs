//! Rows of subsampled components at the width of the picture.

use super::layout::Plane;
use crate::memory::Memory;

pub struct Upsampler {
    h: usize,
    v: usize,
    smooth: bool,
    row: Vec<u8>,
    sums: Vec<i16>,
}

impl Upsampler {
    pub fn new(plane: &Plane, memory: &mut Memory) -> Upsampler {
        let (h, v) = plane.stretch;
        let width = if h * v == 1 { 0 } else { plane.width };
        let sums = memory.buffer(if plane.smooth { width } else { 0 });
        Upsampler { h, v, smooth: plane.smooth, row: memory.buffer(h * width + 16), sums }
    }

    /// Row `y` of the picture. `samples`: the rows of the component.
    pub fn row<'a>(&'a mut self, samples: impl Fn(usize) -> &'a [u8], y: usize) -> &'a [u8] {
        let near = y / self.v;
        if self.h * self.v == 1 {
            return samples(near);
        }
        if self.smooth {
            let odd = y % self.v;
            let far = if self.v == 1 { near } else { (near + odd).saturating_sub(1 - odd) };
            self.triangle(samples(near), samples(far), odd as i16);
        } else {
            for (group, sample) in self.row.chunks_exact_mut(self.h).zip(samples(near)) {
                group.fill(*sample);
            }
        }
        &self.row
    }

    /// libjpeg's triangle filter: 3/4 of the nearest sample, 1/4 of the next nearest, in each direction that
    /// is halved. `odd`: the row is an odd one.
    fn triangle(&mut self, near: &[u8], far: &[u8], odd: i16) {
        for ((sum, near), far) in self.sums.iter_mut().zip(near).zip(far) {
            *sum = if self.v == 2 { 3 * i16::from(*near) + i16::from(*far) } else { i16::from(*near) };
        }
        let row = &mut self.row[..self.h * self.sums.len()];
        match (self.h, self.v) {
            (2, 2) => widen_row::<4>(&self.sums, [8, 7], [8, 7], row),
            (2, _) => widen_row::<2>(&self.sums, [0, 0], [1, 2], row),
            _ => {
                for (pixel, sum) in row.iter_mut().zip(&self.sums) {
                    *pixel = ((sum + 1 + odd) >> 2) as u8;
                }
            }
        }
    }
}

/// Two pixels a sample. `edge` and `round`: what is added to the left and to the right pixel at the ends of
/// the row and in the row.
fn widen_row<const SHIFT: u32>(sums: &[i16], edge: [i16; 2], round: [i16; 2], row: &mut [u8]) {
    let ([first, .., last], [left_edge, inner @ .., right_edge]) = (sums, row) else { return };
    *left_edge = ((4 * first + edge[0]) >> SHIFT) as u8;
    *right_edge = ((4 * last + edge[1]) >> SHIFT) as u8;
    for ((left, right), pixels) in sums.iter().zip(&sums[1..]).zip(inner.chunks_exact_mut(2)) {
        pixels[0] = ((3 * left + right + round[1]) >> SHIFT) as u8;
        pixels[1] = ((3 * right + left + round[0]) >> SHIFT) as u8;
    }
}

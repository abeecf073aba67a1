//! Rows of subsampled components at the width of the picture.

use super::layout::Plane;
use crate::memory::Memory;

pub struct Upsampler {
    h: usize,
    v: usize,
    smooth: bool,
    row: Vec<u8>,
    /// A row between two copies of its ends.
    sums: Vec<i16>,
}

impl Upsampler {
    pub fn new(plane: &Plane, memory: &mut Memory) -> Upsampler {
        let (h, v) = plane.stretch;
        let width = if h * v == 1 { 0 } else { plane.width };
        let sums = memory.buffer(if plane.smooth { width + 2 } else { 0 });
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
        let end = self.sums.len() - 1;
        for ((sum, near), far) in self.sums[1..end].iter_mut().zip(near).zip(far) {
            *sum = if self.v == 2 { 3 * i16::from(*near) + i16::from(*far) } else { i16::from(*near) };
        }
        (self.sums[0], self.sums[end]) = (self.sums[1], self.sums[end - 1]);
        match (self.h, self.v) {
            (2, 2) => self.widen::<4>([8, 7]),
            (2, _) => self.widen::<2>([1, 2]),
            _ => {
                for (pixel, sum) in self.row.iter_mut().zip(&self.sums[1..end]) {
                    *pixel = ((sum + 1 + odd) >> 2) as u8;
                }
            }
        }
    }

    /// Two pixels a sample. `round`: what is added to the left and to the right one.
    fn widen<const SHIFT: u32>(&mut self, round: [i16; 2]) {
        for (pixels, sums) in self.row.chunks_exact_mut(2).zip(self.sums.windows(3)) {
            pixels[0] = ((3 * sums[1] + sums[0] + round[0]) >> SHIFT) as u8;
            pixels[1] = ((3 * sums[1] + sums[2] + round[1]) >> SHIFT) as u8;
        }
    }
}

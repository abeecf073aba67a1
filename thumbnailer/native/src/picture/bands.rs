//! The pixels of one row of MCUs, and their way to the resizer.

use super::layout::{Layout, Plane};
use super::store::Store;
use super::{kernel, Kernel};
use crate::file::frame::ColourModel;
use crate::memory::Memory;
use crate::resize::Resizer;

/// Kernels write up to 8 bytes beyond a block.
const SURPLUS: usize = 8;

/// Samples of one component: a row of MCUs below the last row of the MCUs before it.
struct Band {
    plane: Plane,
    stride: usize,
    kernel: Kernel,
    pixels: Vec<u8>,
    /// Row of the component at the top of the row of MCUs.
    top: usize,
    /// A row stretched to the width of the picture, and its samples between two copies of their ends.
    stretched: Vec<u8>,
    sums: Vec<i16>,
}

impl Band {
    fn new(plane: &Plane, memory: &mut Memory) -> Band {
        let stride = plane.blocks_wide * plane.across + SURPLUS;
        let width = if plane.stretch == (1, 1) { 0 } else { plane.width };
        Band {
            plane: plane.clone(),
            stride,
            kernel: kernel(plane.across, plane.down),
            pixels: memory.buffer(stride * (plane.rows() + 1) + SURPLUS + 16),
            top: 0,
            stretched: memory.buffer(plane.stretch.0 * width + 16),
            sums: memory.buffer(if plane.smooth { width + 2 } else { 0 }),
        }
    }

    /// Row `y` of the picture, padded to 16 pixels.
    fn row(&mut self, y: usize) -> &[u8] {
        let (plane, (h, v)) = (&self.plane, self.plane.stretch);
        let samples = |y: usize| {
            let start = (y.min(plane.height - 1) + 1 - self.top) * self.stride;
            &self.pixels[start..start + plane.width.next_multiple_of(16)]
        };
        let (near, odd) = (y / v, y % v);
        if (h, v) == (1, 1) {
            return samples(near);
        }
        if plane.smooth {
            let far = if v == 1 { near } else { (near + odd).saturating_sub(1 - odd) };
            add_rows(samples(near), samples(far), v == 2, &mut self.sums);
            triangle(&self.sums, (h, v), odd as i16, &mut self.stretched);
        } else {
            for (group, sample) in self.stretched.chunks_exact_mut(h).zip(samples(near)) {
                group.fill(*sample);
            }
        }
        &self.stretched
    }

    fn keep_last_row(&mut self) {
        let last = self.plane.rows() * self.stride;
        self.pixels.copy_within(last..last + self.stride, 0);
        self.top += self.plane.rows();
    }
}

pub struct Bands {
    bands: Vec<Band>,
    pub resizer: Resizer,
    colour: ColourModel,
    /// The upsampling needs the row below.
    looks_ahead: bool,
    /// Next row of the picture for the resizer.
    next: usize,
    /// Rows of the picture whose MCUs are complete, rows in a row of MCUs, and all rows.
    complete: usize,
    rows: usize,
    height: usize,
}

impl Bands {
    pub fn new(layout: &Layout, colour: ColourModel, resizer: Resizer, memory: &mut Memory) -> Bands {
        Bands {
            bands: layout.planes.iter().map(|plane| Band::new(plane, memory)).collect(),
            resizer,
            colour,
            looks_ahead: layout.planes.iter().any(|plane| plane.smooth && plane.stretch.1 > 1),
            next: 0,
            complete: 0,
            rows: layout.rows,
            height: layout.height,
        }
    }

    /// Transforms row `row` of the MCUs in the stores and hands its pixels to the resizer. The last row of pixels
    /// waits for the next row of MCUs if the upsampling needs the row below.
    pub fn take_row(&mut self, stores: &[Store], row: usize) {
        for (band, store) in self.bands.iter_mut().zip(stores) {
            for y in 0..band.plane.v {
                let pixels = &mut band.pixels[(y * band.plane.down + 1) * band.stride..];
                (band.kernel)(store.row(row * band.plane.v + y), pixels, band.stride);
            }
        }
        self.complete = (self.complete + self.rows).min(self.height);
        let end = self.complete - usize::from(self.looks_ahead && self.complete < self.height);
        for y in self.next..end {
            match &mut self.bands[..] {
                [a, b, c] => self.resizer.push(&[a.row(y), b.row(y), c.row(y)], self.colour),
                bands => bands.iter_mut().for_each(|grey| self.resizer.push(&[grey.row(y)], self.colour)),
            }
        }
        self.next = end;
        self.bands.iter_mut().for_each(Band::keep_last_row);
    }
}

/// The vertical part of libjpeg's triangle filter, if rows are `halved`: 3/4 of the nearest sample and 1/4 of the next
/// nearest, times 4.
fn add_rows(near: &[u8], far: &[u8], halved: bool, sums: &mut [i16]) {
    let end = sums.len() - 1;
    for ((sum, near), far) in sums[1..end].iter_mut().zip(near).zip(far) {
        *sum = if halved { 3 * i16::from(*near) + i16::from(*far) } else { i16::from(*near) };
    }
    (sums[0], sums[end]) = (sums[1], sums[end - 1]);
}

/// The horizontal part, and libjpeg's rounding. `odd`: the row is an odd one.
fn triangle(sums: &[i16], stretch: (usize, usize), odd: i16, row: &mut [u8]) {
    match stretch {
        (2, 2) => widen::<4>(sums, [8, 7], row),
        (2, _) => widen::<2>(sums, [1, 2], row),
        _ => {
            for (pixel, sum) in row.iter_mut().zip(&sums[1..sums.len() - 1]) {
                *pixel = ((sum + 1 + odd) >> 2) as u8;
            }
        }
    }
}

/// Two pixels a sample. `round`: what is added to the left and to the right one.
fn widen<const SHIFT: u32>(sums: &[i16], round: [i16; 2], row: &mut [u8]) {
    for (pixels, sums) in row.chunks_exact_mut(2).zip(sums.windows(3)) {
        pixels[0] = ((3 * sums[1] + sums[0] + round[0]) >> SHIFT) as u8;
        pixels[1] = ((3 * sums[1] + sums[2] + round[1]) >> SHIFT) as u8;
    }
}

//! The pixels of one row of MCUs, and their way to the resizer.

use super::layout::{Layout, Plane};
use super::store::Store;
use super::upsample::Upsampler;
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
    upsampler: Upsampler,
}

impl Band {
    fn new(plane: &Plane, memory: &mut Memory) -> Band {
        let stride = plane.blocks_wide * plane.across + SURPLUS;
        let pixels = memory.buffer(stride * (plane.rows() + 1) + SURPLUS + 16);
        let (kernel, upsampler) = (kernel(plane.across, plane.down), Upsampler::new(plane, memory));
        Band { plane: plane.clone(), stride, kernel, pixels, top: 0, upsampler }
    }

    /// Row `y` of the picture, padded to 16 pixels.
    fn row(&mut self, y: usize) -> &[u8] {
        let row = |y: usize| {
            let start = (y.min(self.plane.height - 1) + 1 - self.top) * self.stride;
            &self.pixels[start..start + self.plane.width.next_multiple_of(16)]
        };
        self.upsampler.row(row, y)
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

//! The pixels of one row of MCUs, and their way to the resizer.

use super::layout::{Layout, Plane};
use super::store::{Store, SURPLUS};
use super::upsample::Upsampler;
use super::{kernel, Kernel};
use crate::file::frame::ColourModel;
use crate::memory::Memory;
use crate::resize::Resizer;

/// Samples of one component: a row of MCUs below the last row of the MCUs before it.
struct Band {
    /// Rows of blocks and rows of samples in a row of MCUs, rows of a block.
    v: usize,
    rows: usize,
    down: usize,
    stride: usize,
    kernel: Kernel,
    pixels: Vec<u8>,
    /// Row of the component at the top of the row of MCUs.
    top: usize,
    /// Rows and columns that belong to the picture.
    height: usize,
    width: usize,
    upsampler: Upsampler,
}

impl Band {
    fn new(plane: &Plane, memory: &mut Memory) -> Band {
        let (rows, stride) = (plane.v * plane.down, plane.blocks_wide * plane.across + SURPLUS);
        Band {
            v: plane.v,
            rows,
            down: plane.down,
            stride,
            kernel: kernel(plane.across, plane.down),
            pixels: memory.buffer(stride * (rows + 1) + SURPLUS),
            top: 0,
            height: plane.height,
            width: plane.width,
            upsampler: Upsampler::new(plane, memory),
        }
    }

    /// Transforms the blocks of a row of MCUs.
    fn fill(&mut self, store: &Store, mcu_row: usize) {
        for row in 0..self.v {
            let start = (row * self.down + 1) * self.stride;
            (self.kernel)(store.row(mcu_row * self.v + row), &mut self.pixels[start..], self.stride);
        }
    }

    /// Row `y` of the picture: at the picture's width or a little more.
    fn row(&mut self, y: usize) -> &[u8] {
        let row = |y: usize| {
            let start = (y.min(self.height - 1) + 1 - self.top) * self.stride;
            &self.pixels[start..start + self.width]
        };
        self.upsampler.row(row, y)
    }

    fn keep_last_row(&mut self) {
        let last = self.rows * self.stride;
        self.pixels.copy_within(last..last + self.stride, 0);
        self.top += self.rows;
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

    /// Transforms a row of MCUs and hands its rows to the resizer. The last row waits for the next row of
    /// MCUs if the upsampling needs the row below.
    pub fn push(&mut self, stores: &[Store], mcu_row: usize) {
        for (band, store) in self.bands.iter_mut().zip(stores) {
            band.fill(store, mcu_row);
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

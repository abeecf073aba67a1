//! The pixels of one row of MCUs, and their way to the resizer.
#![forbid(unsafe_code)]

use crate::frame::ColourModel;
use crate::idct::{kernel, Block, Kernel};
use crate::layout::{Layout, Plane};
use crate::resize::Resizer;
use crate::scan::sequential::{BlockCoder, Position, Sink};
use crate::upsample::Upsampler;

/// Kernels write up to 8 bytes beyond a block.
const SURPLUS: usize = 8;

/// Samples of one component: a row of MCUs below the last row of the MCUs before it.
pub struct Band {
    pub stride: usize,
    rows: usize,
    across: usize,
    down: usize,
    kernel: Kernel,
    pixels: Vec<u8>,
    /// Row of the component at the top of the row of MCUs.
    pub top: usize,
    /// Rows and columns that belong to the picture.
    pub height: usize,
    pub width: usize,
}

impl Band {
    fn new(plane: &Plane) -> Band {
        let stride = plane.blocks_wide * plane.across + SURPLUS;
        Band {
            stride,
            rows: plane.rows(),
            across: plane.across,
            down: plane.down,
            kernel: kernel(plane.across, plane.down),
            pixels: vec![128; stride * (plane.rows() + 1) + SURPLUS],
            top: 0,
            height: plane.height,
            width: plane.width,
        }
    }

    fn bytes(plane: &Plane) -> usize {
        (plane.blocks_wide * plane.across + SURPLUS) * (plane.rows() + 1) + SURPLUS
    }

    /// Row of the component, limited to the picture. Must lie in this row of MCUs or just above it.
    #[inline]
    pub fn row(&self, y: usize) -> &[u8] {
        let start = (y.min(self.height - 1) + 1 - self.top) * self.stride;
        &self.pixels[start..start + self.width]
    }

    fn keep_last_row(&mut self) {
        let last = self.rows * self.stride;
        self.pixels.copy_within(last..last + self.stride, 0);
        self.top += self.rows;
    }
}

pub struct Bands {
    bands: Vec<Band>,
    upsampler: Upsampler,
    pub resizer: Resizer,
    colour: ColourModel,
    /// Next row of the picture for the resizer.
    next: usize,
    /// Rows of the picture whose MCUs are complete, and all rows.
    complete: usize,
    rows: usize,
    height: usize,
}

impl Bands {
    pub fn new(layout: &Layout, colour: ColourModel, resizer: Resizer) -> Bands {
        Bands {
            bands: layout.planes.iter().map(Band::new).collect(),
            upsampler: Upsampler::new(layout),
            resizer,
            colour,
            next: 0,
            complete: 0,
            rows: layout.rows,
            height: layout.height,
        }
    }

    pub fn bytes(layout: &Layout) -> usize {
        layout.planes.iter().map(Band::bytes).sum::<usize>() + Upsampler::bytes(layout)
    }

    /// Pixels from a row of the row of MCUs on, and the length of a row.
    pub fn block_row(&mut self, plane: usize, row: usize) -> (&mut [u8], usize) {
        let band = &mut self.bands[plane];
        (&mut band.pixels[(row + 1) * band.stride..], band.stride)
    }

    /// Hands the rows of a complete row of MCUs to the resizer. The last row waits for the next row of MCUs
    /// if the upsampling needs the row below.
    pub fn finish_row(&mut self) {
        self.complete = (self.complete + self.rows).min(self.height);
        let wait = usize::from(self.upsampler.needs_row_below && self.complete < self.height);
        for y in self.next..self.complete - wait {
            self.upsampler.prepare(&self.bands, y);
            let rows = [0, 1, 2].map(|i| match self.bands.get(i) {
                Some(band) => self.upsampler.row(i, band, y),
                None => &[],
            });
            self.resizer.push(&rows[..self.bands.len()], self.colour);
        }
        self.next = self.complete - wait;
        for band in &mut self.bands {
            band.keep_last_row();
        }
    }
}

impl Sink for Bands {
    #[inline(always)]
    fn single_samples(&mut self, coder: &BlockCoder, mcu: usize, row: usize) -> Option<&mut [u8]> {
        let band = &mut self.bands[coder.plane];
        if band.across * band.down != 1 {
            return None;
        }
        let blocks = coder.blocks_across();
        let start = (row + 1) * band.stride + mcu * blocks;
        band.pixels.get_mut(start..start + blocks)
    }

    #[inline(always)]
    fn block(&mut self, coder: &BlockCoder, at: Position, block: &Block, last: u32) {
        let band = &mut self.bands[coder.plane];
        let start = (at.row * band.down + 1) * band.stride + at.x * band.across;
        if let Some(pixels) = band.pixels.get_mut(start..) {
            (band.kernel)(block, last, pixels, band.stride);
        }
    }

    fn end_row(&mut self) {
        self.finish_row();
    }
}

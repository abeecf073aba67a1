//! What a picture will cost, from its header alone.
#![forbid(unsafe_code)]

use crate::bands::Bands;
use crate::coefficients::{needs_history, Store};
use crate::error::{Error, Error::Doubtful, Result};
use crate::frame::{ColourModel, Frame, ScanHeader};
use crate::layout::Layout;
use crate::reader::READER_BYTES;
use crate::resize::request::{Request, Stored};
use crate::resize::{self, Input, Step};

/// Huffman tables of four numbers and two classes, the tables that build them, and segments.
const TABLE_BYTES: usize = 320 << 10;
/// A byte of entropy-coded data holds no more blocks than this: a progressive scan codes 32,768 blocks
/// without coefficients in about 4 bytes, but its DC scan takes a bit a block.
const MAX_BLOCKS_PER_BYTE: usize = 64;
const BLOCK_SLACK: usize = 4096;

#[derive(Debug, Clone)]
pub struct Plan {
    /// N of N/8.
    pub scale: usize,
    /// Bytes that are allocated at any time at most, the pixels of the targets included.
    pub bytes: usize,
    pub layout: Layout,
    pub targets: Vec<Stored>,
    pub steps: Vec<Step>,
    pub input: Input,
    /// All scans of the file must be read before the first pixel is known.
    pub buffered: bool,
}

impl Plan {
    /// Plans a request. `scan` is the first one; `size` the length of the file.
    pub fn new(
        frame: &Frame, scan: &ScanHeader, size: usize, request: &Request, colour: ColourModel,
    ) -> Result<Plan> {
        let targets = request.stored(frame.width, frame.height)?;
        let scale = request.choose_scale(&targets)?;
        let layout = Layout::new(frame, scale);
        check_blocks(&layout, size)?;
        let input = Input {
            width: layout.width,
            height: layout.height,
            scale: scale as f64 / 8.0,
            channels: if colour == ColourModel::Grey { 1 } else { 3 },
        };
        let steps = resize::steps(&targets, &input, (frame.width, frame.height));
        let buffered = frame.progressive || scan.components.len() < frame.components.len();
        let mut plan = Plan { scale, bytes: 0, layout, targets, steps, input, buffered };
        plan.bytes = plan.count_bytes(frame.progressive);
        if plan.bytes > request.max_bytes {
            return Err(Error::TooLarge(plan.bytes));
        }
        Ok(plan)
    }

    fn count_bytes(&self, progressive: bool) -> usize {
        let stores: usize = if self.buffered {
            let history = |plane| needs_history(plane, self.scale, progressive);
            self.layout.planes.iter().map(|plane| Store::bytes(plane, history(plane))).sum()
        } else {
            0
        };
        let resize = resize::bytes(&self.steps, &self.input, self.input.channels);
        let work = TABLE_BYTES + READER_BYTES + Bands::bytes(&self.layout) + stores + resize;
        work.max(self.copy_bytes())
    }

    /// All pictures, and a copy of the largest one: Python takes them one by one after the work.
    fn copy_bytes(&self) -> usize {
        let sizes = || self.targets.iter().map(|t| t.width * t.height * self.input.channels);
        sizes().sum::<usize>() + sizes().max().unwrap_or(0)
    }
}

/// A short file cannot hold a huge picture.
fn check_blocks(layout: &Layout, size: usize) -> Result<()> {
    let blocks: usize = layout.planes.iter().map(|plane| plane.blocks()).sum();
    if blocks / MAX_BLOCKS_PER_BYTE > size + BLOCK_SLACK {
        return Err(Doubtful("more blocks than the file can hold"));
    }
    Ok(())
}

//! What a picture will cost, from its header alone.
#![forbid(unsafe_code)]

use crate::audited::simd;
use crate::entropy::reader::READER_BYTES;
use crate::error::{ensure, require, Error, Result};
use crate::file::frame::{ColourModel, Frame, ScanHeader};
use crate::memory::Memory;
use crate::picture::bands::Bands;
use crate::picture::layout::{Layout, Plane};
use crate::picture::store::Store;
use crate::resize::request::{Request, GRAPHIC_RATIO, MIN_RATIO};
use crate::resize::{self, Resizer, Step};

/// Huffman tables of four numbers and two classes, the tables that build them, and segments.
const TABLE_BYTES: usize = 320 << 10;
/// A byte of entropy-coded data holds no more blocks than this: a progressive scan codes 32,768 blocks
/// without coefficients in about 4 bytes, but its DC scan takes a bit a block.
const MAX_BLOCKS_PER_BYTE: usize = 64;
const BLOCK_SLACK: usize = 4096;

#[derive(Debug, Clone)]
pub struct Plan {
    /// N of N/8, and the same if the picture turns out to be text or a drawing.
    pub scale: usize,
    pub graphic_scale: usize,
    /// Bytes that are allocated at any time at most, the pixels of the targets included.
    pub bytes: usize,
    pub layout: Layout,
    /// All scans of the file must be read before the first pixel is known.
    pub buffered: bool,
    steps: Vec<Step>,
    orientation: u8,
    pub frame: Frame,
    pub colour: ColourModel,
}

impl Plan {
    /// Plans a request. `scan` is the first one; `size` the length of the file.
    pub fn new(frame: Frame, scan: &ScanHeader, size: usize, request: &Request, colour: ColourModel) -> Result<Plan> {
        require(simd() != "none", "processor")?;
        let targets = request.stored(frame.width, frame.height)?;
        let scale = request.choose_scale(&targets, MIN_RATIO)?;
        let layout = Layout::new(&frame, scale);
        let blocks: usize = layout.planes.iter().map(Plane::blocks).sum();
        ensure(blocks / MAX_BLOCKS_PER_BYTE <= size + BLOCK_SLACK, "more blocks than the file can hold")?;
        let steps = resize::steps(&targets, &layout, (frame.width, frame.height));
        let graphic_scale = request.choose_scale(&targets, GRAPHIC_RATIO).unwrap_or(scale);
        let orientation = request.orientation;
        let buffered = frame.progressive || scan.components.len() < frame.components.len();
        let mut plan = Plan { scale, graphic_scale, bytes: 0, layout, buffered, steps, orientation, frame, colour };
        plan.bytes = plan.count_bytes();
        if plan.bytes > request.max_bytes {
            return Err(Error::TooLarge(plan.bytes));
        }
        Ok(plan)
    }

    /// The bytes of the work, or of all pictures and a copy of the largest one, if those are more: Python
    /// takes the pictures one by one after the work.
    fn count_bytes(&self) -> usize {
        let mut memory = Memory { bytes: TABLE_BYTES + READER_BYTES, dry: true };
        self.build(&mut memory);
        let channels = self.layout.planes.len();
        let sizes = || self.steps.iter().map(|step| step.horizontal.out * step.vertical.out * channels);
        memory.bytes.max(sizes().sum::<usize>() + sizes().max().unwrap_or(0))
    }

    /// Makes the stores of all components and the way from there to the targets.
    pub fn build(&self, memory: &mut Memory) -> (Vec<Store>, Bands) {
        let history = self.frame.progressive && self.scale > 1;
        let planes = &self.layout.planes;
        let stores = planes.iter().map(|plane| Store::new(plane, self.buffered, history, memory)).collect();
        let resizer = Resizer::new(&self.steps, &self.layout, self.orientation, memory);
        (stores, Bands::new(&self.layout, self.colour, resizer, memory))
    }
}

//! Coefficients of a strip of MCUs, or of a whole picture if its scans do not hold complete blocks.

use std::ops::Range;

use super::layout::Plane;
use crate::memory::Memory;

/// Coefficients behind the last block: kernels read up to 8 of them, `Block` shows up to 63.
pub const SURPLUS: usize = 64;

/// MCUs that are decoded before they are transformed: their coefficients stay in the first cache.
pub const STRIP: usize = 16;

/// Levels of sharp detail that text and drawings exceed: screenshots have 15 to 40 (root mean square of the upper
/// three quarters of the frequencies), photos at most 9.
const GRAPHIC_LEVELS: u64 = 12;

/// Sharp detail of a sample of blocks: sum of squares of coefficients.
#[derive(Default)]
pub struct Detail {
    pub energy: u64,
    pub blocks: u64,
}

impl Detail {
    /// True for text and drawings.
    pub fn is_graphic(&self) -> bool {
        self.blocks > 0 && self.energy > GRAPHIC_LEVELS * GRAPHIC_LEVELS * 64 * self.blocks
    }
}

/// A block and what lies behind it. Positions are masked, so that no access needs a bounds check.
pub type Block = [i16; 64];

/// Dequantised coefficients of one component: those that the scale needs, block by block.
pub struct Store {
    pub blocks_wide: usize,
    /// Coefficients kept of a block.
    per_block: usize,
    values: Vec<i16>,
    /// Bit k of a block: zigzag index k is not zero. Empty if no scan refines.
    history: Vec<u64>,
    pub detail: Detail,
}

impl Store {
    /// `whole`: for the whole picture, not for a strip.
    pub fn new(plane: &Plane, whole: bool, history: bool, memory: &mut Memory) -> Store {
        let strip = (STRIP * plane.h, plane.v);
        let (blocks_wide, rows) = if whole { (plane.blocks_wide, plane.blocks_high) } else { strip };
        let (blocks, per_block) = (rows * blocks_wide, plane.coefficients());
        Store {
            blocks_wide,
            per_block,
            values: memory.buffer(blocks * per_block + SURPLUS),
            history: memory.buffer(if history { blocks } else { 0 }),
            detail: Detail::default(),
        }
    }

    #[inline(always)]
    pub fn block(&mut self, index: usize) -> Option<&mut Block> {
        self.values.get_mut(index * self.per_block..)?.first_chunk_mut()
    }

    #[inline(always)]
    pub fn set_dc(&mut self, index: usize, value: i16) {
        if let Some(place) = self.values.get_mut(index * self.per_block) {
            *place = value;
        }
    }

    /// Blocks of which the scale needs one coefficient.
    #[inline(always)]
    pub fn single_values(&mut self, blocks: Range<usize>) -> &mut [i16] {
        self.values.get_mut(blocks).unwrap_or_default()
    }

    /// A block and its non-zero coefficients.
    #[inline(always)]
    pub fn block_with_history<'a>(
        &'a mut self, index: usize, none: &'a mut u64,
    ) -> Option<(&'a mut Block, &'a mut u64)> {
        let values = self.values.get_mut(index * self.per_block..)?.first_chunk_mut()?;
        Some((values, self.history.get_mut(index).unwrap_or(none)))
    }

    /// The first blocks of a row, and `SURPLUS` coefficients more.
    pub fn row(&self, row: usize, blocks: usize) -> &[i16] {
        let start = row * self.blocks_wide * self.per_block;
        &self.values[start..start + blocks * self.per_block + SURPLUS]
    }

    pub fn clear(&mut self) {
        self.values.fill(0);
    }
}

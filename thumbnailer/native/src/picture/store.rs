//! Coefficients of a row of MCUs, or of a whole picture if its scans do not hold complete blocks.

use super::layout::Plane;
use crate::memory::Memory;

/// Coefficients behind the last block: kernels read up to 8 of them, `Block` shows up to 63.
pub const SURPLUS: usize = 64;

/// Levels of sharp detail that text and drawings exceed: screenshots have 15 to 40 (root mean square of the upper
/// three quarters of the frequencies), photos at most 9.
const GRAPHIC_LEVELS: u64 = 12;

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
    /// Sharp detail of a sample of blocks: sum of squares of coefficients.
    pub energy: u64,
    pub sampled: u64,
}

impl Store {
    /// `whole`: for the whole picture, not for a row of MCUs.
    pub fn new(plane: &Plane, whole: bool, history: bool, memory: &mut Memory) -> Store {
        let rows = if whole { plane.blocks_high } else { plane.v };
        let (blocks, per_block) = (rows * plane.blocks_wide, plane.coefficients());
        Store {
            blocks_wide: plane.blocks_wide,
            per_block,
            values: memory.buffer(blocks * per_block + SURPLUS),
            history: memory.buffer(if history { blocks } else { 0 }),
            energy: 0,
            sampled: 0,
        }
    }

    /// True for text and drawings.
    pub fn is_graphic(&self) -> bool {
        self.sampled > 0 && self.energy > GRAPHIC_LEVELS * GRAPHIC_LEVELS * 64 * self.sampled
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

    /// A block and its non-zero coefficients.
    #[inline(always)]
    pub fn block_with_history<'a>(
        &'a mut self, index: usize, none: &'a mut u64,
    ) -> Option<(&'a mut Block, &'a mut u64)> {
        let values = self.values.get_mut(index * self.per_block..)?.first_chunk_mut()?;
        Some((values, self.history.get_mut(index).unwrap_or(none)))
    }

    /// A row of blocks, and `SURPLUS` coefficients more.
    pub fn row(&self, row: usize) -> &[i16] {
        let size = self.blocks_wide * self.per_block;
        &self.values[row * size..(row + 1) * size + SURPLUS]
    }

    pub fn clear(&mut self) {
        self.values.fill(0);
    }
}

//! Coefficients of a row of MCUs, or of a whole picture if its scans do not hold complete blocks.

use super::layout::Plane;
use crate::memory::Memory;

/// Kernels read up to 8 coefficients beyond a block.
pub const SURPLUS: usize = 8;

/// Dequantised coefficients of one component: those that the scale needs, block by block.
pub struct Store {
    pub blocks_wide: usize,
    /// Coefficients kept of a block.
    per_block: usize,
    values: Vec<i16>,
    /// Bit k of a block: zigzag index k is not zero. Empty if no scan refines.
    history: Vec<u64>,
}

impl Store {
    /// `rows`: rows of blocks.
    pub fn new(plane: &Plane, rows: usize, history: bool, memory: &mut Memory) -> Store {
        let (blocks, per_block) = (rows * plane.blocks_wide, plane.coefficients());
        Store {
            blocks_wide: plane.blocks_wide,
            per_block,
            values: memory.buffer(blocks * per_block + SURPLUS),
            history: memory.buffer(if history { blocks } else { 0 }),
        }
    }

    #[inline(always)]
    pub fn block(&mut self, index: usize) -> Option<&mut [i16]> {
        let start = index * self.per_block;
        self.values.get_mut(start..start + self.per_block)
    }

    /// A block and its non-zero coefficients.
    #[inline(always)]
    pub fn block_with_history<'a>(
        &'a mut self, index: usize, none: &'a mut u64,
    ) -> Option<(&'a mut [i16], &'a mut u64)> {
        let start = index * self.per_block;
        let values = self.values.get_mut(start..start + self.per_block)?;
        Some((values, self.history.get_mut(index).unwrap_or(none)))
    }

    /// A row of blocks and `SURPLUS` coefficients more.
    pub fn row(&self, row: usize) -> &[i16] {
        let length = self.blocks_wide * self.per_block;
        &self.values[row * length..(row + 1) * length + SURPLUS]
    }

    pub fn clear(&mut self) {
        self.values.fill(0);
    }
}

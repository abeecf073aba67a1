//! Coefficients of a whole picture, for files whose scans do not hold complete blocks.
#![forbid(unsafe_code)]

use crate::bands::Bands;
use crate::error::Result;
use crate::idct::{flat_pixel, kernel, Block};
use crate::layout::{Layout, Plane};
use crate::scan::sequential::{BlockCoder, Position, Sink};
use crate::scan::Damage;
use crate::tables::QuantTable;

/// Blocks of one component.
pub struct Store {
    pub blocks_wide: usize,
    /// Coefficients kept of a block.
    pub per_block: usize,
    pub values: Vec<i16>,
    /// Bit k of a block: zigzag index k is not zero. Empty if no scan refines.
    pub history: Vec<u64>,
}

/// Whether refinement scans will be decoded.
pub fn needs_history(plane: &Plane, scale: usize, progressive: bool) -> bool {
    progressive && scale > 1 && plane.last > 0
}

impl Store {
    pub fn new(plane: &Plane, history: bool) -> Store {
        Store {
            blocks_wide: plane.blocks_wide,
            per_block: plane.coefficients(),
            values: vec![0; plane.blocks() * plane.coefficients()],
            history: vec![0; if history { plane.blocks() } else { 0 }],
        }
    }

    pub fn bytes(plane: &Plane, history: bool) -> usize {
        plane.blocks() * (2 * plane.coefficients() + if history { 8 } else { 0 })
    }
}

/// Puts the blocks of sequential scans into stores.
pub struct StoreSink<'a>(pub &'a mut [Store]);

impl Sink for StoreSink<'_> {
    #[inline(always)]
    fn single_samples(&mut self, _coder: &BlockCoder, _mcu: usize, _row: usize) -> Option<&mut [u8]> {
        None
    }

    #[inline(always)]
    fn block(&mut self, coder: &BlockCoder, at: Position, block: &Block, _last: u32) {
        let store = &mut self.0[coder.plane];
        let start = (at.y * store.blocks_wide + at.x) * store.per_block;
        if let Some(values) = store.values.get_mut(start..start + store.per_block) {
            values.copy_from_slice(&block[..store.per_block]);
        }
    }

    fn end_row(&mut self) {}
}

/// Dequantisation of the coefficients that are kept, in the order of the store.
struct Dequantiser {
    weights: [i32; 64],
    /// Bits that no scan has sent (dropped refinement of AC).
    missing: [u8; 64],
    any_missing: bool,
}

impl Dequantiser {
    fn new(plane: &Plane, quant: &QuantTable, low: &[u8; 64]) -> Dequantiser {
        let mut dequantiser = Dequantiser { weights: [0; 64], missing: [0; 64], any_missing: false };
        for k in 0..64 {
            let position = usize::from(plane.positions[k]);
            if position < 64 {
                dequantiser.weights[position] = quant[k].into();
                dequantiser.missing[position] = low[k];
                dequantiser.any_missing |= low[k] != 0;
            }
        }
        dequantiser
    }

    /// Returns an upper bound of the zigzag index of the last coefficient that is set: 0 or 63.
    fn block(&self, values: &[i16], block: &mut Block, damage: &mut Damage) -> u32 {
        let mut set = 0;
        for (i, value) in values.iter().enumerate() {
            let value = i32::from(*value);
            let full = if self.any_missing { self.middle(value, i) } else { value * self.weights[i] };
            damage.see(full);
            block[i] = full as i16;
            if i > 0 {
                set |= full;
            }
        }
        if set == 0 {
            0
        } else {
            63
        }
    }

    /// The middle of the interval that the missing bits leave open.
    fn middle(&self, value: i32, i: usize) -> i32 {
        let open = (1 << self.missing[i]) - 1;
        (2 * value + open * value.signum()).wrapping_mul(self.weights[i]) / 2
    }
}

/// Transforms all blocks, row of MCUs by row of MCUs. `low`: missing bits of each coefficient.
pub fn render(
    stores: &[Store], layout: &Layout, quant: &[QuantTable], low: &[[u8; 64]], bands: &mut Bands,
) -> Result<()> {
    let dequantisers: Vec<Dequantiser> =
        layout.planes.iter().zip(quant).zip(low).map(|((p, q), l)| Dequantiser::new(p, q, l)).collect();
    for mcu_row in 0..layout.mcus_high {
        for (index, plane) in layout.planes.iter().enumerate() {
            for row in 0..plane.v {
                let first = (mcu_row * plane.v + row) * plane.blocks_wide;
                let place = (index, row * plane.down);
                render_row(&stores[index], first, plane, &dequantisers[index], bands, place)?;
            }
        }
        bands.finish_row();
    }
    Ok(())
}

fn render_row(
    store: &Store, first: usize, plane: &Plane, dequantiser: &Dequantiser, bands: &mut Bands, place: (usize, usize),
) -> Result<()> {
    let per_block = store.per_block;
    let values = &store.values[first * per_block..(first + plane.blocks_wide) * per_block];
    let mut damage = Damage::default();
    let (pixels, stride) = bands.block_row(place.0, place.1);
    if per_block == 1 && plane.across == 1 && plane.down == 1 {
        for (pixel, dc) in pixels.iter_mut().zip(values) {
            let dc = i32::from(*dc) * dequantiser.weights[0];
            damage.see(dc);
            *pixel = flat_pixel(dc);
        }
        return damage.check();
    }
    let kernel = kernel(plane.across, plane.down);
    let mut block: Block = [0; 128];
    for (x, values) in values.chunks_exact(per_block).enumerate() {
        let last = dequantiser.block(values, &mut block, &mut damage);
        kernel(&block, last, &mut pixels[x * plane.across..], stride);
    }
    damage.check()
}

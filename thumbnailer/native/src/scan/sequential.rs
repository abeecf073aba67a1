//! Sequential scans (F.2): decodes the coefficients that the scale needs and skips the rest by table.
#![forbid(unsafe_code)]

use std::rc::Rc;

use super::{dc_difference, Damage, Interval};
use crate::bits::{Bits, Buffer};
use crate::error::Result;
use crate::huffman::{AcTable, Code, DcTable, SkipTable, AC_BITS, AC_END, AC_PARTIAL, SKIP_BITS};
use crate::idct::{flat_pixel, Block};
use crate::layout::Plane;
use crate::reader::Reader;
use crate::tables::QuantTable;

/// Takes decoded blocks.
pub trait Sink {
    /// The samples of one row of blocks in an MCU, if every block has one sample that needs no IDCT.
    fn single_samples(&mut self, coder: &BlockCoder, mcu: usize, row: usize) -> Option<&mut [u8]>;

    /// A block at column `x` and row `y` of the component, row `row` of the MCU. `last` is the zigzag index
    /// of the last coefficient that is set.
    fn block(&mut self, coder: &BlockCoder, at: Position, block: &Block, last: u32);

    fn end_row(&mut self);
}

#[derive(Clone, Copy)]
pub struct Position {
    pub x: usize,
    pub y: usize,
    pub row: usize,
}

/// What the blocks of one component need.
pub struct BlockCoder {
    pub plane: usize,
    /// Blocks in an MCU of this scan.
    h: usize,
    v: usize,
    coefficients: usize,
    last: u32,
    /// By zigzag index: position in the block | quantisation << 8.
    weights: [u32; 64],
    dc_weight: i32,
    tables: CoderTables,
}

/// Tables of a component for one scan.
pub struct CoderTables {
    pub dc: Rc<DcTable>,
    pub dc_code: Rc<Code>,
    pub ac: Rc<AcTable>,
    pub ac_code: Rc<Code>,
    pub skip: Option<Rc<SkipTable>>,
}

impl BlockCoder {
    /// `quant` is None if coefficients are stored and dequantised later.
    pub fn new(
        index: usize, plane: &Plane, interleaved: bool, quant: Option<&QuantTable>, tables: CoderTables,
    ) -> BlockCoder {
        let weight = |k: usize| quant.map_or(1, |table| u32::from(table[k]));
        BlockCoder {
            plane: index,
            h: if interleaved { plane.h } else { 1 },
            v: if interleaved { plane.v } else { 1 },
            coefficients: plane.coefficients(),
            last: plane.last as u32,
            weights: std::array::from_fn(|k| u32::from(plane.positions[k]) | weight(k) << 8),
            dc_weight: weight(0) as i32,
            tables,
        }
    }

    /// Blocks of a component in a row of an MCU.
    pub fn blocks_across(&self) -> usize {
        self.h
    }

    #[inline(always)]
    fn dc(&self, buffer: &Buffer, bits: &mut Bits, prediction: &mut i32, damage: &mut Damage) -> i32 {
        let difference = dc_difference(buffer, bits, &self.tables.dc, &self.tables.dc_code, &mut damage.bad);
        *prediction = prediction.wrapping_add(difference);
        let dc = prediction.wrapping_mul(self.dc_weight);
        damage.see(dc);
        dc
    }

    #[inline(always)]
    fn store(&self, k: u32, value: i32, block: &mut Block, damage: &mut Damage) {
        let weight = self.weights[k as usize & 63];
        let full = value * (weight >> 8) as i32;
        damage.see(full);
        block[weight as usize & 127] = full as i16;
    }
}

pub fn decode<S: Sink>(
    reader: &mut Reader, bits: Bits, interval: &Interval, coders: &[BlockCoder], sink: &mut S,
) -> Result<Bits> {
    let mut bits = bits;
    let mut predictions = [0i32; 4];
    let mut block: Block = [0; 128];
    let (mut x, mut y) = (interval.first % interval.wide, interval.first / interval.wide);
    let mut damage = Damage::default();
    for _ in 0..interval.count {
        if reader.is_low(&bits) {
            bits = reader.more(bits)?;
        }
        let buffer = reader.buffer();
        for (coder, prediction) in coders.iter().zip(&mut predictions) {
            bits = mcu(buffer, bits, coder, prediction, (x, y), &mut block, sink, &mut damage);
        }
        x += 1;
        if x == interval.wide {
            x = 0;
            y += 1;
            damage.check()?;
            sink.end_row();
        }
    }
    damage.check()?;
    Ok(bits)
}

/// The blocks of one component in an MCU.
#[allow(clippy::too_many_arguments)] // The hot loop: values in registers.
#[inline(always)]
fn mcu<S: Sink>(
    buffer: &Buffer, bits: Bits, coder: &BlockCoder, prediction: &mut i32, (x, y): (usize, usize),
    block: &mut Block, sink: &mut S, damage: &mut Damage,
) -> Bits {
    let mut bits = bits;
    for row in 0..coder.v {
        if let Some(samples) = sink.single_samples(coder, x, row) {
            for sample in samples {
                *sample = flat_pixel(coder.dc(buffer, &mut bits, prediction, damage));
                bits = skip_ac(buffer, bits, coder, 1, damage);
            }
            continue;
        }
        for column in 0..coder.h {
            block[0] = coder.dc(buffer, &mut bits, prediction, damage) as i16;
            let last;
            (bits, last) = ac(buffer, bits, coder, block, damage);
            let at = Position { x: x * coder.h + column, y: y * coder.v + row, row };
            sink.block(coder, at, block, last);
            if last > 0 {
                clear(block, coder.coefficients);
            }
        }
    }
    bits
}

#[inline(always)]
fn clear(block: &mut Block, coefficients: usize) {
    match coefficients {
        0..=4 => block[..4].fill(0),
        5..=16 => block[..16].fill(0),
        _ => block[..64].fill(0),
    }
}

/// AC coefficients of a block (F.2.2.2). Returns the zigzag index of the last one that is stored.
#[inline(always)]
fn ac(buffer: &Buffer, bits: Bits, coder: &BlockCoder, block: &mut Block, damage: &mut Damage) -> (Bits, u32) {
    if coder.last == 0 {
        return (skip_ac(buffer, bits, coder, 1, damage), 0);
    }
    let (mut bits, next, last) = low_ac(buffer, bits, coder, block, damage);
    if next < 64 {
        bits = skip_ac(buffer, bits, coder, next, damage);
    }
    (bits, last)
}

/// Decodes up to the last needed coefficient. Returns the next zigzag index (64 or more at the end of the
/// block) and the index of the last coefficient that is stored, or 0.
#[inline(always)]
fn low_ac(
    buffer: &Buffer, bits: Bits, coder: &BlockCoder, block: &mut Block, damage: &mut Damage,
) -> (Bits, u32, u32) {
    let mut bits = bits;
    let (mut k, mut last) = (1, 0);
    let needed = coder.last;
    let table = &*coder.tables.ac;
    loop {
        bits.refill(buffer);
        // Four short symbols take no more than 40 bits.
        for _ in 0..4 {
            let mut entry = table[bits.peek(AC_BITS)];
            if entry & AC_PARTIAL != 0 {
                entry = match long_ac(buffer, &mut bits, coder, entry, damage) {
                    Some(entry) => entry,
                    None => return (bits, 64, last),
                };
            } else {
                bits.consume(entry & 255);
                if entry & AC_END != 0 {
                    return (bits, 64, last);
                }
            }
            k += entry >> 8 & 255;
            let value = entry as i32 >> 16;
            if k > needed {
                if k == needed + 1 {
                    coder.store(needed, value, block, damage);
                    last = needed;
                }
                damage.bad |= k > 64;
                return (bits, k, last);
            }
            coder.store(k - 1, value, block, damage);
            last = k - 1;
        }
    }
}

/// A coefficient whose bits do not fit into the table's window, as a table entry. None: end of block.
#[inline(always)]
fn long_ac(buffer: &Buffer, bits: &mut Bits, coder: &BlockCoder, entry: u32, damage: &mut Damage) -> Option<u32> {
    bits.refill(buffer);
    let (mut length, mut size, mut step) = (entry & 255, entry >> 16, entry >> 8 & 63);
    if length == 0 {
        let Some(symbol) = coder.tables.ac_code.symbol(bits.peek(16) as u32) else {
            damage.bad = true;
            bits.consume(1);
            return None;
        };
        (length, size, step) = (symbol.length, symbol.value & 15, (symbol.value >> 4) + 1);
        if size == 0 && step < 16 {
            bits.consume(length);
            return None;
        }
    }
    bits.consume(length);
    let value = bits.take_value(size);
    bits.refill(buffer);
    Some((value as u32) << 16 | step << 8)
}

/// True if a step of the skip table ends the block exactly: at the last coefficient or by end of block.
#[inline(always)]
fn ends_block(k: u32) -> bool {
    k == 64 || k.wrapping_sub(129) < 63
}

/// Passes the coefficients of a block from zigzag index `k` on, several symbols a step.
#[inline(always)]
fn skip_ac(buffer: &Buffer, bits: Bits, coder: &BlockCoder, k: u32, damage: &mut Damage) -> Bits {
    let (mut bits, mut k) = (bits, k);
    let Some(table) = coder.tables.skip.as_deref() else { return bits };
    bits.refill(buffer);
    loop {
        let entry = u32::from(table[bits.peek(SKIP_BITS)]);
        let next = k + (entry >> 8);
        if next < 64 {
            bits.consume(entry & 255);
            k = next;
            let entry = u32::from(table[bits.peek(SKIP_BITS)]);
            let next = k + (entry >> 8);
            if next < 64 {
                bits.consume(entry & 255);
                k = next;
                bits.refill(buffer);
                continue;
            }
            if ends_block(next) {
                bits.consume(entry & 255);
                return bits;
            }
        } else if ends_block(next) {
            bits.consume(entry & 255);
            return bits;
        }
        match skip_one(buffer, &mut bits, coder, k, damage) {
            Some(next) => k = next,
            None => return bits,
        }
    }
}

/// Passes one symbol bit by bit. Returns the next zigzag index, or None at the end of the block.
#[inline(always)]
fn skip_one(buffer: &Buffer, bits: &mut Bits, coder: &BlockCoder, k: u32, damage: &mut Damage) -> Option<u32> {
    bits.refill(buffer);
    let Some(symbol) = coder.tables.ac_code.symbol(bits.peek(16) as u32) else {
        damage.bad = true;
        bits.consume(1);
        return None;
    };
    let (run, size) = (symbol.value >> 4, symbol.value & 15);
    bits.consume(symbol.length + size);
    if size == 0 && run < 15 {
        return None;
    }
    let next = k + run + 1;
    damage.bad |= next > 64;
    bits.refill(buffer);
    (next < 64).then_some(next)
}

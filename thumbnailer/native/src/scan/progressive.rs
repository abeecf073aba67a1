//! Progressive scans (G.1, G.2) into the coefficient store.
#![forbid(unsafe_code)]

use std::rc::Rc;

use super::progress::band;
use super::{dc_difference, Damage, Interval};
use crate::bits::{Bits, Buffer};
use crate::coefficients::Store;
use crate::error::{Error::Doubtful, Result};
use crate::huffman::{AcTable, Code, DcTable, AC_BITS, AC_END, AC_PARTIAL};
use crate::layout::Plane;
use crate::reader::Reader;

const BAD_CODE: crate::error::Error = Doubtful("invalid Huffman code");

/// A component of a DC scan.
pub struct DcComponent {
    pub index: usize,
    /// Blocks in an MCU of this scan.
    pub h: usize,
    pub v: usize,
    /// Tables of a first scan; a refinement has none.
    pub tables: Option<(Rc<DcTable>, Rc<Code>)>,
}

/// A DC scan (G.1.2.1). `FIRST`: shifted differences; otherwise one more bit of each value.
pub fn dc<const FIRST: bool>(
    reader: &mut Reader, bits: Bits, interval: &Interval, components: &[DcComponent], low: u32,
    stores: &mut [Store],
) -> Result<Bits> {
    let mut bits = bits;
    let mut predictions = [0i32; 4];
    let mut grid = Grid::new(interval);
    let mut damage = Damage::default();
    for _ in 0..interval.count {
        if reader.is_low(&bits) {
            bits = reader.more(bits)?;
        }
        let buffer = reader.buffer();
        for (component, prediction) in components.iter().zip(&mut predictions) {
            let store = &mut stores[component.index];
            for row in 0..component.v {
                for value in component.row(store, &grid, row) {
                    if FIRST {
                        let sum = prediction.wrapping_add(component.difference(buffer, &mut bits, &mut damage.bad));
                        *prediction = sum;
                        let shifted = sum.wrapping_shl(low);
                        damage.see(shifted);
                        *value = shifted as i16;
                    } else {
                        bits.refill(buffer);
                        *value |= (bits.take(1) as i16) << low;
                    }
                }
            }
        }
        grid.step();
    }
    damage.check()?;
    Ok(bits)
}

impl DcComponent {
    /// DC of the blocks in a row of an MCU.
    #[inline(always)]
    fn row<'a>(&self, store: &'a mut Store, grid: &Grid, row: usize) -> impl Iterator<Item = &'a mut i16> {
        let first = (grid.y * self.v + row) * store.blocks_wide + grid.x * self.h;
        let blocks = store.values.get_mut(first * store.per_block..).unwrap_or_default();
        blocks.iter_mut().step_by(store.per_block).take(self.h)
    }

    #[inline(always)]
    fn difference(&self, buffer: &Buffer, bits: &mut Bits, bad: &mut bool) -> i32 {
        match &self.tables {
            Some((table, code)) => dc_difference(buffer, bits, table, code, bad),
            None => 0,
        }
    }
}

/// An AC scan of one component.
pub struct AcScan<'a> {
    pub plane: &'a Plane,
    pub first: u32,
    pub last: u32,
    pub low: u32,
    pub table: Rc<AcTable>,
    pub code: Rc<Code>,
}

impl AcScan<'_> {
    #[inline(always)]
    fn set(&self, values: &mut [i16], k: u32, value: i16) {
        if self.plane.needed >> (k & 63) & 1 != 0 {
            let position = usize::from(self.plane.positions[k as usize & 63]);
            if let Some(place) = values.get_mut(position) {
                *place = value;
            }
        }
    }
}

/// Walks the MCUs of an interval.
struct Grid {
    x: usize,
    y: usize,
    wide: usize,
}

impl Grid {
    fn new(interval: &Interval) -> Grid {
        Grid { x: interval.first % interval.wide, y: interval.first / interval.wide, wide: interval.wide }
    }

    fn index(&self, store: &Store) -> usize {
        self.y * store.blocks_wide + self.x
    }

    fn step(&mut self) {
        self.x += 1;
        if self.x == self.wide {
            self.x = 0;
            self.y += 1;
        }
    }

    fn jump(&mut self, blocks: usize) {
        let x = self.x + blocks;
        self.y += x / self.wide;
        self.x = x % self.wide;
    }
}

/// First AC scan of a band (G.1.2.2).
pub fn ac_first(
    reader: &mut Reader, bits: Bits, interval: &Interval, scan: &AcScan, store: &mut Store,
) -> Result<Bits> {
    let mut bits = bits;
    let mut grid = Grid::new(interval);
    let mut left = interval.count;
    while left > 0 {
        if reader.is_low(&bits) {
            bits = reader.more(bits)?;
        }
        let index = grid.index(store);
        let end_run = first_block(reader.buffer(), &mut bits, scan, store, index)?;
        let passed = 1 + end_run as usize;
        if passed > left {
            return Err(Doubtful("run of blocks beyond the interval"));
        }
        left -= passed;
        if passed == 1 {
            grid.step();
        } else {
            grid.jump(passed);
        }
    }
    Ok(bits)
}

/// Decodes a block. Returns the number of further blocks without coefficients.
#[inline(always)]
fn first_block(buffer: &Buffer, bits: &mut Bits, scan: &AcScan, store: &mut Store, index: usize) -> Result<u32> {
    let start = index * store.per_block;
    let Some(values) = store.values.get_mut(start..start + store.per_block) else {
        return Err(Doubtful("block outside the picture"));
    };
    let (mut k, mut nonzero, mut end_run) = (scan.first, 0u64, 0);
    while k <= scan.last {
        let value = match first_symbol(buffer, bits, scan)? {
            Coded::Value(step, value) => {
                k += step;
                value
            }
            Coded::EndRun(run) => {
                end_run = run;
                break;
            }
        };
        if value == 0 {
            continue; // A run of 16 zeros.
        }
        if k > scan.last + 1 {
            return Err(BAD_CODE);
        }
        nonzero |= 1 << ((k - 1) & 63);
        scan.set(values, k - 1, (value << scan.low) as i16);
    }
    if let Some(history) = store.history.get_mut(index) {
        *history |= nonzero;
    }
    Ok(end_run)
}

/// A coefficient and the number of zigzag steps to its end, or the end of this block and of further ones.
enum Coded {
    Value(u32, i32),
    EndRun(u32),
}

#[inline(always)]
fn first_symbol(buffer: &Buffer, bits: &mut Bits, scan: &AcScan) -> Result<Coded> {
    bits.refill(buffer);
    let entry = scan.table[bits.peek(AC_BITS)];
    if entry & AC_PARTIAL == 0 {
        bits.consume(entry & 255);
        if entry & AC_END != 0 {
            return Ok(Coded::EndRun(0));
        }
        return Ok(Coded::Value(entry >> 8 & 255, entry as i32 >> 16));
    }
    let (length, run, size) = match entry & 255 {
        0 => {
            let symbol = scan.code.symbol(bits.peek(16) as u32).ok_or(BAD_CODE)?;
            (symbol.length, symbol.value >> 4, symbol.value & 15)
        }
        length => (length, (entry >> 8 & 63) - 1, entry >> 16),
    };
    bits.consume(length);
    if size == 0 && run < 15 {
        return Ok(Coded::EndRun((1 << run) - 1 + bits.take(run)));
    }
    Ok(Coded::Value(run + 1, bits.take_value(size)))
}

/// Refinement of a band (G.1.2.3).
pub fn ac_refine(
    reader: &mut Reader, bits: Bits, interval: &Interval, scan: &AcScan, store: &mut Store,
) -> Result<Bits> {
    let mut bits = bits;
    let mut grid = Grid::new(interval);
    let mut end_run = 0;
    for _ in 0..interval.count {
        if reader.is_low(&bits) {
            bits = reader.more(bits)?;
        }
        let index = grid.index(store);
        let start = index * store.per_block;
        let (Some(values), Some(history)) =
            (store.values.get_mut(start..start + store.per_block), store.history.get_mut(index))
        else {
            return Err(Doubtful("block outside the picture"));
        };
        let mut refiner = Refiner { buffer: reader.buffer(), bits, scan, values, history };
        end_run = refiner.block(end_run)?;
        bits = refiner.bits;
        grid.step();
    }
    if end_run > 0 {
        return Err(Doubtful("run of blocks beyond the interval"));
    }
    Ok(bits)
}

/// State of the refinement of one block.
struct Refiner<'a> {
    buffer: &'a Buffer,
    bits: Bits,
    scan: &'a AcScan<'a>,
    values: &'a mut [i16],
    /// Bit k: the coefficient at zigzag index k is not zero.
    history: &'a mut u64,
}

/// A new coefficient after `run` zeros; None instead of a sign for a run of 16 zeros.
struct NewValue {
    run: u32,
    negative: Option<bool>,
}

impl Refiner<'_> {
    /// Returns the blocks left of a run of blocks without new coefficients.
    #[inline(always)]
    fn block(&mut self, end_run: u32) -> Result<u32> {
        let old = *self.history & band(self.scan.first, self.scan.last);
        let (mut k, mut end_run) = (self.scan.first, end_run);
        while end_run == 0 && k <= self.scan.last {
            match self.symbol()? {
                Ok(new) => k = self.place(new, k)?,
                Err(run) => end_run = run,
            }
        }
        if end_run == 0 {
            return Ok(0);
        }
        // A coefficient set by this scan is below k.
        self.correct(old & band(k, self.scan.last));
        Ok(end_run - 1)
    }

    /// Decodes a new coefficient, or the length of a run of blocks that includes this one.
    #[inline(always)]
    fn symbol(&mut self) -> Result<std::result::Result<NewValue, u32>> {
        self.bits.refill(self.buffer);
        let entry = self.scan.table[self.bits.peek(AC_BITS)];
        if entry & (AC_PARTIAL | AC_END) == 0 {
            let value = entry as i32 >> 16;
            self.bits.consume(entry & 255);
            if value.abs() > 1 {
                return Err(BAD_CODE);
            }
            let negative = (value != 0).then_some(value < 0);
            return Ok(Ok(NewValue { run: (entry >> 8 & 255) - 1, negative }));
        }
        let symbol = self.scan.code.symbol(self.bits.peek(16) as u32).ok_or(BAD_CODE)?;
        self.bits.consume(symbol.length);
        let run = symbol.value >> 4;
        match symbol.value & 15 {
            0 if run < 15 => Ok(Err((1 << run) + self.bits.take(run))),
            0 => Ok(Ok(NewValue { run, negative: None })),
            1 => Ok(Ok(NewValue { run, negative: Some(self.bits.take(1) == 0) })),
            _ => Err(BAD_CODE),
        }
    }

    /// Corrects the coefficients from k up to the place of the new one. Returns the index behind the place.
    #[inline(always)]
    fn place(&mut self, new: NewValue, k: u32) -> Result<u32> {
        let last = self.scan.last;
        let mut zeros = !*self.history & band(k, last);
        for _ in 0..new.run {
            zeros &= zeros.wrapping_sub(1);
        }
        let place = if zeros == 0 { last + 1 } else { zeros.trailing_zeros() };
        if place > k {
            self.correct(*self.history & band(k, place - 1));
        }
        if let Some(negative) = new.negative {
            if place > last {
                return Err(BAD_CODE);
            }
            *self.history |= 1 << place;
            let value = 1i16 << self.scan.low;
            self.scan.set(self.values, place, if negative { -value } else { value });
        }
        Ok(place + 1)
    }

    /// Reads a correction bit for each coefficient of a set.
    #[inline(always)]
    fn correct(&mut self, set: u64) {
        let mut set = set;
        while set != 0 {
            // At most 48 bits at a time.
            let part = if set.count_ones() > 48 { set & 0xffff_ffff } else { set };
            self.bits.refill(self.buffer);
            let word = self.bits.peek(63) as u64;
            self.bits.consume(part.count_ones());
            self.apply(part, word);
            set &= !part;
        }
    }

    /// `word`: the correction bits of `part`, the first one at bit 62.
    #[inline(always)]
    fn apply(&mut self, part: u64, word: u64) {
        let mut wanted = part & self.scan.plane.needed;
        let step = 1i16 << self.scan.low;
        while wanted != 0 {
            let k = wanted.trailing_zeros();
            let rank = (part & ((1 << k) - 1)).count_ones();
            wanted &= wanted - 1;
            let position = usize::from(self.scan.plane.positions[k as usize & 63]);
            let Some(value) = self.values.get_mut(position) else { continue };
            if word << rank >> 62 & 1 != 0 && *value & step == 0 {
                *value = value.wrapping_add(if *value >= 0 { step } else { -step });
            }
        }
    }
}

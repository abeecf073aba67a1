//! Decodes single blocks: sequential (F.2) and progressive (G.1, G.2). Coefficients that the scale needs are
//! dequantised into the store, the rest is skipped by table.

use super::huffman::{Huffman, SkipTable, DC_BITS, END, PARTIAL, SKIP_BITS, SYMBOL_BITS};
use super::Input;
use crate::file::frame::{ScanComponent, ScanHeader};
use crate::file::QuantTable;
use crate::picture::layout::{Plane, ZIGZAG};
use crate::picture::store::{Block, Store};

/// What the blocks of one component need in one scan.
pub struct Coder<'a> {
    pub plane: usize,
    /// Blocks in an MCU of this scan.
    pub h: usize,
    pub v: usize,
    first: u32,
    /// Last zigzag index that is decoded.
    last: u32,
    /// By zigzag index: position in the block | value of the lowest bit that the scan sends << 8.
    weights: [u32; 64],
    /// Bit k: the scale needs zigzag index k.
    needed: u64,
    /// Half of what later scans could add to a coefficient; 0 if those scans are decoded.
    middles: [i32; 64],
    dc: &'a Huffman,
    ac: &'a Huffman,
    /// For the frequencies above `last` of a sequential scan.
    skip: Option<&'a SkipTable>,
}

impl<'a> Coder<'a> {
    /// `tables`: for DC and AC. `refined`: the bits below `scan.low` will be decoded.
    pub fn new(
        c: &ScanComponent, plane: &Plane, scan: &ScanHeader, quant: &QuantTable, tables: [&'a Huffman; 2],
        refined: bool,
    ) -> Coder<'a> {
        let single = scan.components.len() == 1;
        // Any value times a larger weight is out of range as well.
        let factor = |k: usize| (u32::from(quant[k]) << scan.low).min(0xffff);
        let open = if refined { 0 } else { (1 << scan.low) - 1 };
        let ([dc, ac], whole) = (tables, (scan.first, scan.last) == (0, 63));
        Coder {
            plane: c.index,
            h: if single { 1 } else { plane.h },
            v: if single { 1 } else { plane.v },
            first: scan.first.max(1),
            last: if whole { plane.last as u32 } else { scan.last },
            weights: std::array::from_fn(|k| u32::from(plane.positions[k]) | factor(k) << 8),
            middles: std::array::from_fn(|k| open * i32::from(quant[k]) / 2),
            needed: (0..64).map(|k| u64::from(plane.needs(k)) << k).sum(),
            dc,
            ac,
            skip: (whole && plane.last < 63).then(|| ac.skip()),
        }
    }

    fn weight(&self, k: u32) -> i32 {
        (self.weights[k as usize & 63] >> 8) as i32
    }

    fn position(&self, k: u32) -> usize {
        self.weights[k as usize & 63] as usize & 63
    }

    /// A whole block of a sequential scan.
    #[inline(always)]
    pub fn sequential(&self, input: &mut Input, prediction: &mut i32, store: &mut Store, index: usize) {
        let dc = self.difference(input, prediction);
        if input.state.sampled && self.plane == 0 {
            *input = self.measure::<false>(*input, store, index);
        } else {
            let next = match store.block(index) {
                Some(values) if self.last > 0 => {
                    self.coefficients::<false>(input, values, &mut 0, self.last, |_, _| ())
                }
                _ => 1,
            };
            if next < 64 {
                self.skip(input, next);
            }
        }
        store.set_dc(index, dc);
    }

    /// AC of a block of the sample, of which every coefficient is decoded.
    #[cold]
    #[inline(never)]
    fn measure<'i, const PROGRESSIVE: bool>(&self, mut input: Input<'i>, store: &mut Store, index: usize) -> Input<'i> {
        let (mut none, mut energy) = (0, 0);
        let last = if PROGRESSIVE { self.last } else { 63 };
        let Some((values, history)) = store.block_with_history(index, &mut none) else { return input };
        if input.state.end_run > 0 {
            input.state.end_run -= 1;
        } else {
            let see = |k, value| energy += sharpness(k, value);
            self.coefficients::<PROGRESSIVE>(&mut input, values, history, last, see);
        }
        store.energy += energy;
        store.sampled += u64::from(last == 63);
        input
    }

    /// DC of a first scan.
    #[inline(always)]
    pub fn dc_first(&self, input: &mut Input, prediction: &mut i32, store: &mut Store, index: usize) {
        let value = self.difference(input, prediction);
        store.set_dc(index, value);
    }

    /// One more bit of DC (G.1.2.1).
    #[inline(always)]
    pub fn dc_refine(&self, input: &mut Input, _: &mut i32, store: &mut Store, index: usize) {
        input.bits.refill(input.buffer);
        let bit = input.bits.take(1) as i32;
        if let Some(values) = store.block(index) {
            let value = i32::from(values[0]) + bit * self.weight(0);
            input.state.see(value);
            values[0] = value as i16;
        }
    }

    /// First scan of a band (G.1.2.2).
    #[inline(always)]
    pub fn ac_first(&self, input: &mut Input, _: &mut i32, store: &mut Store, index: usize) {
        if input.state.sampled && self.plane == 0 {
            *input = self.measure::<true>(*input, store, index);
            return;
        }
        if input.state.end_run > 0 {
            input.state.end_run -= 1;
            return;
        }
        let mut none = 0;
        if let Some((values, history)) = store.block_with_history(index, &mut none) {
            self.coefficients::<true>(input, values, history, self.last, |_, _| ());
        }
    }

    /// DC, dequantised (F.2.2.1).
    #[inline(always)]
    fn difference(&self, input: &mut Input, prediction: &mut i32) -> i16 {
        input.bits.refill(input.buffer);
        let entry = self.dc.symbols[input.bits.peek(DC_BITS)];
        let (mut length, mut size) = (entry & 255, entry >> 16);
        if length == 0 {
            let symbol = self.dc.symbol(input.bits.peek(16) as u32);
            input.state.bad |= symbol.is_none();
            (length, size) = symbol.unwrap_or((1, 0));
        }
        input.bits.consume(length);
        *prediction = prediction.wrapping_add(input.bits.take_value(size));
        let value = prediction.wrapping_mul(self.weight(0));
        input.state.see(value);
        value as i16
    }

    /// Puts a coefficient into its block. Returns the dequantised value.
    #[inline(always)]
    fn set<const PROGRESSIVE: bool>(
        &self, input: &mut Input, k: u32, value: i32, values: &mut Block, history: &mut u64,
    ) -> i32 {
        let mut full = value * self.weight(k);
        if PROGRESSIVE {
            full = full.wrapping_add(value.signum() * self.middles[k as usize & 63]);
            *history |= u64::from(value != 0) << (k & 63);
        }
        input.state.see(full);
        let position = self.position(k);
        if !PROGRESSIVE || position > 0 {
            values[position] = full as i16;
        }
        full
    }

    /// AC coefficients up to zigzag index `last` (F.2.2.2), each shown to `see`. Returns the next zigzag index, or
    /// 64 at the end of the block.
    #[inline(always)]
    fn coefficients<const PROGRESSIVE: bool>(
        &self, input: &mut Input, values: &mut Block, history: &mut u64, last: u32, mut see: impl FnMut(u32, i32),
    ) -> u32 {
        let mut k = self.first;
        loop {
            input.bits.refill(input.buffer);
            // Four short symbols take no more than 40 bits, the length of a run no more than 14.
            for _ in 0..4 {
                let entry = next_symbol(input, self.ac);
                if entry & END != 0 {
                    if PROGRESSIVE {
                        input.state.end_run = take_run(input, entry) - 1;
                    }
                    return 64;
                }
                k += entry >> 8 & 255;
                if k > last {
                    if k == last + 1 {
                        see(last, self.set::<PROGRESSIVE>(input, last, entry as i32 >> 16, values, history));
                    }
                    input.state.bad |= k > if PROGRESSIVE { last + 1 } else { 64 };
                    return k;
                }
                see(k - 1, self.set::<PROGRESSIVE>(input, k - 1, entry as i32 >> 16, values, history));
            }
        }
    }

    /// Passes the coefficients of a block from zigzag index `k` on, several symbols a step.
    #[inline(always)]
    fn skip(&self, input: &mut Input, mut k: u32) {
        let Some(table) = self.skip else { return };
        loop {
            input.bits.refill(input.buffer);
            // Two steps take no more than 56 bits.
            for _ in 0..2 {
                let entry = u32::from(table[input.bits.peek(SKIP_BITS)]);
                let next = k + (entry >> 8);
                if next < 64 {
                    input.bits.consume(entry & 255);
                    k = next;
                } else if next >> 6 == 2 || next == 64 {
                    // An end of block before the last coefficient, or the last coefficient.
                    return input.bits.consume(entry & 255);
                } else {
                    // A long code, or more symbols than the block holds.
                    let entry;
                    (*input, entry) = long_symbol(*input, self.ac, PARTIAL);
                    k += entry >> 8 & 255;
                    if k >= 64 {
                        input.state.bad |= k > 64 && entry & END == 0;
                        return;
                    }
                }
            }
        }
    }

    /// Refinement of a band (G.1.2.3).
    #[inline(always)]
    pub fn ac_refine(&self, input: &mut Input, _: &mut i32, store: &mut Store, index: usize) {
        let mut none = 0;
        let Some((values, history)) = store.block_with_history(index, &mut none) else { return };
        let band = u64::MAX >> (63 - self.last);
        let (mut k, mut left) = (self.first, band & u64::MAX << self.first);
        while input.state.end_run == 0 && k <= self.last {
            input.bits.refill(input.buffer);
            let entry = next_symbol(input, self.ac);
            if entry & END != 0 {
                input.state.end_run = take_run(input, entry);
                break;
            }
            // The place of the new coefficient: behind so many zeros.
            let mut zeros = !*history & left;
            for _ in 1..entry >> 8 & 255 {
                zeros &= zeros.wrapping_sub(1);
            }
            k = zeros.trailing_zeros().min(self.last + 1);
            let behind = left & u64::MAX.checked_shl(k).unwrap_or(0);
            self.correct(input, *history & left & !behind, values);
            let value = entry as i32 >> 16;
            if value != 0 {
                input.state.bad |= value.abs() > 1 || k > self.last;
                self.set::<true>(input, k, value, values, history);
            }
            left = behind & behind.wrapping_sub(1);
            k += 1;
        }
        if input.state.end_run > 0 {
            self.correct(input, *history & left, values);
            input.state.end_run -= 1;
        }
    }

    /// Reads a correction bit for each coefficient of a set.
    #[inline(always)]
    fn correct(&self, input: &mut Input, mut set: u64, values: &mut Block) {
        while set != 0 {
            // At most 48 bits at a time; the first one at bit 62.
            let part = if set.count_ones() > 48 { set & 0xffff_ffff } else { set };
            input.bits.refill(input.buffer);
            let word = input.bits.peek(63) as u64;
            input.bits.consume(part.count_ones());
            let mut wanted = part & self.needed;
            while wanted != 0 {
                let k = wanted.trailing_zeros();
                let rank = (part & ((1 << k) - 1)).count_ones();
                wanted &= wanted - 1;
                let place = &mut values[self.position(k)];
                if word << rank >> 62 & 1 != 0 {
                    let value = i32::from(*place) + i32::from(place.signum()) * self.weight(k);
                    input.state.see(value);
                    *place = value as i16;
                }
            }
            set &= !part;
        }
    }
}

/// Blocks without further coefficients, this one included (G.1.2.2). `entry`: an end of block.
#[inline(always)]
fn take_run(input: &mut Input, entry: u32) -> u32 {
    let bits = entry >> 16;
    (1 << bits) + input.bits.take(bits)
}

/// The next symbol as a table entry without `PARTIAL`. The bits must be refilled before.
#[inline(always)]
fn next_symbol(input: &mut Input, code: &Huffman) -> u32 {
    let mut entry = code.symbols[input.bits.peek(SYMBOL_BITS)];
    if entry & PARTIAL != 0 {
        (*input, entry) = long_symbol(*input, code, entry);
    } else {
        input.bits.consume(entry & 255);
    }
    entry
}

/// A symbol whose code or value does not fit into the table's window, as a table entry. Refills the bits. Takes
/// the input by value, so that the callers keep theirs in registers.
#[cold]
#[inline(never)]
fn long_symbol<'i>(mut input: Input<'i>, code: &Huffman, entry: u32) -> (Input<'i>, u32) {
    input.bits.refill(input.buffer);
    let (mut length, mut size, mut step) = (entry & 255, entry >> 16, entry >> 8 & 63);
    if length == 0 {
        let Some((bits, symbol)) = code.symbol(input.bits.peek(16) as u32) else {
            input.state.bad = true;
            input.bits.consume(1);
            return (input, END);
        };
        (length, size, step) = (bits, symbol & 15, (symbol >> 4) + 1);
        if size == 0 && step < 16 {
            input.bits.consume(length);
            return (input, END | (step - 1) << 16);
        }
    }
    input.bits.consume(length);
    let value = input.bits.take_value(size);
    input.bits.refill(input.buffer);
    (input, (value as u32) << 16 | step << 8)
}

/// The square of a coefficient in the upper half of the frequencies in a direction; 0 for others.
fn sharpness(k: u32, value: i32) -> u64 {
    let is_sharp = ZIGZAG[k as usize & 63] & 0b100_100 != 0;
    u64::from(is_sharp) * u64::from(value.unsigned_abs().wrapping_pow(2))
}

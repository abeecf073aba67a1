//! Decodes single blocks: sequential (F.2) and progressive (G.1, G.2). Coefficients that the scale needs are
//! dequantised into the store, the rest is skipped by table.

use std::cell::Cell;

use super::huffman::{Huffman, SkipTable, SymbolTable, DC_BITS, END, PARTIAL, SKIP_BITS, SYMBOL_BITS};
use super::Input;
use crate::file::frame::ScanHeader;
use crate::file::QuantTable;
use crate::picture::layout::{Plane, ZIGZAG};
use crate::picture::store::{Block, Store};

/// Levels of sharp detail.
const GRAPHIC_LEVELS: u64 = 12;

/// A code and its table of short symbols.
#[derive(Clone, Copy)]
pub struct Codes<'a> {
    pub huffman: &'a Huffman,
    pub symbols: &'a SymbolTable,
}

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
    dc: Option<Codes<'a>>,
    ac: Option<Codes<'a>>,
    skip: Option<&'a SkipTable>,
    /// Sum of the squares of sharp coefficients, and blocks, of the sample.
    detail: Cell<(u64, u64)>,
}

impl<'a> Coder<'a> {
    /// `refined`: the bits below `scan.low` will be decoded.
    pub fn new(index: usize, plane: &Plane, scan: &ScanHeader, quant: &QuantTable, refined: bool) -> Coder<'a> {
        let single = scan.components.len() == 1;
        // Any value times a larger weight is out of range as well.
        let factor = |k: usize| (u32::from(quant[k]) << scan.low).min(0xffff);
        let open = if refined { 0 } else { (1 << scan.low) - 1 };
        Coder {
            plane: index,
            h: if single { 1 } else { plane.h },
            v: if single { 1 } else { plane.v },
            first: scan.first.max(1),
            last: scan.last,
            weights: std::array::from_fn(|k| u32::from(plane.positions[k]) | factor(k) << 8),
            middles: std::array::from_fn(|k| open * i32::from(quant[k]) / 2),
            needed: (0..64).map(|k| u64::from(plane.needs(k)) << k).sum(),
            dc: None,
            ac: None,
            skip: None,
            detail: Cell::default(),
        }
    }

    pub fn with_dc(self, huffman: &'a Huffman) -> Coder<'a> {
        Coder { dc: Some(Codes { huffman, symbols: huffman.symbols(false) }), ..self }
    }

    /// `needed`: the last frequency that the scale needs. A sequential scan skips the ones above.
    pub fn with_ac(self, huffman: &'a Huffman, progressive: bool, needed: usize) -> Coder<'a> {
        let ac = Some(Codes { huffman, symbols: huffman.symbols(progressive) });
        let last = if progressive { self.last } else { needed as u32 };
        let skip = (!progressive && needed < 63).then(|| huffman.skip());
        Coder { ac, skip, last, ..self }
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
        let (Some(values), Some(codes)) = (store.block(index), self.ac) else { return };
        let dc = self.difference(input, prediction);
        if input.state.sampled && self.plane == 0 {
            *input = self.measure(*input, codes, values);
        } else if self.last == 0 {
            self.skip(input, codes, 1);
        } else {
            let next = self.coefficients::<false, false>(input, codes, values, &mut 0);
            if next < 64 {
                self.skip(input, codes, next);
            }
        }
        values[0] = dc;
    }

    /// AC of a block of the sample.
    #[cold]
    #[inline(never)]
    fn measure<'i>(&self, mut input: Input<'i>, codes: Codes, values: &mut Block) -> Input<'i> {
        self.coefficients::<false, true>(&mut input, codes, values, &mut 0);
        let (energy, blocks) = self.detail.get();
        self.detail.set((energy, blocks + 1));
        input
    }

    /// True if the sample has the sharp detail of text and drawings. Screenshots have 15 to 40 levels (root mean
    /// square of the upper three quarters of the frequencies), photos at most 9.
    pub fn is_graphic(&self) -> bool {
        let (energy, blocks) = self.detail.get();
        energy > GRAPHIC_LEVELS * GRAPHIC_LEVELS * 64 * blocks
    }

    /// DC of a first scan.
    #[inline(always)]
    pub fn dc_first(&self, input: &mut Input, prediction: &mut i32, store: &mut Store, index: usize) {
        let value = self.difference(input, prediction);
        if let Some(values) = store.block(index) {
            values[0] = value;
        }
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
        if input.state.end_run > 0 {
            input.state.end_run -= 1;
            return;
        }
        let mut none = 0;
        let Some((values, history)) = store.block_with_history(index, &mut none) else { return };
        let Some(codes) = self.ac else { return };
        self.coefficients::<true, false>(input, codes, values, history);
    }

    /// DC, dequantised (F.2.2.1).
    #[inline(always)]
    fn difference(&self, input: &mut Input, prediction: &mut i32) -> i16 {
        let Some(codes) = self.dc else { return 0 };
        input.bits.refill(input.buffer);
        let entry = codes.symbols[input.bits.peek(DC_BITS)];
        let (mut length, mut size) = (entry & 255, entry >> 16);
        if length == 0 {
            let symbol = codes.huffman.symbol(input.bits.peek(16) as u32);
            input.state.bad |= symbol.is_none();
            (length, size) = symbol.unwrap_or((1, 0));
        }
        input.bits.consume(length);
        *prediction = prediction.wrapping_add(input.bits.take_value(size));
        let value = prediction.wrapping_mul(self.weight(0));
        input.state.see(value);
        value as i16
    }

    #[inline(always)]
    fn set<const PROGRESSIVE: bool, const MEASURE: bool>(
        &self, input: &mut Input, k: u32, value: i32, values: &mut Block, history: &mut u64,
    ) {
        let mut full = value * self.weight(k);
        if PROGRESSIVE {
            full = full.wrapping_add(value.signum() * self.middles[k as usize & 63]);
            *history |= u64::from(value != 0) << (k & 63);
        }
        if MEASURE && is_sharp(k) {
            let (energy, blocks) = self.detail.get();
            self.detail.set((energy.wrapping_add(full.unsigned_abs().wrapping_pow(2).into()), blocks));
        }
        input.state.see(full);
        let position = self.position(k);
        if !PROGRESSIVE || position > 0 {
            values[position] = full as i16;
        }
    }

    /// AC coefficients up to the last needed one (F.2.2.2). Returns the next zigzag index, or 64 at the end
    /// of the block.
    #[inline(always)]
    fn coefficients<const PROGRESSIVE: bool, const MEASURE: bool>(
        &self, input: &mut Input, codes: Codes, values: &mut Block, history: &mut u64,
    ) -> u32 {
        let (mut k, last) = (self.first, if MEASURE { 63 } else { self.last });
        loop {
            input.bits.refill(input.buffer);
            // Four short symbols take no more than 40 bits.
            for _ in 0..4 {
                let entry = next_symbol::<PROGRESSIVE>(input, codes);
                if entry & END != 0 {
                    if PROGRESSIVE {
                        input.state.end_run = entry >> 16;
                    }
                    return 64;
                }
                k += entry >> 8 & 255;
                if k > last {
                    if k == last + 1 {
                        self.set::<PROGRESSIVE, MEASURE>(input, last, entry as i32 >> 16, values, history);
                    }
                    input.state.bad |= k > if PROGRESSIVE { last + 1 } else { 64 };
                    return k;
                }
                self.set::<PROGRESSIVE, MEASURE>(input, k - 1, entry as i32 >> 16, values, history);
            }
        }
    }

    /// Passes the coefficients of a block from zigzag index `k` on, several symbols a step.
    #[inline(always)]
    fn skip(&self, input: &mut Input, codes: Codes, mut k: u32) {
        let Some(table) = self.skip else { return };
        input.bits.refill(input.buffer);
        loop {
            // Two steps take no more than 56 bits.
            if skip_step(input, table, &mut k) && skip_step(input, table, &mut k) {
                input.bits.refill(input.buffer);
                continue;
            }
            let entry = u32::from(table[input.bits.peek(SKIP_BITS)]);
            if ends_block(k + (entry >> 8)) {
                return input.bits.consume(entry & 255);
            }
            // A long code, or more symbols than the block holds.
            let entry = long_symbol::<false>(input, codes, PARTIAL);
            k += entry >> 8 & 255;
            if k >= 64 {
                input.state.bad |= k > 64 && entry & END == 0;
                return;
            }
        }
    }

    /// Refinement of a band (G.1.2.3).
    #[inline(always)]
    pub fn ac_refine(&self, input: &mut Input, _: &mut i32, store: &mut Store, index: usize) {
        let mut none = 0;
        let Some((values, history)) = store.block_with_history(index, &mut none) else { return };
        let Some(codes) = self.ac else { return };
        let band = u64::MAX >> (63 - self.last);
        let (mut k, mut left) = (self.first, band & u64::MAX << self.first);
        while input.state.end_run == 0 && k <= self.last {
            input.bits.refill(input.buffer);
            let entry = next_symbol::<true>(input, codes);
            if entry & END != 0 {
                input.state.end_run = (entry >> 16) + 1;
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
                self.set::<true, false>(input, k, value, values, history);
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

/// The next symbol as a table entry without `PARTIAL`. The bits must be refilled before.
#[inline(always)]
fn next_symbol<const PROGRESSIVE: bool>(input: &mut Input, codes: Codes) -> u32 {
    let entry = codes.symbols[input.bits.peek(SYMBOL_BITS)];
    if entry & PARTIAL != 0 {
        return long_symbol::<PROGRESSIVE>(input, codes, entry);
    }
    input.bits.consume(entry & 255);
    entry
}

/// A symbol whose code or value does not fit into the table's window, as a table entry. Refills the bits.
#[inline(always)]
fn long_symbol<const PROGRESSIVE: bool>(input: &mut Input, codes: Codes, entry: u32) -> u32 {
    input.bits.refill(input.buffer);
    let (mut length, mut size, mut step) = (entry & 255, entry >> 16, entry >> 8 & 63);
    if length == 0 {
        let Some((bits, symbol)) = codes.huffman.symbol(input.bits.peek(16) as u32) else {
            input.state.bad = true;
            input.bits.consume(1);
            return END;
        };
        (length, size, step) = (bits, symbol & 15, (symbol >> 4) + 1);
        if size == 0 && step < 16 {
            input.bits.consume(length);
            let run = if PROGRESSIVE { step - 1 } else { 0 };
            return END | ((1 << run) - 1 + input.bits.take(run)) << 16;
        }
    }
    input.bits.consume(length);
    let value = input.bits.take_value(size);
    input.bits.refill(input.buffer);
    (value as u32) << 16 | step << 8
}

/// True for the upper half of the frequencies in a direction.
fn is_sharp(k: u32) -> bool {
    ZIGZAG[k as usize & 63] & 0b100_100 != 0
}

/// Passes symbols that end before the end of the block. Returns false if there are none.
#[inline(always)]
fn skip_step(input: &mut Input, table: &SkipTable, k: &mut u32) -> bool {
    let entry = u32::from(table[input.bits.peek(SKIP_BITS)]);
    let next = *k + (entry >> 8);
    if next < 64 {
        input.bits.consume(entry & 255);
        *k = next;
    }
    next < 64
}

/// True if a step of the skip table ends the block exactly: at the last coefficient or by end of block.
#[inline(always)]
fn ends_block(k: u32) -> bool {
    k == 64 || k.wrapping_sub(129) < 63
}

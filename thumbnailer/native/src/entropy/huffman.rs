//! Huffman codes (C.2, F.2.2.3) and the look-up tables made from them.

use std::cell::OnceCell;

use crate::error::{ensure, Result};

pub const SYMBOL_BITS: u32 = 10;
/// Differences of DC use the first half of their table.
pub const DC_BITS: u32 = 9;
pub const SKIP_BITS: u32 = 13;
/// Bits that one step of the skip table may consume at most, so that two steps fit between two refills.
const SKIP_MAX: u32 = 28;

/// Entry: bits to consume | step << 8 | value << 16. Step is run + 1, plus the flags below.
pub type SymbolTable = [u32; 1 << SYMBOL_BITS];
/// Entry: bits to consume | coefficients passed << 8, over as many symbols as fit; 128 = end of block.
pub type SkipTable = [u16; 1 << SKIP_BITS];

/// The value's bits are not in the window: value holds their number. Length 0: long or unknown code.
pub const PARTIAL: u32 = 64 << 8;
/// End of block. Value holds the number of bits that extend a progressive run of such blocks (G.1.2.2).
pub const END: u32 = 128 << 8;
/// The same in a skip table.
const SKIP_LONG: u16 = 64 << 8;
const SKIP_END: u16 = 128 << 8;

/// A code as DHT defines it, with its tables.
pub struct Huffman {
    counts: [u8; 17],
    values: [u8; 256],
    /// First 16-bit window that lies beyond the codes of a length.
    limits: [u32; 17],
    /// Index of a symbol = offset + code.
    offsets: [i32; 17],
    pub symbols: SymbolTable,
    /// Built when a scan first needs the table.
    skip: OnceCell<Box<SkipTable>>,
}

impl Huffman {
    /// `dc`: a code of DC differences; `counts`: codes of length 1 to 16; `values`: their symbols (C.2).
    pub fn new(dc: bool, counts: &[u8; 16], values: &[u8]) -> Result<Huffman> {
        ensure(values.len() <= 256, "number of Huffman codes")?;
        let (limits, offsets, skip) = ([0; 17], [0; 17], OnceCell::new());
        let mut symbols = [PARTIAL; 1 << SYMBOL_BITS];
        let mut code = Huffman { counts: [0; 17], values: [0; 256], limits, offsets, symbols, skip };
        code.counts[1..].copy_from_slice(counts);
        code.values[..values.len()].copy_from_slice(values);
        let (mut next, mut index) = (0u32, 0i32);
        for length in 1..=16 {
            code.offsets[length] = index - next as i32;
            next += u32::from(code.counts[length]);
            index += i32::from(code.counts[length]);
            ensure(next <= 1 << length, "Huffman code is not a prefix code")?;
            code.limits[length] = next << (16 - length);
            next <<= 1;
        }
        code.each(if dc { DC_BITS } else { SYMBOL_BITS }, |at, span, length, symbol| {
            fill_symbol(dc, &mut symbols[at..at + span], length, symbol);
        });
        Ok(Huffman { symbols, ..code })
    }

    /// Finds the symbol at the start of 16 bits: code length and symbol. Returns None if no code fits.
    #[cold]
    #[inline(never)]
    pub fn symbol(&self, window: u32) -> Option<(u32, u32)> {
        let length = (1..=16).find(|l| window < self.limits[*l])?;
        let index = self.offsets[length] + (window >> (16 - length)) as i32;
        Some((length as u32, self.values[index as usize & 255].into()))
    }

    /// Calls `visit(first table index, entries, code length, symbol)` for each code of up to `bits` bits.
    /// Returns the first index that no code covers.
    fn each(&self, bits: u32, mut visit: impl FnMut(usize, usize, u32, u32)) -> usize {
        let (mut end, mut index) = (0, 0);
        for length in 1..=bits.min(16) {
            let span = 1 << (bits - length);
            for _ in 0..self.counts[length as usize] {
                visit(end, span, length, self.values[index].into());
                index += 1;
                end += span;
            }
        }
        end
    }

    pub fn skip(&self) -> &SkipTable {
        self.skip.get_or_init(|| {
            let mut table = Box::new([0; 1 << SKIP_BITS]);
            self.fill_skip(&mut table[..], SKIP_BITS, 0, 0);
            table
        })
    }

    /// Fills the entries of all windows of `bits` bits that follow symbols of `used` bits which pass `passed`
    /// coefficients.
    fn fill_skip(&self, table: &mut [u16], bits: u32, used: u32, passed: u32) {
        let stop = if used == 0 { SKIP_LONG } else { (used | passed << 8) as u16 };
        let end = self.each(bits, |at, span, length, symbol| {
            let entries = &mut table[at..at + span];
            let (run, size) = (symbol >> 4, symbol & 15);
            if size == 0 && run < 15 {
                return entries.fill(((used + length) | passed << 8) as u16 | SKIP_END);
            }
            let (used, passed) = (used + length + size, passed + run + 1);
            if used > SKIP_MAX || passed > 63 {
                return entries.fill(stop);
            }
            let rest = 1 << (bits - length).saturating_sub(size);
            self.fill_skip(&mut entries[..rest], rest.ilog2(), used, passed);
            for copy in 1..entries.len() / rest {
                entries.copy_within(0..rest, copy * rest);
            }
        });
        table[end..].fill(stop);
    }
}

fn fill_symbol(dc: bool, entries: &mut [u32], length: u32, symbol: u32) {
    let (run, size) = (symbol >> 4, symbol & 15);
    if size == 0 && run < 15 && !dc {
        return entries.fill(length | END | run << 16);
    }
    let step = (run + 1) << 8;
    if dc || length + size > SYMBOL_BITS {
        return entries.fill(length | step | PARTIAL | size << 16);
    }
    let shift = SYMBOL_BITS - length - size;
    for (i, entry) in entries.iter_mut().enumerate() {
        *entry = (length + size) | step | (extend(i as i32 >> shift, size) as u32 & 0xffff) << 16;
    }
}

/// Value of `size` bits (F.2.2.1, EXTEND).
fn extend(bits: i32, size: u32) -> i32 {
    if size == 0 || bits >> (size - 1) != 0 {
        bits
    } else {
        bits - (1 << size) + 1
    }
}

//! Huffman codes (C.2, F.2.2.3) and the look-up tables made from them.

use std::cell::OnceCell;

use crate::error::{ensure, Result};

pub const SYMBOL_BITS: u32 = 10;
/// Differences of DC use the first half of their table.
pub const DC_BITS: u32 = 9;
pub const SKIP_BITS: u32 = 13;
/// Bits that one step of the skip table may consume at most, so that two steps fit between two refills.
const SKIP_MAX: usize = 28;

/// Entry: bits to consume | step << 8 | value << 16. Step is run + 1, plus the flags below.
pub type SymbolTable = [u32; 1 << SYMBOL_BITS];
/// Entry: bits to consume | coefficients passed << 8, over as many symbols as fit; 128 = end of block.
pub type SkipTable = [u16; 1 << SKIP_BITS];

/// The value's bits are not in the window: value holds their number. Length 0: long or unknown code.
pub const PARTIAL: u32 = 64 << 8;
/// End of block. Value holds the number of further blocks without coefficients.
pub const END: u32 = 128 << 8;
const SKIP_LONG: u16 = 64 << 8;
const SKIP_END: u16 = 128 << 8;

/// A code as DHT defines it, with its tables, each built when a scan first needs the table.
pub struct Huffman {
    /// A code of DC differences.
    dc: bool,
    counts: [u8; 17],
    values: [u8; 256],
    /// First 16-bit window that lies beyond the codes of a length.
    limits: [u32; 17],
    /// Index of a symbol = offset + code.
    offsets: [i32; 17],
    symbols: OnceCell<Box<SymbolTable>>,
    skip: OnceCell<Box<SkipTable>>,
}

impl Huffman {
    /// `counts`: codes of length 1 to 16; `values`: their symbols. Canonical codes (C.2).
    pub fn new(dc: bool, counts: &[u8; 16], values: &[u8]) -> Result<Huffman> {
        ensure(values.len() <= 256, "number of Huffman codes")?;
        let (symbols, skip) = (OnceCell::new(), OnceCell::new());
        let (limits, offsets) = ([0; 17], [0; 17]);
        let mut code = Huffman { dc, counts: [0; 17], values: [0; 256], limits, offsets, symbols, skip };
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
        Ok(code)
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
    fn each(&self, bits: u32, mut visit: impl FnMut(usize, usize, usize, usize)) -> usize {
        let (mut end, mut index) = (0usize, 0usize);
        for length in 1..=(bits as usize).min(16) {
            let span = 1 << (bits as usize - length);
            for _ in 0..self.counts[length] {
                visit(end, span, length, self.values[index].into());
                index += 1;
                end += span;
            }
        }
        end
    }

    pub fn symbols(&self, progressive: bool) -> &SymbolTable {
        self.symbols.get_or_init(|| {
            let mut table = Box::new([PARTIAL; 1 << SYMBOL_BITS]);
            self.each(if self.dc { DC_BITS } else { SYMBOL_BITS }, |at, span, length, symbol| {
                self.fill_symbol(&mut table[at..at + span], length, symbol, progressive);
            });
            table
        })
    }

    fn fill_symbol(&self, entries: &mut [u32], length: usize, symbol: usize, progressive: bool) {
        let (run, size) = (symbol >> 4, symbol & 15);
        if size == 0 && run < 15 && !self.dc {
            // A run of blocks in a progressive scan takes more bits and stays on the slow way.
            if !progressive || run == 0 {
                entries.fill(length as u32 | END);
            }
            return;
        }
        let step = (run as u32 + 1) << 8;
        if self.dc || length + size > SYMBOL_BITS as usize {
            return entries.fill(length as u32 | step | PARTIAL | (size as u32) << 16);
        }
        let shift = SYMBOL_BITS as usize - length - size;
        for (i, entry) in entries.iter_mut().enumerate() {
            let value = extend((i >> shift) as i32, size as u32);
            *entry = (length + size) as u32 | step | (value as u32 & 0xffff) << 16;
        }
    }

    /// The table of `SKIP_BITS` bits needs the tables of all shorter windows, which are built first.
    pub fn skip(&self) -> &SkipTable {
        self.skip.get_or_init(|| {
            let mut levels = vec![0u16; 2 << SKIP_BITS];
            for bits in 1..=SKIP_BITS {
                let (shorter, rest) = levels.split_at_mut(1 << bits);
                let table = &mut rest[..1 << bits];
                let end = self.each(bits, |at, span, length, symbol| {
                    fill_skip(&mut table[at..at + span], shorter, bits as usize, length, symbol);
                });
                table[end..].fill(SKIP_LONG);
            }
            let mut table = Box::new([0; 1 << SKIP_BITS]);
            table.copy_from_slice(&levels[1 << SKIP_BITS..]);
            table
        })
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

/// Fills the entries of one symbol: alone, or followed by the symbols that the rest of the window holds.
fn fill_skip(entries: &mut [u16], shorter: &[u16], bits: usize, length: usize, symbol: usize) {
    let (run, size) = (symbol >> 4, symbol & 15);
    if size == 0 && run < 15 {
        return entries.fill(length as u16 | SKIP_END);
    }
    let (used, step) = (length + size, run + 1);
    let alone = if used > SKIP_MAX { SKIP_LONG } else { (used | step << 8) as u16 };
    if used >= bits || used > SKIP_MAX {
        return entries.fill(alone);
    }
    let rest = 1 << (bits - used);
    for (entry, next) in entries.iter_mut().zip(&shorter[rest..2 * rest]) {
        *entry = join_skip(alone, *next);
    }
    for copy in 1..entries.len() / rest {
        entries.copy_within(0..rest, copy * rest);
    }
}

fn join_skip(first: u16, next: u16) -> u16 {
    let used = (first & 255) + (next & 255);
    let passed = (next >> 8 & 127) + (first >> 8);
    if next & 255 == 0 || usize::from(used) > SKIP_MAX || passed > 63 {
        first
    } else {
        used | (passed | (next >> 8 & 128)) << 8
    }
}

//! Huffman codes (C.2, F.2.2.3) and the look-up tables made from them.
#![forbid(unsafe_code)]

use std::rc::Rc;

use crate::error::{Error::Doubtful, Result};

pub const DC_BITS: u32 = 9;
pub const AC_BITS: u32 = 10;
pub const SKIP_BITS: u32 = 13;
/// Bits that one step of the skip table may consume at most, so that two steps fit between two refills.
const SKIP_MAX: usize = 28;

/// Entry: code length | size << 8; 0 = the code is longer than the table's index.
pub type DcTable = [u16; 1 << DC_BITS];
/// Entry: bits to consume | step << 8 | value << 16. Step is run + 1, plus the flags below.
pub type AcTable = [u32; 1 << AC_BITS];
/// Entry: bits to consume | coefficients passed << 8, over as many symbols as fit; 128 = end of block.
pub type SkipTable = [u16; 1 << SKIP_BITS];

/// The value's bits are not in the window: value holds their number. Length 0: long or unknown code.
pub const AC_PARTIAL: u32 = 64 << 8;
pub const AC_END: u32 = 128 << 8;
const SKIP_LONG: u16 = 64 << 8;
const SKIP_END: u16 = 128 << 8;

/// A symbol and the length of its code.
#[derive(Clone, Copy)]
pub struct Symbol {
    pub length: u32,
    pub value: u32,
}

/// A code as DHT defines it.
#[derive(Clone)]
pub struct Code {
    counts: [u8; 17],
    values: [u8; 256],
    /// First 16-bit window that lies beyond the codes of a length.
    limits: [u32; 18],
    /// Index of a symbol = offset + code.
    offsets: [i32; 17],
}

impl Code {
    /// `counts`: codes of length 1 to 16; `values`: their symbols.
    pub fn new(counts: &[u8; 16], values: &[u8]) -> Result<Code> {
        let total: usize = counts.iter().map(|n| usize::from(*n)).sum();
        if total > 256 || values.len() != total {
            return Err(Doubtful("number of Huffman codes"));
        }
        let mut code = Code { counts: [0; 17], values: [0; 256], limits: [0; 18], offsets: [0; 17] };
        code.counts[1..].copy_from_slice(counts);
        code.values[..total].copy_from_slice(values);
        code.assign()?;
        Ok(code)
    }

    /// Canonical codes (C.2). No code may have ones only.
    fn assign(&mut self) -> Result<()> {
        let (mut next, mut index) = (0u32, 0i32);
        for length in 1..=16 {
            self.offsets[length] = index - next as i32;
            next += u32::from(self.counts[length]);
            index += i32::from(self.counts[length]);
            if next > (1 << length) {
                return Err(Doubtful("Huffman code is not a prefix code"));
            }
            self.limits[length] = next << (16 - length);
            next <<= 1;
        }
        self.limits[17] = u32::MAX;
        Ok(())
    }

    /// Finds the symbol at the start of 16 bits. Returns None if no code fits.
    #[cold]
    #[inline(never)]
    pub fn symbol(&self, window: u32) -> Option<Symbol> {
        let length = (1..=16).find(|l| window < self.limits[*l])?;
        let index = self.offsets[length] + (window >> (16 - length)) as i32;
        Some(Symbol { length: length as u32, value: self.values[index as usize & 255].into() })
    }

    /// Calls `visit(first table index, entries, code length, symbol)` for each code of up to `bits` bits.
    /// Returns the first index that no code covers.
    fn each(&self, bits: u32, mut visit: impl FnMut(usize, usize, usize, usize)) -> usize {
        let (mut code, mut index) = (0usize, 0usize);
        let mut end = 0;
        for length in 1..=(bits as usize).min(16) {
            let span = 1 << (bits as usize - length);
            for _ in 0..self.counts[length] {
                visit(code * span, span, length, self.values[index].into());
                code += 1;
                index += 1;
                end = code * span;
            }
            code <<= 1;
        }
        end
    }

    fn dc_table(&self) -> Box<DcTable> {
        let mut table = Box::new([0; 1 << DC_BITS]);
        self.each(DC_BITS, |at, span, length, size| {
            if size <= 15 {
                table[at..at + span].fill((length | size << 8) as u16);
            }
        });
        table
    }

    fn ac_table(&self, progressive: bool) -> Box<AcTable> {
        let mut table = Box::new([AC_PARTIAL; 1 << AC_BITS]);
        self.each(AC_BITS, |at, span, length, symbol| {
            fill_ac(&mut table[at..at + span], length, symbol, progressive);
        });
        table
    }

    /// The table of `SKIP_BITS` bits needs the tables of all shorter windows, which are built first.
    fn skip_table(&self) -> Box<SkipTable> {
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
    }
}

/// Run of zeros and size of the value (F.1.2.2.1).
fn run_size(symbol: usize) -> (usize, usize) {
    (symbol >> 4, symbol & 15)
}

/// Value of `size` bits (F.2.2.1, EXTEND).
pub fn extend(bits: i32, size: u32) -> i32 {
    if size == 0 || bits >> (size - 1) != 0 {
        bits
    } else {
        bits - (1 << size) + 1
    }
}

fn fill_ac(entries: &mut [u32], length: usize, symbol: usize, progressive: bool) {
    let (run, size) = run_size(symbol);
    if size == 0 && run < 15 {
        // A run of blocks in a progressive scan takes more bits and stays on the slow way.
        if !progressive || run == 0 {
            entries.fill(length as u32 | AC_END);
        }
        return;
    }
    let step = (run as u32 + 1) << 8;
    if length + size > AC_BITS as usize {
        entries.fill(length as u32 | step | AC_PARTIAL | (size as u32) << 16);
        return;
    }
    let shift = AC_BITS as usize - length - size;
    for (i, entry) in entries.iter_mut().enumerate() {
        let value = extend((i >> shift) as i32, size as u32);
        *entry = (length + size) as u32 | step | (value as u32 & 0xffff) << 16;
    }
}

/// Fills the entries of one symbol: alone, or followed by the symbols that the rest of the window holds.
fn fill_skip(entries: &mut [u16], shorter: &[u16], bits: usize, length: usize, symbol: usize) {
    let (run, size) = run_size(symbol);
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

/// A code with its tables, each built when a scan first needs the table.
#[derive(Clone)]
pub struct Huffman {
    pub code: Rc<Code>,
    dc: Option<Rc<DcTable>>,
    ac: Option<Rc<AcTable>>,
    skip: Option<Rc<SkipTable>>,
}

impl Huffman {
    pub fn new(code: Code) -> Huffman {
        Huffman { code: Rc::new(code), dc: None, ac: None, skip: None }
    }

    pub fn dc(&mut self) -> Rc<DcTable> {
        self.dc.get_or_insert_with(|| self.code.dc_table().into()).clone()
    }

    pub fn ac(&mut self, progressive: bool) -> Rc<AcTable> {
        self.ac.get_or_insert_with(|| self.code.ac_table(progressive).into()).clone()
    }

    pub fn skip(&mut self) -> Rc<SkipTable> {
        self.skip.get_or_insert_with(|| self.code.skip_table().into()).clone()
    }
}

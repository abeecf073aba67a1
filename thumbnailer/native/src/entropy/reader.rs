//! Reads entropy-coded segments: removes stuffed bytes (B.1.1.5) and finds the markers between segments.

use super::bits::{Bits, Buffer, BUFFER};
use crate::error::{ensure, Result};
use crate::file::source::{Source, Window};

/// More than the bytes of the largest MCU: 10 blocks of 64 coefficients of 31 bits.
const MARGIN: usize = 2560;
const STEP: usize = 16384;

/// Bytes that a reader allocates.
pub const READER_BYTES: usize = BUFFER + Window::SIZE;

pub struct Reader<'a> {
    /// Position of the next byte in the file.
    position: usize,
    window: Window<'a>,
    buffer: Box<Buffer>,
    /// Valid bytes in the buffer.
    end: usize,
    /// The segment ends in the buffer.
    finished: bool,
    /// An MCU that starts below this byte ends inside the buffer.
    limit: usize,
}

impl<'a> Reader<'a> {
    pub fn new(source: &'a dyn Source) -> Reader<'a> {
        Reader {
            position: 0,
            window: Window::new(source),
            buffer: Box::new([0; BUFFER]),
            end: 0,
            finished: false,
            limit: 0,
        }
    }

    /// Starts a segment at a position in the file.
    pub fn start(&mut self, position: usize) -> Result<Bits> {
        self.position = position;
        self.finished = false;
        self.end = 0;
        self.refill(0)
    }

    pub fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    /// True if `more` must be called before the next MCU.
    #[inline(always)]
    pub fn is_low(&self, bits: &Bits) -> bool {
        bits.next_byte() > self.limit
    }

    /// Reads more bytes. Fails if the bits used reach beyond the segment.
    #[cold]
    pub fn more(&mut self, bits: Bits) -> Result<Bits> {
        if !self.finished {
            return self.refill(bits.used());
        }
        ensure(bits.used() <= self.end * 8, "entropy-coded data ends early")?;
        Ok(bits)
    }

    /// Ends a segment. Fails unless exactly its last byte was reached. Returns the position of the marker.
    pub fn finish(&mut self, mut bits: Bits) -> Result<usize> {
        if !self.finished {
            bits = self.refill(bits.used())?;
        }
        let complete = self.finished && bits.used().div_ceil(8) == self.end;
        ensure(complete, "entropy-coded data of another length than its scan")?;
        Ok(self.position)
    }

    /// Moves the bytes from a bit position on to the front and fills the buffer up.
    fn refill(&mut self, used: usize) -> Result<Bits> {
        let first = (used >> 3).min(self.end);
        self.buffer.copy_within(first..self.end, 0);
        self.end -= first;
        while self.end < STEP && !self.finished {
            self.fill()?;
        }
        if self.finished {
            self.buffer[self.end..(self.end + 2 * MARGIN).min(BUFFER)].fill(0);
        }
        self.limit = if self.finished { self.end + 8 } else { self.end - MARGIN };
        Ok(Bits::at(&self.buffer, used & 7))
    }

    /// Copies bytes up to the next 0xff, and this one if it is data.
    fn fill(&mut self) -> Result<()> {
        let bytes = self.window.at(self.position);
        let plain = find_ff(&bytes[..bytes.len().min(STEP - self.end)]);
        self.buffer[self.end..self.end + plain].copy_from_slice(&bytes[..plain]);
        self.end += plain;
        self.position += plain;
        match bytes[plain..] {
            [0xff, 0, ..] => {
                self.buffer[self.end] = 0xff;
                self.end += 1;
                self.position += 2;
            }
            [0xff, 0xff, ..] => self.position += 1,
            [0xff, _, ..] => self.finished = true,
            _ => ensure(plain > 0, "file ends in a scan")?,
        }
        Ok(())
    }

    /// Passes the restart marker that ends interval `number` (B.2.1). Returns the position behind the marker.
    pub fn restart(&mut self, number: usize) -> Result<usize> {
        let marker = [0xff, 0xd0 + (number & 7) as u8];
        ensure(self.window.at(self.position).starts_with(&marker), "restart marker missing or out of order")?;
        Ok(self.position + 2)
    }

    /// Position of the next marker that is not RSTn: the end of a scan whose data are not needed.
    pub fn skip_scan(&mut self, mut at: usize) -> Result<usize> {
        loop {
            let chunk = self.window.at(at);
            let plain = find_ff(chunk);
            at += plain;
            match chunk[plain..] {
                [_, 0 | 0xd0..=0xd7, ..] => at += 2,
                [_, 0xff, ..] => at += 1,
                [_, _, ..] => return Ok(at),
                _ => ensure(plain > 0, "file ends in a scan")?,
            }
        }
    }
}

/// Index of the first 0xff, or the length.
fn find_ff(bytes: &[u8]) -> usize {
    let has_ff = |block: &[u8; 32]| block.iter().fold(false, |found, byte| found | (*byte == 0xff));
    let whole = 32 * bytes.as_chunks::<32>().0.iter().take_while(|block| !has_ff(block)).count();
    let rest = &bytes[whole..];
    whole + rest.iter().position(|byte| *byte == 0xff).unwrap_or(rest.len())
}

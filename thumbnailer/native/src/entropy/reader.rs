//! Reads entropy-coded segments: removes stuffed bytes (B.1.1.5) and finds the markers between segments.

use super::bits::{Bits, Buffer, BUFFER};
use crate::error::{ensure, Result};
use crate::file::source::Source;

/// More than the bytes of the largest MCU: 10 blocks of 64 coefficients of 31 bits.
const MARGIN: usize = 2560;
const STEP: usize = 16384;
const WINDOW: usize = STEP + 2;

/// Bytes that a reader allocates.
pub const READER_BYTES: usize = BUFFER + WINDOW;

pub struct Reader<'a> {
    source: &'a dyn Source,
    /// Position of the next byte in the file.
    position: usize,
    window: Vec<u8>,
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
            source,
            position: 0,
            window: vec![0; WINDOW],
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

    fn fill(&mut self) -> Result<()> {
        let room = STEP - self.end;
        let chunk = self.source.chunk(self.position, room + 2, &mut self.window);
        let step = unstuff(chunk, &mut self.buffer[self.end..STEP]);
        ensure(step.read > 0 || step.marker, "file ends in a scan")?;
        self.position += step.read;
        self.end += step.written;
        self.finished = step.marker;
        Ok(())
    }

    /// Position of the next marker that is not RSTn: the end of a scan whose data are not needed.
    pub fn skip_scan(&mut self, mut at: usize) -> Result<usize> {
        loop {
            let chunk = self.source.chunk(at, STEP, &mut self.window);
            let plain = find_ff(chunk);
            at += plain;
            match (chunk.get(plain), chunk.get(plain + 1)) {
                (Some(_), Some(0 | 0xd0..=0xd7)) => at += 2,
                (Some(_), Some(0xff)) => at += 1,
                (Some(_), Some(_)) => return Ok(at),
                _ => ensure(plain > 0, "file ends in a scan")?,
            }
        }
    }
}

/// What `unstuff` did: bytes read, bytes written, whether a marker follows.
struct Step {
    read: usize,
    written: usize,
    marker: bool,
}

/// Copies bytes up to a marker, the end of `from` or the end of `to`; 0xff 0x00 becomes 0xff.
fn unstuff(from: &[u8], to: &mut [u8]) -> Step {
    let mut step = Step { read: 0, written: 0, marker: false };
    while step.written < to.len() {
        let rest = &from[step.read..];
        let rest = &rest[..rest.len().min(to.len() - step.written)];
        let plain = find_ff(rest);
        to[step.written..step.written + plain].copy_from_slice(&rest[..plain]);
        step.written += plain;
        step.read += plain;
        if plain == rest.len() && plain > 0 {
            continue;
        }
        match (from.get(step.read), from.get(step.read + 1)) {
            (Some(_), Some(0)) => {
                to[step.written] = 0xff;
                step.written += 1;
                step.read += 2;
            }
            (Some(_), Some(0xff)) => step.read += 1,
            (Some(_), Some(_)) => {
                step.marker = true;
                break;
            }
            _ => break,
        }
    }
    step
}

/// Index of the first 0xff, or the length.
fn find_ff(bytes: &[u8]) -> usize {
    let has_ff = |block: &[u8; 32]| block.iter().fold(false, |found, byte| found | (*byte == 0xff));
    let whole = 32 * bytes.as_chunks::<32>().0.iter().take_while(|block| !has_ff(block)).count();
    let rest = &bytes[whole..];
    whole + rest.iter().position(|byte| *byte == 0xff).unwrap_or(rest.len())
}

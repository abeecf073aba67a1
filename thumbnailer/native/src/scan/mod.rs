//! Entropy decoding of scans.
#![forbid(unsafe_code)]

pub mod progress;
pub mod progressive;
pub mod sequential;

use crate::bits::{Bits, Buffer};
use crate::error::{Error::Doubtful, Result};
use crate::huffman::{Code, DcTable, DC_BITS};
use crate::idct::MAX_COEFFICIENT;
use crate::reader::Reader;
use crate::source::Source;

/// Signs of damage, gathered without a branch.
#[derive(Default)]
pub struct Damage {
    /// A code that does not exist, or too many coefficients in a block.
    pub bad: bool,
    /// All coefficients, moved by `MAX_COEFFICIENT`, or-ed.
    range: u32,
}

impl Damage {
    #[inline(always)]
    pub fn see(&mut self, coefficient: i32) {
        self.range |= coefficient.wrapping_add(MAX_COEFFICIENT) as u32;
    }

    pub fn check(&self) -> Result<()> {
        if self.bad || self.range >= 2 * MAX_COEFFICIENT as u32 {
            return Err(Doubtful("invalid Huffman code or value"));
        }
        Ok(())
    }
}

/// Part of a scan between two restart markers.
pub struct Interval {
    /// Its first MCU and the number of MCUs.
    pub first: usize,
    pub count: usize,
    /// MCUs in a row of the scan.
    pub wide: usize,
}

/// Where a scan lies: position of its data, MCUs in a row and rows, MCUs between restart markers or 0.
pub struct Extent {
    pub position: usize,
    pub grid: (usize, usize),
    pub restart: usize,
}

/// Decodes the intervals of a scan one by one. Returns the position of the marker behind the scan.
pub fn intervals<'a>(
    reader: &mut Reader<'a>, source: &dyn Source, extent: &Extent,
    mut decode: impl FnMut(&mut Reader<'a>, Bits, &Interval) -> Result<Bits>,
) -> Result<usize> {
    let (wide, high) = extent.grid;
    let total = wide * high;
    let step = if extent.restart == 0 { total } else { extent.restart };
    let mut position = extent.position;
    for (number, first) in (0..total).step_by(step).enumerate() {
        if number > 0 {
            position = restart_marker(source, position, number - 1)?;
        }
        let bits = reader.start(position)?;
        let interval = Interval { first, count: step.min(total - first), wide };
        let bits = decode(reader, bits, &interval)?;
        position = reader.finish(bits)?;
    }
    Ok(position)
}

/// Checks the restart marker that ends interval `number` (B.2.1). Returns the position behind the marker.
fn restart_marker(source: &dyn Source, position: usize, number: usize) -> Result<usize> {
    let mut scratch = [0; 2];
    match source.chunk(position, 2, &mut scratch) {
        &[0xff, marker] if marker == 0xd0 + (number & 7) as u8 => Ok(position + 2),
        _ => Err(Doubtful("restart marker missing or out of order")),
    }
}

/// Decodes a DC difference (F.2.2.1). Sets `bad` if no code fits.
#[inline(always)]
pub fn dc_difference(buffer: &Buffer, bits: &mut Bits, table: &DcTable, code: &Code, bad: &mut bool) -> i32 {
    bits.refill(buffer);
    let entry = u32::from(table[bits.peek(DC_BITS)]);
    let (mut length, mut size) = (entry & 255, entry >> 8);
    if length == 0 {
        (length, size) = match code.symbol(bits.peek(16) as u32) {
            Some(symbol) if symbol.value <= 15 => (symbol.length, symbol.value),
            _ => {
                *bad = true;
                (1, 0)
            }
        };
    }
    bits.consume(length);
    bits.take_value(size)
}

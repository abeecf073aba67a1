//! Entropy-coded data: bits, codes and scans.
#![forbid(unsafe_code)]

pub mod bits;
pub mod blocks;
pub mod huffman;
pub mod progress;
pub mod reader;

use std::ops::Range;

use self::bits::{Bits, Buffer};
use self::blocks::Coder;
use self::reader::Reader;
use crate::error::{ensure, Result};
use crate::file::source::Source;
use crate::picture::store::{Store, STRIP};
use crate::picture::MAX_COEFFICIENT;

/// One MCU in so many is decoded in full, to measure the detail that the scale drops: costs about 1 %.
pub const SAMPLE: usize = 97;

/// What the blocks of an MCU read from, and what an interval carries from block to block.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    pub buffer: &'a Buffer,
    pub bits: Bits,
    pub state: State,
}

#[derive(Default, Clone, Copy)]
pub struct State {
    /// Blocks left of a run without coefficients.
    pub end_run: u32,
    /// A code that does not exist, or too many coefficients in a block.
    pub bad: bool,
    /// The MCU belongs to the sample.
    pub sampled: bool,
    /// All coefficients, moved by `MAX_COEFFICIENT`, or-ed.
    range: u32,
}

impl State {
    /// Notes a coefficient without a branch.
    #[inline(always)]
    pub fn see(&mut self, coefficient: i32) {
        self.range |= coefficient.wrapping_add(MAX_COEFFICIENT) as u32;
    }

    fn check(&self) -> Result<()> {
        let valid = !self.bad && self.range < 2 * MAX_COEFFICIENT as u32;
        ensure(valid, "invalid Huffman code or value")
    }
}

/// Decodes the MCUs of one scan.
pub struct Scan<'a, 'b, D, F> {
    pub reader: &'b mut Reader<'a>,
    pub coders: &'b [Coder<'b>],
    pub stores: &'b mut [Store],
    /// MCUs in a row and rows; MCUs between restart markers or 0.
    pub grid: (usize, usize),
    pub restart: usize,
    pub until_sample: usize,
    /// Decodes blocks of one row: coder and last DC value of the component, store and indices in the store.
    pub decode: D,
    /// Called if the stores hold one strip only, behind each strip: stores, column and number of its MCUs.
    pub flush: Option<F>,
}

impl<'b, D, F> Scan<'_, 'b, D, F>
where
    D: Fn(&Coder<'b>, &mut Input, &mut i32, &mut Store, Range<usize>),
    F: FnMut(&mut [Store], usize, usize),
{
    /// Returns the position of the marker behind the scan.
    pub fn run(&mut self, source: &dyn Source, mut position: usize) -> Result<usize> {
        let (mut left, mut place) = (self.grid.0 * self.grid.1, (0, 0));
        let step = if self.restart == 0 { left } else { self.restart };
        for number in 0.. {
            let bits = self.reader.start(position)?;
            let bits = self.interval(bits, step.min(left), &mut place)?;
            position = self.reader.finish(bits)?;
            left -= step.min(left);
            if left == 0 {
                break;
            }
            restart_marker(source, position, number)?;
            position += 2;
        }
        Ok(position)
    }

    /// Decodes the MCUs between two restart markers. `place`: column and row of the next MCU.
    fn interval(&mut self, mut bits: Bits, count: usize, place: &mut (usize, usize)) -> Result<Bits> {
        let (mut state, mut predictions, mut left) = (State::default(), [0; 4], count);
        let (mut x, mut y) = *place;
        while left > 0 {
            let strip = x / STRIP * STRIP;
            let end = self.grid.0.min(x + left).min(strip + STRIP);
            let (first, row) = if self.flush.is_some() { (strip, 0) } else { (0, y) };
            for column in x - first..end - first {
                if self.reader.is_low(&bits) {
                    bits = self.reader.more(bits)?;
                }
                self.until_sample -= 1;
                state.sampled = self.until_sample == 0;
                if state.sampled {
                    self.until_sample = SAMPLE;
                }
                let mut input = Input { buffer: self.reader.buffer(), bits, state };
                for (coder, prediction) in self.coders.iter().zip(&mut predictions) {
                    let store = &mut self.stores[coder.plane];
                    let mut start = row * coder.v * store.blocks_wide + column * coder.h;
                    for _ in 0..coder.v {
                        (self.decode)(coder, &mut input, prediction, store, start..start + coder.h);
                        start += store.blocks_wide;
                    }
                }
                (bits, state) = (input.bits, input.state);
            }
            left -= end - x;
            x = end;
            if x == self.grid.0 || x == strip + STRIP {
                state.check()?;
                if let Some(flush) = &mut self.flush {
                    flush(self.stores, first, x - first);
                }
            }
            if x == self.grid.0 {
                (x, y) = (0, y + 1);
            }
        }
        *place = (x, y);
        ensure(state.end_run == 0, "run of blocks beyond the interval")?;
        state.check()?;
        Ok(bits)
    }
}

/// Checks the restart marker that ends interval `number` (B.2.1).
fn restart_marker(source: &dyn Source, position: usize, number: usize) -> Result<()> {
    let mut scratch = [0; 2];
    let marker = source.chunk(position, 2, &mut scratch);
    ensure(marker == [0xff, 0xd0 + (number & 7) as u8], "restart marker missing or out of order")
}

//! Entropy-coded data: bits, codes and scans.
#![forbid(unsafe_code)]

pub mod bits;
pub mod blocks;
pub mod huffman;
pub mod progress;
pub mod reader;

use self::bits::{Bits, Buffer};
use self::blocks::Coder;
use self::reader::Reader;
use crate::error::{ensure, Result};
use crate::picture::bands::Bands;
use crate::picture::store::Store;
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
pub struct Scan<'a, 'b> {
    pub reader: &'b mut Reader<'a>,
    pub coders: &'b [Coder<'b>],
    pub stores: &'b mut [Store],
    /// MCUs in a row and rows; MCUs between restart markers or 0.
    pub grid: (usize, usize),
    pub restart: usize,
    pub until_sample: usize,
    /// Takes each row of MCUs if the stores hold one row only.
    pub bands: Option<&'b mut Bands>,
}

impl<'b> Scan<'_, 'b> {
    /// Returns the position of the marker behind the scan. `decode`: decodes a block, given by coder and last DC
    /// value of the component, store and index in the store.
    pub fn run(
        &mut self, mut position: usize, decode: impl Fn(&Coder<'b>, &mut Input, &mut i32, &mut Store, usize),
    ) -> Result<usize> {
        let (mut left, mut place) = (self.grid.0 * self.grid.1, (0, 0));
        let step = if self.restart == 0 { left } else { self.restart };
        for number in 0.. {
            let bits = self.reader.start(position)?;
            let bits = self.interval(bits, step.min(left), &mut place, &decode)?;
            position = self.reader.finish(bits)?;
            left -= step.min(left);
            if left == 0 {
                break;
            }
            position = self.reader.restart(number)?;
        }
        Ok(position)
    }

    /// Decodes the MCUs between two restart markers. `place`: column and row of the next MCU.
    fn interval(
        &mut self, mut bits: Bits, mut left: usize, place: &mut (usize, usize),
        decode: impl Fn(&Coder<'b>, &mut Input, &mut i32, &mut Store, usize),
    ) -> Result<Bits> {
        let (mut state, mut predictions) = (State::default(), [0; 4]);
        while left > 0 {
            let (x, y) = *place;
            let end = self.grid.0.min(x + left);
            let row = if self.bands.is_some() { 0 } else { y };
            for column in x..end {
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
                        (start..start + coder.h).for_each(|index| decode(coder, &mut input, prediction, store, index));
                        start += store.blocks_wide;
                    }
                }
                (bits, state) = (input.bits, input.state);
            }
            left -= end - x;
            *place = (end, y);
            state.check()?;
            if end == self.grid.0 {
                *place = (0, y + 1);
                if let Some(bands) = &mut self.bands {
                    bands.take_row(self.stores, 0);
                    self.stores.iter_mut().for_each(Store::clear);
                }
            }
        }
        ensure(state.end_run == 0, "run of blocks beyond the interval")?;
        Ok(bits)
    }
}

//! The pixels of a target, turned upright while they are written.

use crate::audited;
use crate::memory::Memory;

pub struct Output {
    /// Size in the file's orientation.
    width: usize,
    height: usize,
    channels: usize,
    orientation: u8,
    next: usize,
    line: Vec<u8>,
    pub pixels: Vec<u8>,
}

impl Output {
    pub fn new(width: usize, height: usize, channels: usize, orientation: u8, memory: &mut Memory) -> Output {
        let (line, pixels) = (memory.buffer(width * channels), memory.buffer(width * height * channels));
        Output { width, height, channels, orientation, next: 0, line, pixels }
    }

    /// Size of the upright picture.
    pub fn size(&self) -> (usize, usize) {
        if self.orientation > 4 {
            (self.height, self.width)
        } else {
            (self.width, self.height)
        }
    }

    pub fn is_complete(&self) -> bool {
        self.next == self.height
    }

    /// Adds a row, given by channels with 6 fraction bits.
    pub fn push(&mut self, rows: &[&[i16]]) {
        if self.next >= self.height {
            return;
        }
        audited::pack_row(rows, &mut self.line);
        self.place(self.next);
        self.next += 1;
    }

    /// Copies the line to row `y` of the file's orientation.
    fn place(&mut self, y: usize) {
        let size = self.line.len();
        let row = if matches!(self.orientation, 3 | 4) { self.height - 1 - y } else { y };
        match self.orientation {
            1 | 4 => self.pixels[row * size..(row + 1) * size].copy_from_slice(&self.line),
            2 | 3 => {
                let row = &mut self.pixels[row * size..(row + 1) * size];
                let pixels = row.chunks_exact_mut(self.channels).rev();
                pixels.zip(self.line.chunks_exact(self.channels)).for_each(|(to, from)| to.copy_from_slice(from));
            }
            _ => self.place_column(y),
        }
    }

    /// Copies the line to a column of the upright picture.
    fn place_column(&mut self, y: usize) {
        let column = if matches!(self.orientation, 6 | 7) { self.height - 1 - y } else { y };
        let upwards = matches!(self.orientation, 7 | 8);
        for (x, pixel) in self.line.chunks_exact(self.channels).enumerate() {
            let row = if upwards { self.width - 1 - x } else { x };
            let at = (row * self.height + column) * self.channels;
            self.pixels[at..at + self.channels].copy_from_slice(pixel);
        }
    }
}

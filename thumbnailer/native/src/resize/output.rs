//! The pixels of a target, turned upright while they are written.

use super::request::flips;
use crate::audited;
use crate::memory::Memory;

pub struct Output {
    /// Size in the file's orientation.
    width: usize,
    height: usize,
    channels: usize,
    orientation: u8,
    next: usize,
    /// A row, padded to 16 pixels.
    line: Vec<u8>,
    pub pixels: Vec<u8>,
}

impl Output {
    pub fn new(width: usize, height: usize, channels: usize, orientation: u8, memory: &mut Memory) -> Output {
        let line = memory.buffer(width.next_multiple_of(16) * channels);
        let pixels = memory.buffer(width * height * channels);
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

    /// Adds a row, given by channels with 6 fraction bits and padded to 16 pixels.
    pub fn push(&mut self, rows: &[&[i16]]) {
        if self.next >= self.height {
            return;
        }
        match *rows {
            [red, green, blue] => audited::pack_rgb([red, green, blue], &mut self.line),
            _ => audited::pack_grey(rows[0], &mut self.line),
        }
        self.place(self.next);
        self.next += 1;
    }

    /// Copies the line to row `y` of the file's orientation.
    fn place(&mut self, y: usize) {
        let (width, height, channels) = (self.width, self.height, self.channels);
        let (backwards, upwards) = flips(self.orientation);
        let row = if upwards { height - 1 - y } else { y };
        let (line, size) = (&self.line[..width * channels], width * channels);
        if matches!(self.orientation, 1 | 4) {
            return self.pixels[row * size..(row + 1) * size].copy_from_slice(line);
        }
        for (x, pixel) in line.chunks_exact(channels).enumerate() {
            let column = if backwards { width - 1 - x } else { x };
            let place = if self.orientation > 4 { column * height + row } else { row * width + column };
            self.pixels[place * channels..(place + 1) * channels].copy_from_slice(pixel);
        }
    }
}

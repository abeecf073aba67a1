//! The pixels of a target, turned upright while they are written.

use super::request::flips;
use crate::audited;
use crate::memory::Memory;

pub struct Picture {
    pub width: usize,
    pub height: usize,
    /// 1 for grey, 3 for RGB.
    pub channels: usize,
    pub pixels: Vec<u8>,
}

pub struct Output {
    /// Size in the file's orientation.
    width: usize,
    height: usize,
    orientation: u8,
    next: usize,
    /// A row, padded to 16 pixels.
    line: Vec<u8>,
    pub picture: Picture,
}

impl Output {
    pub fn new(width: usize, height: usize, channels: usize, orientation: u8, memory: &mut Memory) -> Output {
        let line = memory.buffer(width.next_multiple_of(16) * channels);
        let mut picture = Picture { width, height, channels, pixels: memory.buffer(width * height * channels) };
        if orientation > 4 {
            (picture.width, picture.height) = (height, width);
        }
        Output { width, height, orientation, next: 0, line, picture }
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
        let (width, height, channels) = (self.width, self.height, self.picture.channels);
        let (backwards, upwards) = flips(self.orientation);
        let row = if upwards { height - 1 - y } else { y };
        let (line, size) = (&self.line[..width * channels], width * channels);
        if matches!(self.orientation, 1 | 4) {
            return self.picture.pixels[row * size..(row + 1) * size].copy_from_slice(line);
        }
        for (x, pixel) in line.chunks_exact(channels).enumerate() {
            let column = if backwards { width - 1 - x } else { x };
            let place = if self.orientation > 4 { column * height + row } else { row * width + column };
            self.picture.pixels[place * channels..(place + 1) * channels].copy_from_slice(pixel);
        }
    }
}

//! Where the bytes of a file come from.

use std::fs::File;
use std::os::unix::fs::FileExt;

/// Read access to a file. The decoder copies each byte before it judges the byte, so that a file which
/// changes during the work gives a wrong picture or an error and nothing worse.
pub trait Source {
    /// Length in bytes.
    fn size(&self) -> usize;

    /// Copies bytes from `position` on and returns their number: fewer than `into` holds at the end of the file
    /// or at a read error only.
    fn read(&self, position: usize, into: &mut [u8]) -> usize;
}

impl Source for &[u8] {
    fn size(&self) -> usize {
        self.len()
    }

    fn read(&self, position: usize, into: &mut [u8]) -> usize {
        let rest = self.get(position..).unwrap_or(&[]);
        let count = rest.len().min(into.len());
        into[..count].copy_from_slice(&rest[..count]);
        count
    }
}

impl Source for File {
    fn size(&self) -> usize {
        self.metadata().map_or(0, |file| file.len() as usize)
    }

    fn read(&self, position: usize, into: &mut [u8]) -> usize {
        let mut count = 0;
        while let Ok(read @ 1..) = self.read_at(&mut into[count..], (position + count) as u64) {
            count += read;
        }
        count
    }
}

/// The last bytes that were read: restart intervals are shorter than a read.
pub struct Window<'a> {
    source: &'a dyn Source,
    start: usize,
    length: usize,
    bytes: Vec<u8>,
}

impl Window<'_> {
    /// Bytes that a window allocates.
    pub const SIZE: usize = 1 << 14;

    pub fn new(source: &dyn Source) -> Window<'_> {
        Window { source, start: 0, length: 0, bytes: vec![0; Self::SIZE] }
    }

    /// The bytes from a position on: two or more, fewer at the end of the file only.
    pub fn at(&mut self, position: usize) -> &[u8] {
        if position < self.start || position + 2 > self.start + self.length {
            self.length = self.source.read(position, &mut self.bytes);
            self.start = position;
        }
        &self.bytes[position - self.start..self.length]
    }
}

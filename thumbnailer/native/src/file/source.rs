//! Where the bytes of a file come from.

/// Read access to a file. The decoder copies each byte before it judges the byte, so that a file which
/// changes during the work gives a wrong picture or an error and nothing worse.
pub trait Source {
    /// Length in bytes.
    fn size(&self) -> usize;

    /// Returns up to `max` bytes from `position` on, borrowed or copied into `scratch`. Returns fewer
    /// bytes at the end of the file only, or if `scratch` is shorter.
    fn chunk<'a>(&'a self, position: usize, max: usize, scratch: &'a mut [u8]) -> &'a [u8];
}

impl Source for &[u8] {
    fn size(&self) -> usize {
        self.len()
    }

    fn chunk<'a>(&'a self, position: usize, max: usize, _scratch: &'a mut [u8]) -> &'a [u8] {
        let rest = self.get(position..).unwrap_or(&[]);
        &rest[..max.min(rest.len())]
    }
}

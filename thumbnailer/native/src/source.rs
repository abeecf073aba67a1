//! Where the bytes of a file come from.
#![forbid(unsafe_code)]

/// Read access to a file. The decoder copies each byte before it judges the byte, so that a file which
/// changes during the work gives a wrong picture or an error and nothing worse.
pub trait Source {
    fn len(&self) -> usize;

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns up to `max` bytes from `position` on, borrowed or copied into `scratch`. Returns fewer
    /// bytes at the end of the file only, or if `scratch` is shorter.
    fn chunk<'a>(&'a self, position: usize, max: usize, scratch: &'a mut [u8]) -> &'a [u8];
}

impl Source for &[u8] {
    fn len(&self) -> usize {
        <[u8]>::len(self)
    }

    fn chunk<'a>(&'a self, position: usize, max: usize, _scratch: &'a mut [u8]) -> &'a [u8] {
        let rest = self.get(position..).unwrap_or(&[]);
        &rest[..max.min(rest.len())]
    }
}

/// Index of the first 0xff, or the length.
pub fn find_ff(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(block) = bytes[at..].first_chunk::<32>() {
        let found = block.iter().fold(0, |mask, byte| mask | u8::from(*byte == 0xff).wrapping_neg());
        if found != 0 {
            break;
        }
        at += 32;
    }
    while at < bytes.len() && bytes[at] != 0xff {
        at += 1;
    }
    at
}

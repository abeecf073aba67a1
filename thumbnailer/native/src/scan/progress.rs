//! Which scans of a progressive file are legal, needed, and when the picture is complete (G.1.1.1).
#![forbid(unsafe_code)]

use crate::error::{Error::Doubtful, Result};
use crate::frame::ScanHeader;
use crate::layout::{Layout, Plane};

/// More scans than any encoder writes; libjpeg's own scripts have 10.
const MAX_SCANS: usize = 100;
/// A coefficient that no scan has coded.
const NEVER: u8 = 255;

pub struct Progress {
    /// Low bit (Al) of each coefficient of each component so far.
    low: Vec<[u8; 64]>,
    /// The same for the first scans and the refinement of DC alone, which is all that 1/8 decodes.
    decoded: Vec<[u8; 64]>,
    scans: usize,
    scale: usize,
}

/// Zigzag indices from `first` to `last` as bits.
pub fn band(first: u32, last: u32) -> u64 {
    if first > last {
        return 0;
    }
    (u64::MAX << first) & (u64::MAX >> (63 - last))
}

impl Progress {
    pub fn new(layout: &Layout) -> Progress {
        let planes = layout.planes.len();
        Progress { low: vec![[NEVER; 64]; planes], decoded: vec![[0; 64]; planes], scans: 0, scale: layout.scale }
    }

    /// Records a scan. Fails if the scan does not continue the earlier ones.
    pub fn record(&mut self, scan: &ScanHeader) -> Result<()> {
        self.scans += 1;
        if self.scans > MAX_SCANS {
            return Err(Doubtful("too many scans"));
        }
        let before = if scan.high == 0 { NEVER } else { scan.high as u8 };
        for component in &scan.components {
            let low = &mut self.low[component.index];
            if scan.first > 0 && low[0] == NEVER {
                return Err(Doubtful("AC scan before the DC scan"));
            }
            for state in &mut low[scan.first as usize..=scan.last as usize] {
                if *state != before {
                    return Err(Doubtful("scan does not continue the earlier ones"));
                }
                *state = scan.low as u8;
            }
            if self.scale > 1 || scan.first == 0 || scan.high == 0 {
                let band = scan.first as usize..=scan.last as usize;
                self.decoded[component.index][band].fill(scan.low as u8);
            }
        }
        Ok(())
    }

    /// Refinement of AC cannot be seen at 1/8. At other scales every AC scan is needed for its history of
    /// non-zero coefficients.
    pub fn is_needed(&self, scan: &ScanHeader, layout: &Layout) -> bool {
        if scan.first == 0 {
            return true;
        }
        let plane = &layout.planes[scan.components[0].index];
        if self.scale == 1 {
            return scan.high == 0 && plane.needed & band(scan.first, scan.last) != 0;
        }
        plane.last > 0
    }

    /// True if the file has coded every coefficient that the scale needs to its last bit.
    pub fn is_complete(&self, layout: &Layout) -> bool {
        self.low.iter().zip(&layout.planes).all(|(low, plane)| is_complete(low, plane))
    }

    /// Bits of each coefficient that `is_needed` left out.
    pub fn missing(&self) -> Vec<[u8; 64]> {
        self.decoded.clone()
    }
}

fn is_complete(low: &[u8; 64], plane: &Plane) -> bool {
    (0..64).all(|k| plane.needed >> k & 1 == 0 || low[k] == 0)
}

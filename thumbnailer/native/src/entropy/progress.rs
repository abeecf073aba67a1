//! Which scans of a file are legal and needed, and when the picture is complete (G.1.1.1).

use crate::error::{ensure, Result};
use crate::file::frame::ScanHeader;
use crate::picture::layout::{Layout, Plane};

/// More scans than any encoder writes; libjpeg's own scripts have 10.
const MAX_SCANS: usize = 100;
/// A coefficient that no scan has coded.
const NEVER: u8 = 255;

pub struct Progress<'a> {
    layout: &'a Layout,
    /// Low bit (Al) of each coefficient of each component so far.
    low: Vec<[u8; 64]>,
    scans: usize,
}

impl Progress<'_> {
    pub fn new(layout: &Layout) -> Progress<'_> {
        Progress { layout, low: vec![[NEVER; 64]; layout.planes.len()], scans: 0 }
    }

    /// Records a scan and returns whether the scale needs the scan. Fails if the scan does not continue the
    /// earlier ones.
    ///
    /// Refinement of AC cannot be seen at 1/8. At other scales every AC scan is needed for its history of
    /// non-zero coefficients.
    pub fn record(&mut self, scan: &ScanHeader) -> Result<bool> {
        self.scans += 1;
        ensure(self.scans <= MAX_SCANS, "too many scans")?;
        let band = scan.first as usize..=scan.last as usize;
        let before = if scan.high == 0 { NEVER } else { scan.high as u8 };
        let mut needed = scan.first == 0;
        for component in &scan.components {
            let low = &mut self.low[component.index];
            ensure(scan.first == 0 || low[0] != NEVER, "AC scan before the DC scan")?;
            let continues = low[band.clone()].iter().all(|state| *state == before);
            ensure(continues, "scan does not continue the earlier ones")?;
            low[band.clone()].fill(scan.low as u8);
            let plane = &self.layout.planes[component.index];
            let seen = scan.high == 0 && band.clone().any(|k| plane.needs(k));
            needed |= if self.layout.scale == 1 { seen } else { true };
        }
        Ok(needed)
    }

    /// Fails unless the file has coded every coefficient that the scale needs to its last bit.
    pub fn check(&self) -> Result<()> {
        let is_complete = |(low, plane): (&[u8; 64], &Plane)| (0..64).all(|k| low[k] == 0 || !plane.needs(k));
        ensure(self.low.iter().zip(&self.layout.planes).all(is_complete), "missing scans")
    }
}

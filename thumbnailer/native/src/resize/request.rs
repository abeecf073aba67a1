//! What the caller wants, and the same in the orientation of the file.

use crate::error::{require, Result};
use crate::picture::layout::SCALES;

/// Decoded pixels for a pixel of the largest target. 1.95 instead of 2 costs 0.0002 SSIM and saves up to
/// 17 % where a scale just misses 2.
pub const MIN_RATIO: f64 = 1.95;
/// The same for text and drawings, whose edges lose 0.004 to 0.01 SSIM at `MIN_RATIO`.
pub const GRAPHIC_RATIO: f64 = 3.0;
/// Decoded pixels for a pixel of a target at most: beyond that the weights have too few bits.
const MAX_RATIO: f64 = 256.0;
const MAX_TARGETS: usize = 16;
const MAX_SIDE: usize = 65_535;

/// A rectangle in pixels of the full picture; may have fractions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Area {
    pub left: f64,
    pub top: f64,
    pub width: f64,
    pub height: f64,
}

/// A picture to make: its size, and the part of the source that it shows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Target {
    pub width: usize,
    pub height: usize,
    pub area: Option<Area>,
}

#[derive(Debug, Clone)]
pub struct Request {
    /// In the upright orientation.
    pub targets: Vec<Target>,
    /// EXIF orientation, 1 to 8.
    pub orientation: u8,
    /// N of N/8; None for the smallest one that is good enough.
    pub scale: Option<usize>,
    /// Limit of memory in bytes.
    pub max_bytes: usize,
}

/// A target in the orientation of the file.
#[derive(Debug, Clone, Copy)]
pub struct Stored {
    pub width: usize,
    pub height: usize,
    pub area: Area,
}

impl Area {
    pub fn whole(width: usize, height: usize) -> Area {
        Area { left: 0.0, top: 0.0, width: width as f64, height: height as f64 }
    }

    fn is_inside(&self, width: f64, height: f64) -> bool {
        let limits = self.left >= 0.0 && self.top >= 0.0 && self.width >= 1.0 && self.height >= 1.0;
        limits && self.left + self.width <= width && self.top + self.height <= height
    }

    /// From the upright picture of this size to the file's orientation.
    fn stored(&self, orientation: u8, width: f64, height: f64) -> Area {
        let mut x = [self.left, width - self.left - self.width, self.width];
        let mut y = [self.top, height - self.top - self.height, self.height];
        if orientation > 4 {
            (x, y) = (y, x);
        }
        let (backwards, upwards) = flips(orientation);
        Area { left: x[usize::from(backwards)], top: y[usize::from(upwards)], width: x[2], height: y[2] }
    }
}

/// Whether the columns and the rows of the file run against those of the upright picture, transposed if the
/// orientation is above 4.
pub fn flips(orientation: u8) -> (bool, bool) {
    (matches!(orientation, 2 | 3 | 7 | 8), matches!(orientation, 3 | 4 | 6 | 7))
}

impl Request {
    /// The targets in the orientation of a file of this size.
    pub fn stored(&self, width: usize, height: usize) -> Result<Vec<Stored>> {
        require((1..=MAX_TARGETS).contains(&self.targets.len()), "number of targets")?;
        require((1..=8).contains(&self.orientation), "orientation")?;
        let upright = if self.orientation > 4 { (height, width) } else { (width, height) };
        self.targets.iter().map(|target| self.stored_target(target, Area::whole(upright.0, upright.1))).collect()
    }

    /// `whole`: the upright picture.
    fn stored_target(&self, target: &Target, whole: Area) -> Result<Stored> {
        let (area, width, height) = (target.area.unwrap_or(whole), whole.width, whole.height);
        let (sides, sizes) = (1..=MAX_SIDE, (target.width, target.height));
        require(sides.contains(&sizes.0) && sides.contains(&sizes.1), "size of a target")?;
        require(area.is_inside(width, height), "area of a target")?;
        let area = area.stored(self.orientation, width, height);
        let (width, height) = if self.orientation > 4 { (sizes.1, sizes.0) } else { sizes };
        Ok(Stored { width, height, area })
    }

    /// The scale of the request, or the smallest one that leaves so many decoded pixels for each pixel of every
    /// target.
    pub fn choose_scale(&self, targets: &[Stored], min_ratio: f64) -> Result<usize> {
        let ratios = |t: &Stored| [t.area.width / t.width as f64, t.area.height / t.height as f64];
        let ratios = || targets.iter().flat_map(ratios).map(|ratio| ratio / 8.0);
        let (least, most) = (ratios().fold(f64::MAX, f64::min), ratios().fold(0.0, f64::max));
        let smallest = SCALES.into_iter().find(|scale| least * *scale as f64 >= min_ratio).unwrap_or(8);
        let scale = self.scale.unwrap_or(smallest);
        require(SCALES.contains(&scale), "scale")?;
        require(most * scale as f64 <= MAX_RATIO, "reduction")?;
        Ok(scale)
    }
}

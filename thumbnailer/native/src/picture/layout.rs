//! Sizes of a picture decoded at N/8: what each component contributes to a row of MCUs.

use crate::file::frame::{Component, Frame};

/// Scales N of N/8. 7 gains little over 8 and is left out.
pub const SCALES: [usize; 7] = [1, 2, 3, 4, 5, 6, 8];

/// Row-major index of a zigzag index (figure 5).
pub const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21,
    28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54,
    47, 55, 62, 63,
];

/// Position of a coefficient that the scale does not need: the place of DC, which is written last.
pub const UNUSED: u8 = 0;

/// A component at the scale.
#[derive(Debug, Clone)]
pub struct Plane {
    /// Blocks in an MCU.
    pub h: usize,
    pub v: usize,
    /// Blocks in a row and rows of blocks, padded to whole MCUs.
    pub blocks_wide: usize,
    pub blocks_high: usize,
    /// Pixels of a block.
    pub across: usize,
    pub down: usize,
    /// How many times a sample is repeated in a row, and a row.
    pub stretch: (usize, usize),
    /// The stretching is libjpeg's triangle filter instead.
    pub smooth: bool,
    /// Samples of the component that belong to the picture.
    pub width: usize,
    pub height: usize,
    /// Zigzag index to position in the compact block, or `UNUSED`.
    pub positions: [u8; 64],
    /// The last zigzag index that is needed.
    pub last: usize,
}

#[derive(Debug, Clone)]
pub struct Layout {
    pub scale: usize,
    /// Samples of the decoded picture.
    pub width: usize,
    pub height: usize,
    pub mcus_high: usize,
    /// Rows of the decoded picture in a row of MCUs.
    pub rows: usize,
    pub planes: Vec<Plane>,
}

/// Pixels of a block in one direction, and what is left to stretch, for a component `ratio` times coarser
/// than the finest one. Chroma of half size is not stretched but decoded with twice as many frequencies.
fn block_size(scale: usize, ratio: usize) -> (usize, usize) {
    match (scale, ratio) {
        (8, _) => (8, ratio),
        (_, 2 | 4) => (2 * scale, ratio / 2),
        _ => (scale, ratio),
    }
}

impl Plane {
    fn new(frame: &Frame, component: &Component, scale: usize) -> Plane {
        let (mcus_wide, mcus_high) = frame.mcus();
        let (across, left_h) = block_size(scale, frame.h_max / component.h);
        let (down, left_v) = block_size(scale, frame.v_max / component.v);
        let width = (frame.width * component.h * across).div_ceil(8 * frame.h_max);
        let height = (frame.height * component.v * down).div_ceil(8 * frame.v_max);
        let mut plane = Plane {
            h: component.h,
            v: component.v,
            blocks_wide: mcus_wide * component.h,
            blocks_high: mcus_high * component.v,
            across,
            down,
            stretch: (left_h, left_v),
            smooth: scale == 8 && left_h <= 2 && left_v <= 2 && (left_h == 1 || width > 2),
            width,
            height,
            positions: [UNUSED; 64],
            last: 0,
        };
        plane.select_coefficients();
        plane
    }

    fn select_coefficients(&mut self) {
        let (wide, high) = (self.across.min(8), self.down.min(8));
        for (k, natural) in ZIGZAG.iter().enumerate() {
            let (u, v) = (usize::from(natural & 7), usize::from(natural >> 3));
            if u < wide && v < high {
                self.positions[k] = (v * wide + u) as u8;
                self.last = k;
            }
        }
    }

    /// Coefficients kept of a block.
    pub fn coefficients(&self) -> usize {
        self.across.min(8) * self.down.min(8)
    }

    /// Whether the scale needs the coefficient of a zigzag index.
    pub fn needs(&self, k: usize) -> bool {
        k == 0 || self.positions[k] != UNUSED
    }

    pub fn blocks(&self) -> usize {
        self.blocks_wide * self.blocks_high
    }

    /// Rows of samples in a row of MCUs.
    pub fn rows(&self) -> usize {
        self.v * self.down
    }
}

impl Layout {
    pub fn new(frame: &Frame, scale: usize) -> Layout {
        Layout {
            scale,
            width: (frame.width * scale).div_ceil(8),
            height: (frame.height * scale).div_ceil(8),
            mcus_high: frame.mcus().1,
            rows: frame.v_max * scale,
            planes: frame.components.iter().map(|c| Plane::new(frame, c, scale)).collect(),
        }
    }
}

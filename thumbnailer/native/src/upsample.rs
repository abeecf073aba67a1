//! Rows of subsampled components at the width of the picture.
#![forbid(unsafe_code)]

use crate::bands::Band;
use crate::layout::{Layout, Plane, Stretch};

pub struct Upsampler {
    planes: Vec<Stretched>,
    /// The triangle filter mixes the rows above and below.
    pub needs_row_below: bool,
}

struct Stretched {
    stretch: Stretch,
    row: Vec<u8>,
    sums: Vec<i16>,
}

/// Bytes of the row buffer of a component: whole samples, so a little more than the picture's width.
fn row_bytes(plane: &Plane) -> usize {
    match plane.stretch {
        Stretch::None => 0,
        Stretch::Repeat { h, .. } => plane.width * h,
        Stretch::Triangle { .. } => 2 * plane.width,
    }
}

impl Upsampler {
    pub fn new(layout: &Layout) -> Upsampler {
        let planes: Vec<Stretched> = layout
            .planes
            .iter()
            .map(|plane| Stretched {
                stretch: plane.stretch,
                row: vec![0; row_bytes(plane)],
                sums: vec![0; if row_bytes(plane) > 0 { plane.width } else { 0 }],
            })
            .collect();
        let needs_row_below = planes.iter().any(|p| matches!(p.stretch, Stretch::Triangle { v: true, .. }));
        Upsampler { planes, needs_row_below }
    }

    pub fn bytes(layout: &Layout) -> usize {
        layout.planes.iter().map(|plane| row_bytes(plane) + 2 * plane.width).sum()
    }

    /// Stretches the components that need it to row `y` of the picture.
    pub fn prepare(&mut self, bands: &[Band], y: usize) {
        for (plane, band) in self.planes.iter_mut().zip(bands) {
            match plane.stretch {
                Stretch::None => {}
                Stretch::Repeat { h, v } => repeat(band.row(y / v), h, &mut plane.row),
                Stretch::Triangle { h, v } => {
                    let (near, far) = triangle_rows(y, v);
                    let rows = (band.row(near), band.row(far));
                    triangle(rows, (h, v), y & 1, &mut plane.sums, &mut plane.row);
                }
            }
        }
    }

    /// Row of a component at the picture's width, or a little more.
    pub fn row<'a>(&'a self, index: usize, band: &'a Band, y: usize) -> &'a [u8] {
        match self.planes[index].stretch {
            Stretch::None => band.row(y),
            _ => &self.planes[index].row,
        }
    }
}

/// The nearest row of a component of half height, and the next nearest.
fn triangle_rows(y: usize, half: bool) -> (usize, usize) {
    match (half, y & 1) {
        (false, _) => (y, y),
        (true, 1) => (y / 2, y / 2 + 1),
        (true, _) => (y / 2, (y / 2).saturating_sub(1)),
    }
}

fn repeat(samples: &[u8], times: usize, row: &mut [u8]) {
    for (group, sample) in row.chunks_exact_mut(times).zip(samples) {
        group.fill(*sample);
    }
}

/// libjpeg's triangle filter: 3/4 of the nearest sample, 1/4 of the next nearest, in each direction that is
/// halved. `odd`: the row is an odd one. `sums` has the length of the samples.
#[inline(always)]
pub fn triangle((near, far): (&[u8], &[u8]), (h, v): (bool, bool), odd: usize, sums: &mut [i16], row: &mut [u8]) {
    let count = near.len().min(far.len()).min(sums.len());
    let (near, far, sums) = (&near[..count], &far[..count], &mut sums[..count]);
    for ((sum, near), far) in sums.iter_mut().zip(near).zip(far) {
        *sum = if v { 3 * i16::from(*near) + i16::from(*far) } else { i16::from(*near) };
    }
    match (h, v) {
        (true, true) => widen_row::<4>(sums, [8, 7], row),
        (true, false) => widen_row::<2>(sums, [1, 2], row),
        _ => {
            for (pixel, sum) in row.iter_mut().zip(&*sums) {
                *pixel = ((sum + 1 + odd as i16) >> 2) as u8;
            }
        }
    }
}

/// Two pixels a sample. `round`: what is added to the left and to the right pixel of a sample.
#[inline(always)]
fn widen_row<const SHIFT: u32>(sums: &[i16], round: [i16; 2], row: &mut [u8]) {
    let count = sums.len();
    let Some(row) = row.get_mut(..2 * count) else { return };
    if count == 0 {
        return;
    }
    let edge = if SHIFT == 4 { round } else { [0, 0] };
    row[0] = ((4 * sums[0] + edge[0]) >> SHIFT) as u8;
    row[2 * count - 1] = ((4 * sums[count - 1] + edge[1]) >> SHIFT) as u8;
    let inner = &mut row[1..2 * count - 1];
    for ((left, right), pixels) in sums.iter().zip(&sums[1..]).zip(inner.chunks_exact_mut(2)) {
        pixels[0] = ((3 * left + right + round[1]) >> SHIFT) as u8;
        pixels[1] = ((3 * right + left + round[0]) >> SHIFT) as u8;
    }
}

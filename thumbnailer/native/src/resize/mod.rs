//! Streaming resize: takes rows of the decoded picture and makes all targets. Keeps as many rows as the
//! kernels have taps.
#![forbid(unsafe_code)]

pub mod axis;
pub mod output;
pub mod request;
pub mod rows;

use std::array::from_fn;

use self::axis::{Axis, Span};
use self::output::Output;
use self::request::{Area, Stored};
use self::rows::{Ring, COLUMNS, GROUP};
use crate::audited;
use crate::file::frame::ColourModel;
use crate::memory::Memory;
use crate::picture::layout::Layout;

/// A target is made from a larger one that is at least this many times as large.
const CASCADE: usize = 2;

/// How one target is made: spans of both directions, and the target that it is made from.
#[derive(Debug, Clone)]
pub struct Step {
    pub horizontal: Span,
    pub vertical: Span,
    pub parent: Option<usize>,
}

/// Plans each target. `full`: size of the full picture.
pub fn steps(targets: &[Stored], layout: &Layout, full: (usize, usize)) -> Vec<Step> {
    (0..targets.len()).map(|index| step(targets, index, layout, full)).collect()
}

fn step(targets: &[Stored], index: usize, layout: &Layout, full: (usize, usize)) -> Step {
    let (target, parent) = (&targets[index], parent(targets, index, full));
    let (width, height, area, scale) = match parent.map(|parent| &targets[parent]) {
        Some(from) => (from.width, from.height, Area::whole(from.width, from.height), 1.0),
        None => (layout.width, layout.height, target.area, layout.scale as f64 / 8.0),
    };
    let span = |samples, start, length, out| Span { samples, start: start * scale, length: length * scale, out };
    Step {
        horizontal: span(width, area.left, area.width, target.width),
        vertical: span(height, area.top, area.height, target.height),
        parent,
    }
}

/// The smallest target that is large enough to make this one from. Both must show the whole picture.
fn parent(targets: &[Stored], index: usize, full: (usize, usize)) -> Option<usize> {
    let target = &targets[index];
    let whole = |t: &Stored| t.area == Area::whole(full.0, full.1);
    let is_large = |t: &Stored| t.width >= CASCADE * target.width && t.height >= CASCADE * target.height;
    let candidates = (0..targets.len()).filter(|i| whole(&targets[*i]) && is_large(&targets[*i]));
    candidates.filter(|_| whole(target)).min_by_key(|i| targets[*i].width * targets[*i].height)
}

pub struct Resizer {
    stages: Vec<Stage>,
    pub outputs: Vec<Output>,
}

impl Resizer {
    pub fn new(steps: &[Step], layout: &Layout, orientation: u8, memory: &mut Memory) -> Resizer {
        let channels = layout.planes.len();
        let stages = Stage::all(steps, None, channels, memory);
        let output = |s: &Step| Output::new(s.horizontal.out, s.vertical.out, channels, orientation, memory);
        Resizer { stages, outputs: steps.iter().map(output).collect() }
    }

    /// Takes the next row of the decoded picture, given by components and padded to 16 pixels.
    pub fn push(&mut self, rows: &[&[u8]], model: ColourModel) {
        for stage in &mut self.stages {
            stage.fill(rows, model);
            stage.advance(&mut self.outputs);
        }
    }

    pub fn is_complete(&self) -> bool {
        self.outputs.iter().all(Output::is_complete)
    }
}

/// The way to one target from the decoded picture or from a larger target.
struct Stage {
    target: usize,
    channels: usize,
    stride: usize,
    capacity: usize,
    /// Rings of the last rows of the source, by channel.
    samples: Vec<i16>,
    taken: usize,
    horizontal: Axis,
    vertical: Axis,
    next: usize,
    /// Output rows of the vertical pass, by channel; one channel of them by columns, and the same resized.
    group: Vec<i16>,
    columns: Vec<i16>,
    resized: Vec<i16>,
    /// Finished rows, by channel.
    rows: Vec<i16>,
    children: Vec<Stage>,
}

impl Stage {
    /// The stages of all targets that are made from `parent`.
    fn all(steps: &[Step], parent: Option<usize>, channels: usize, memory: &mut Memory) -> Vec<Stage> {
        let targets = (0..steps.len()).filter(|i| steps[*i].parent == parent);
        targets.map(|target| Stage::new(steps, target, channels, memory)).collect()
    }

    fn new(steps: &[Step], target: usize, channels: usize, memory: &mut Memory) -> Stage {
        let Step { horizontal, vertical, .. } = steps[target];
        let (capacity, out) = (vertical.taps(), horizontal.out.next_multiple_of(16));
        // An odd cache line more keeps rows of a group out of the same cache set.
        let stride = horizontal.samples.next_multiple_of(COLUMNS) + 32;
        Stage {
            target,
            channels,
            stride,
            capacity,
            samples: memory.buffer(channels * capacity * stride),
            taken: 0,
            horizontal: Axis::new(horizontal, memory),
            vertical: Axis::new(vertical, memory),
            next: 0,
            group: memory.buffer(channels * GROUP * stride),
            columns: memory.buffer(horizontal.samples.next_multiple_of(16) * GROUP),
            resized: memory.buffer(out * GROUP),
            rows: memory.buffer(channels * out * GROUP),
            children: Stage::all(steps, Some(target), channels, memory),
        }
    }

    /// Places of the next row, by channel.
    fn slots(&mut self) -> impl Iterator<Item = &mut [i16]> {
        let (start, width) = (self.taken % self.capacity * self.stride, self.columns.len() / GROUP);
        let rings = self.samples.chunks_exact_mut(self.capacity * self.stride);
        rings.map(move |ring| &mut ring[start..start + width])
    }

    fn fill(&mut self, rows: &[&[u8]], model: ColourModel) {
        let mut slots = self.slots();
        match (model, rows) {
            (ColourModel::YCbCr, [y, cb, cr]) => {
                audited::ycbcr_rows([y, cb, cr], from_fn(|_| slots.next().unwrap_or_default()));
            }
            _ => rows.iter().zip(slots).for_each(|(row, slot)| rows::widen_row(row, slot)),
        }
    }

    /// Counts the row whose slots were filled and makes the output rows that it completes.
    fn advance(&mut self, outputs: &mut [Output]) {
        self.taken += 1;
        while self.next < self.vertical.outputs() && self.vertical.end(self.next) <= self.taken {
            for channel in 0..self.channels {
                self.vertical_pass(channel);
            }
            self.next += 1;
            if self.next.is_multiple_of(GROUP) || self.next == self.vertical.outputs() {
                self.finish_group(outputs);
            }
        }
    }

    fn vertical_pass(&mut self, channel: usize) {
        let (stride, capacity) = (self.stride, self.capacity);
        let ring = Ring { samples: &self.samples[channel * capacity * stride..], stride, capacity };
        let (first, weights) = self.vertical.get(self.next);
        let row = channel * GROUP + self.next % GROUP;
        audited::vertical(ring, first, weights, &mut self.group[row * stride..(row + 1) * stride]);
    }

    /// Makes the rows of the group and hands them to the output and to the targets made from it.
    fn finish_group(&mut self, outputs: &mut [Output]) {
        for channel in 0..self.channels {
            self.horizontal_pass(channel);
        }
        let padded = self.resized.len() / GROUP;
        for row in 0..(self.next - 1) % GROUP + 1 {
            let rows = [0, 1, 2].map(|channel| {
                let start = (channel.min(self.channels - 1) * GROUP + row) * padded;
                &self.rows[start..start + padded]
            });
            outputs[self.target].push(&rows[..self.channels]);
            for child in &mut self.children {
                rows.iter().zip(child.slots()).for_each(|(row, slot)| rows::lift_row(row, slot));
                child.advance(outputs);
            }
        }
    }

    fn horizontal_pass(&mut self, channel: usize) {
        let (width, padded) = (self.columns.len() / GROUP, self.resized.len() / GROUP);
        let group = &self.group[channel * GROUP * self.stride..];
        audited::transpose(group, self.stride, &mut self.columns, GROUP, (GROUP, width));
        audited::horizontal(&self.columns, &self.horizontal, &mut self.resized);
        let rows = &mut self.rows[channel * GROUP * padded..];
        audited::transpose(&self.resized, GROUP, rows, padded, (padded, GROUP));
    }
}

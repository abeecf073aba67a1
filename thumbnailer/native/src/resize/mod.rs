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

fn stride(width: usize) -> usize {
    // An odd cache line more keeps rows of a group out of the same cache set.
    width.next_multiple_of(COLUMNS) + 32
}

/// Rows of one picture: the decoded one or a target from which others are made.
struct Node {
    width: usize,
    stride: usize,
    capacity: usize,
    channels: usize,
    /// Rings of the channels, one after the other.
    samples: Vec<i16>,
    rows: usize,
    branches: Vec<Branch>,
}

/// The way from a node to a target.
struct Branch {
    target: usize,
    horizontal: Axis,
    vertical: Axis,
    next: usize,
    child: Option<Node>,
    /// Output rows of the vertical pass, by channel; one channel of them by columns, and the same resized.
    group: Vec<i16>,
    columns: Vec<i16>,
    resized: Vec<i16>,
    /// Finished rows, by channel.
    rows: Vec<i16>,
}

pub struct Resizer {
    root: Node,
    pub outputs: Vec<Output>,
}

impl Resizer {
    pub fn new(steps: &[Step], layout: &Layout, orientation: u8, memory: &mut Memory) -> Resizer {
        let channels = layout.planes.len();
        let root = Node::new(steps, None, layout.width, channels, memory);
        let output = |s: &Step| Output::new(s.horizontal.out, s.vertical.out, channels, orientation, memory);
        Resizer { root, outputs: steps.iter().map(output).collect() }
    }

    /// Takes the next row of the decoded picture, given by components.
    pub fn push(&mut self, rows: &[&[u8]], model: ColourModel) {
        self.root.fill(rows, model);
        self.root.advance(&mut self.outputs);
    }

    pub fn is_complete(&self) -> bool {
        self.outputs.iter().all(Output::is_complete)
    }
}

impl Node {
    fn new(steps: &[Step], parent: Option<usize>, width: usize, channels: usize, memory: &mut Memory) -> Node {
        let indices = || (0..steps.len()).filter(|i| steps[*i].parent == parent);
        let branches = indices().map(|i| Branch::new(steps, i, channels, memory)).collect();
        let capacity = indices().map(|i| steps[i].vertical.max_taps()).max().unwrap_or(1);
        let stride = stride(width);
        let samples = memory.buffer(channels * capacity * stride);
        Node { width, stride, capacity, channels, samples, rows: 0, branches }
    }

    /// Places of the next row, by channel.
    fn slots(&mut self) -> impl Iterator<Item = &mut [i16]> {
        let (start, width) = (self.rows % self.capacity * self.stride, self.width.next_multiple_of(16));
        let rings = self.samples.chunks_exact_mut(self.capacity * self.stride);
        rings.map(move |ring| &mut ring[start..start + width])
    }

    fn fill(&mut self, rows: &[&[u8]], model: ColourModel) {
        let width = self.width.next_multiple_of(16);
        let mut slots = self.slots();
        match (model, rows) {
            (ColourModel::YCbCr, [y, cb, cr]) => {
                let rgb = from_fn(|_| slots.next().unwrap_or_default());
                audited::ycbcr_rows([&y[..width], &cb[..width], &cr[..width]], rgb);
            }
            _ => rows.iter().zip(slots).for_each(|(row, slot)| rows::widen_row(&row[..width], slot)),
        }
    }

    /// Counts the row whose slots were filled and makes the output rows that it completes.
    fn advance(&mut self, outputs: &mut [Output]) {
        self.rows += 1;
        let size = self.capacity * self.stride;
        for branch in &mut self.branches {
            while branch.next < branch.vertical.outputs() && branch.vertical.end(branch.next) <= self.rows {
                for (channel, samples) in self.samples.chunks_exact(size).enumerate() {
                    let ring = Ring { samples, stride: self.stride, capacity: self.capacity };
                    branch.vertical_pass(ring, channel);
                }
                branch.next += 1;
                if branch.next % GROUP == 0 || branch.next == branch.vertical.outputs() {
                    branch.finish_group(self.width, self.stride, self.channels, outputs);
                }
            }
        }
    }
}

impl Branch {
    fn new(steps: &[Step], target: usize, channels: usize, memory: &mut Memory) -> Branch {
        let step = &steps[target];
        let has_child = steps.iter().any(|s| s.parent == Some(target));
        let out = step.horizontal.out.next_multiple_of(16);
        Branch {
            target,
            horizontal: Axis::new(step.horizontal, memory),
            vertical: Axis::new(step.vertical, memory),
            next: 0,
            child: has_child.then(|| Node::new(steps, Some(target), step.horizontal.out, channels, memory)),
            group: memory.buffer(channels * GROUP * stride(step.horizontal.samples)),
            columns: memory.buffer(step.horizontal.samples.next_multiple_of(16) * GROUP),
            resized: memory.buffer(out * GROUP),
            rows: memory.buffer(channels * out * GROUP),
        }
    }

    fn vertical_pass(&mut self, ring: Ring, channel: usize) {
        let (first, weights) = self.vertical.get(self.next);
        let row = channel * GROUP + self.next % GROUP;
        let out = &mut self.group[row * ring.stride..(row + 1) * ring.stride];
        audited::vertical(ring, first, weights, out);
    }

    /// Makes the rows of the group and hands them to the output and to the targets made from it.
    fn finish_group(&mut self, width: usize, stride: usize, channels: usize, outputs: &mut [Output]) {
        for channel in 0..channels {
            self.horizontal_pass(width, stride, channel);
        }
        let padded = self.horizontal.outputs().next_multiple_of(16);
        for row in 0..(self.next - 1) % GROUP + 1 {
            let rows = [0, 1, 2].map(|channel| {
                let start = (channel.min(channels - 1) * GROUP + row) * padded;
                &self.rows[start..start + padded]
            });
            outputs[self.target].push(&rows[..channels]);
            if let Some(child) = &mut self.child {
                rows.iter().zip(child.slots()).for_each(|(row, slot)| rows::lift_row(row, slot));
                child.advance(outputs);
            }
        }
    }

    fn horizontal_pass(&mut self, width: usize, stride: usize, channel: usize) {
        let group = &self.group[channel * GROUP * stride..];
        audited::transpose(group, stride, &mut self.columns, GROUP, (GROUP, width.next_multiple_of(16)));
        audited::horizontal(&self.columns, &self.horizontal, &mut self.resized);
        let padded = self.horizontal.outputs().next_multiple_of(16);
        let rows = &mut self.rows[channel * GROUP * padded..];
        audited::transpose(&self.resized, GROUP, rows, padded, (padded, GROUP));
    }
}

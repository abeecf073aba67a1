//! Streaming resize: takes rows of the decoded picture and makes all targets. Keeps as many rows as the
//! kernels have taps.
#![forbid(unsafe_code)]

pub mod axis;
pub mod output;
pub mod request;
pub mod rows;

use self::axis::{Axis, Span};
use self::output::Output;
use self::request::Stored;
use self::rows::{Ring, COLUMNS, GROUP};
use crate::audited;
use crate::file::frame::ColourModel;
use crate::memory::Memory;

/// A target is made from a larger one that is at least this many times as large.
const CASCADE: usize = 2;

/// Size of the picture that the resizer takes: samples, and the exact size, which may have fractions.
#[derive(Debug, Clone, Copy)]
pub struct Input {
    pub width: usize,
    pub height: usize,
    /// Decoded pixels for a pixel of the full picture.
    pub scale: f64,
    pub channels: usize,
}

/// How one target is made: spans of both directions, and the target that it is made from.
#[derive(Debug, Clone)]
pub struct Step {
    pub horizontal: Span,
    pub vertical: Span,
    pub parent: Option<usize>,
}

/// Plans each target. `full`: size of the full picture.
pub fn steps(targets: &[Stored], input: &Input, full: (usize, usize)) -> Vec<Step> {
    (0..targets.len()).map(|index| step(targets, index, input, full)).collect()
}

fn step(targets: &[Stored], index: usize, input: &Input, full: (usize, usize)) -> Step {
    let target = &targets[index];
    let span = |samples, start, length, out| Span { samples, start, length, out };
    if let Some(parent) = parent(targets, index, full) {
        let from = &targets[parent];
        return Step {
            horizontal: span(from.width, 0.0, from.width as f64, target.width),
            vertical: span(from.height, 0.0, from.height as f64, target.height),
            parent: Some(parent),
        };
    }
    let (area, scale) = (target.area, input.scale);
    Step {
        horizontal: span(input.width, area.left * scale, area.width * scale, target.width),
        vertical: span(input.height, area.top * scale, area.height * scale, target.height),
        parent: None,
    }
}

/// The smallest target that is large enough to make this one from. Both must show the whole picture.
fn parent(targets: &[Stored], index: usize, full: (usize, usize)) -> Option<usize> {
    let target = &targets[index];
    let whole = |t: &Stored| t.area.is_whole(full.0, full.1);
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
    pub fn new(steps: &[Step], input: &Input, orientation: u8, memory: &mut Memory) -> Resizer {
        let root = Node::new(steps, None, input.width, input.channels, memory);
        let (spans, channels) = (steps.iter().map(|s| (s.horizontal.out, s.vertical.out)), input.channels);
        let output = |(width, height)| Output::new(width, height, channels, orientation, memory);
        Resizer { root, outputs: spans.map(output).collect() }
    }

    /// Takes the next row of the decoded picture, given by components.
    pub fn push(&mut self, rows: &[&[u8]], model: ColourModel) {
        let width = self.root.width.next_multiple_of(16);
        match (model, rows) {
            (ColourModel::YCbCr, [y, cb, cr]) => {
                let rgb = self.root.three_slots();
                audited::ycbcr_rows([&y[..width], &cb[..width], &cr[..width]], rgb);
            }
            _ => {
                for (channel, row) in rows.iter().enumerate() {
                    rows::widen_row(&row[..width], self.root.slot(channel));
                }
            }
        }
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

    /// Place of the next row of a channel.
    fn slot(&mut self, channel: usize) -> &mut [i16] {
        let start = (channel * self.capacity + self.rows % self.capacity) * self.stride;
        &mut self.samples[start..start + self.width.next_multiple_of(16)]
    }

    fn three_slots(&mut self) -> [&mut [i16]; 3] {
        let start = self.rows % self.capacity * self.stride;
        let channel = self.capacity * self.stride;
        let (first, rest) = self.samples.split_at_mut(channel);
        let (second, third) = rest.split_at_mut(channel);
        [first, second, third].map(|ring| &mut ring[start..start + self.width.next_multiple_of(16)])
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
                for (channel, row) in rows[..channels].iter().enumerate() {
                    rows::lift_row(row, child.slot(channel));
                }
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

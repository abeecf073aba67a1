//! Lanczos3 weights of one direction.
#![forbid(unsafe_code)]

use std::f64::consts::PI;

/// Fraction bits of a weight.
const ONE: i32 = 1 << 14;
const LOBES: f64 = 3.0;

/// A line of source samples and the part of the line that becomes `out` samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Span {
    pub samples: usize,
    pub start: f64,
    pub length: f64,
    pub out: usize,
}

impl Span {
    fn scale(&self) -> f64 {
        self.length / self.out as f64
    }

    /// More than the taps of any output sample.
    pub fn max_taps(&self) -> usize {
        ((2.0 * LOBES * self.scale().max(1.0)) as usize + 3).min(self.samples)
    }

    /// Bytes of the axis of this span.
    pub fn bytes(&self) -> usize {
        self.out * (2 * self.max_taps() + 8) + 8 + 16 * self.max_taps()
    }
}

/// Which samples make an output sample, and with what weights.
#[derive(Debug)]
pub struct Axis {
    starts: Vec<u32>,
    /// Bounds of each output sample's weights.
    offsets: Vec<u32>,
    weights: Vec<i16>,
}

impl Axis {
    pub fn new(span: Span) -> Axis {
        let mut axis = Axis {
            starts: Vec::with_capacity(span.out),
            offsets: Vec::with_capacity(span.out + 1),
            weights: Vec::with_capacity(span.out * span.max_taps()),
        };
        axis.offsets.push(0);
        let mut values = Vec::with_capacity(span.max_taps());
        for out in 0..span.out {
            let first = lanczos(&span, out, &mut values);
            axis.add(first, &values);
        }
        axis
    }

    /// Adds an output sample. Drops weights of zero at both ends.
    fn add(&mut self, first: usize, values: &[f64]) {
        let begin = self.weights.len();
        self.quantise(values);
        let added = &self.weights[begin..];
        let lead = added.iter().position(|w| *w != 0).unwrap_or(0);
        let end = added.iter().rposition(|w| *w != 0).map_or(added.len(), |last| last + 1);
        self.weights.truncate(begin + end);
        self.weights.drain(begin..begin + lead);
        self.starts.push((first + lead) as u32);
        self.offsets.push(self.weights.len() as u32);
    }

    /// Rounds the weights; the largest takes what is missing from a sum of 1.
    fn quantise(&mut self, values: &[f64]) {
        let begin = self.weights.len();
        let factor = f64::from(ONE) / values.iter().sum::<f64>();
        let limit = |weight: i32| weight.clamp(i16::MIN.into(), i16::MAX.into()) as i16;
        let (mut sum, mut largest) = (0, 0);
        for (i, value) in values.iter().enumerate() {
            let half = if *value < 0.0 { -0.5 } else { 0.5 };
            let weight = limit((value * factor + half) as i32);
            sum += i32::from(weight);
            self.weights.push(weight);
            if *value > values[largest] {
                largest = i;
            }
        }
        let place = &mut self.weights[begin + largest];
        *place = limit(i32::from(*place) + ONE - sum);
    }

    /// Number of output samples.
    pub fn outputs(&self) -> usize {
        self.starts.len()
    }

    /// First source sample and weights of an output sample.
    #[inline]
    pub fn get(&self, out: usize) -> (usize, &[i16]) {
        let (begin, end) = (self.offsets[out] as usize, self.offsets[out + 1] as usize);
        (self.starts[out] as usize, &self.weights[begin..end])
    }

    /// Source sample behind the last one that an output sample needs.
    pub fn end(&self, out: usize) -> usize {
        let (start, weights) = self.get(out);
        start + weights.len()
    }

    /// Source samples that must be kept while they are read in order.
    pub fn memory(&self) -> usize {
        let mut read = 0;
        let mut most = 1;
        for out in 0..self.outputs() {
            read = read.max(self.end(out));
            most = most.max(read - self.starts[out] as usize);
        }
        most
    }
}

/// Computes the weights of an output sample, not normalised. Returns its first source sample.
///
/// The kernel is sin(pi t) sin(pi t / 3) * 3 / (pi t)^2 on an even grid, so both sines advance by rotation:
/// this saves two sines a tap.
fn lanczos(span: &Span, out: usize, values: &mut Vec<f64>) -> usize {
    let scale = span.scale();
    let stretch = scale.max(1.0);
    let centre = span.start + (out as f64 + 0.5) * scale;
    let support = LOBES * stretch;
    let first = ((centre - support + 0.5).max(0.0) as usize).min(span.samples - 1);
    let end = ((centre + support + 0.5) as usize).clamp(first + 1, span.samples);
    let offset = (first as f64 - centre + 0.5) / stretch;
    let (mut wave, mut window) = (Rotation::new(offset, stretch), Rotation::new(offset / LOBES, stretch * LOBES));
    values.clear();
    for i in 0..end - first {
        let t = offset + i as f64 / stretch;
        values.push(if t.abs() >= LOBES {
            0.0
        } else if t.abs() < 1e-6 {
            1.0
        } else {
            wave.sin * window.sin * LOBES / (PI * PI * t * t)
        });
        wave.advance();
        window.advance();
    }
    if values.iter().sum::<f64>() < 1e-3 {
        values.fill(1.0);
    }
    first
}

/// sin(pi t) for t on an even grid.
struct Rotation {
    sin: f64,
    cos: f64,
    step_sin: f64,
    step_cos: f64,
}

impl Rotation {
    fn new(start: f64, stretch: f64) -> Rotation {
        let (sin, cos) = (PI * start).sin_cos();
        let (step_sin, step_cos) = (PI / stretch).sin_cos();
        Rotation { sin, cos, step_sin, step_cos }
    }

    fn advance(&mut self) {
        let sin = self.sin * self.step_cos + self.cos * self.step_sin;
        self.cos = self.cos * self.step_cos - self.sin * self.step_sin;
        self.sin = sin;
    }
}

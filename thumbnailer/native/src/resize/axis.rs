//! Lanczos3 weights of one direction.

use std::f64::consts::PI;

use crate::memory::Memory;

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

    /// The most taps that an output sample may have.
    pub fn max_taps(&self) -> usize {
        ((2.0 * LOBES * self.scale().max(1.0)) as usize + 3).min(self.samples)
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
    pub fn new(span: Span, memory: &mut Memory) -> Axis {
        let mut axis = Axis {
            starts: memory.buffer(span.out),
            offsets: memory.buffer(span.out + 1),
            weights: memory.buffer(span.out * span.max_taps()),
        };
        let mut values: Vec<f64> = memory.buffer(2 * span.max_taps());
        if !memory.dry {
            axis.weights.clear();
            for out in 0..span.out {
                axis.starts[out] = lanczos(&span, out, &mut values) as u32;
                axis.add(&values);
                axis.offsets[out + 1] = axis.weights.len() as u32;
            }
        }
        axis
    }

    /// Adds the rounded weights of an output sample; the largest takes what is missing from a sum of 1.
    fn add(&mut self, values: &[f64]) {
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
}

/// Computes the weights of an output sample, not normalised. Returns its first source sample.
///
/// The kernel is sin(pi t) sin(pi t / 3) * 3 / (pi t)^2 = 3 (1 - c) (1 + 2 c) / 2 (pi t)^2 with
/// c = cos(2 pi t / 3), on an even grid: c advances by rotation, which saves two sines a tap.
fn lanczos(span: &Span, out: usize, values: &mut Vec<f64>) -> usize {
    let scale = span.scale();
    let stretch = scale.max(1.0);
    let centre = span.start + (out as f64 + 0.5) * scale;
    let support = LOBES * stretch;
    let first = ((centre - support + 0.5).max(0.0) as usize).min(span.samples - 1);
    let end = ((centre + support + 0.5) as usize).clamp(first + 1, span.samples);
    let offset = (first as f64 - centre + 0.5) / stretch;
    let turn = 2.0 * PI / LOBES;
    let (mut sin, mut cos) = (turn * offset).sin_cos();
    let (step_sin, step_cos) = (turn / stretch).sin_cos();
    values.clear();
    for i in 0..end - first {
        let t = offset + i as f64 / stretch;
        let weight = LOBES * (1.0 - cos) * (1.0 + 2.0 * cos) / (2.0 * PI * PI * t * t);
        values.push(if t.abs() < 1e-4 { 1.0 } else { weight * f64::from(u8::from(t.abs() < LOBES)) });
        (sin, cos) = (sin * step_cos + cos * step_sin, cos * step_cos - sin * step_sin);
    }
    if values.iter().sum::<f64>() < 1e-3 {
        values.fill(1.0);
    }
    first
}

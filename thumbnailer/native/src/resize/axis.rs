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

    /// Source samples that an output sample is made from.
    pub fn taps(&self) -> usize {
        ((2.0 * LOBES * self.scale().max(1.0)) as usize + 1).min(self.samples)
    }
}

/// Which samples make an output sample, and with what weights.
#[derive(Debug)]
pub struct Axis {
    taps: usize,
    starts: Vec<usize>,
    weights: Vec<i16>,
}

impl Axis {
    pub fn new(span: Span, memory: &mut Memory) -> Axis {
        let taps = span.taps();
        let mut axis = Axis { taps, starts: memory.buffer(span.out), weights: memory.buffer(span.out * taps) };
        let mut values: Vec<f64> = memory.buffer(taps);
        for (out, weights) in axis.weights.chunks_exact_mut(taps).enumerate() {
            axis.starts[out] = lanczos(&span, out, &mut values);
            round_weights(&values, weights);
        }
        axis
    }

    /// Number of output samples.
    pub fn outputs(&self) -> usize {
        self.starts.len()
    }

    /// First source sample and weights of an output sample.
    #[inline]
    pub fn get(&self, out: usize) -> (usize, &[i16]) {
        (self.starts[out], &self.weights[out * self.taps..(out + 1) * self.taps])
    }

    /// Source sample behind the last one that an output sample needs.
    pub fn end(&self, out: usize) -> usize {
        self.starts[out] + self.taps
    }
}

/// Weights with a sum of 1: the largest takes what is missing.
fn round_weights(values: &[f64], weights: &mut [i16]) {
    let factor = f64::from(ONE) / values.iter().sum::<f64>();
    let limit = |weight: i32| weight.clamp(i16::MIN.into(), i16::MAX.into()) as i16;
    let (mut sum, mut largest) = (0, 0);
    for (i, value) in values.iter().enumerate() {
        let half = if *value < 0.0 { -0.5 } else { 0.5 };
        weights[i] = limit((value * factor + half) as i32);
        sum += i32::from(weights[i]);
        if *value > values[largest] {
            largest = i;
        }
    }
    weights[largest] = limit(i32::from(weights[largest]) + ONE - sum);
}

/// Computes the weights of an output sample, not normalised. Returns its first source sample.
///
/// The kernel is sin(pi t) sin(pi t / 3) * 3 / (pi t)^2 = 3 (1 - c) (1 + 2 c) / 2 (pi t)^2 with
/// c = cos(2 pi t / 3), on an even grid: c advances by rotation, which saves two sines a tap.
fn lanczos(span: &Span, out: usize, values: &mut [f64]) -> usize {
    let stretch = span.scale().max(1.0);
    let centre = span.start + (out as f64 + 0.5) * span.scale();
    let first = ((centre - LOBES * stretch + 0.5).max(0.0) as usize).min(span.samples - values.len());
    let offset = (first as f64 - centre + 0.5) / stretch;
    let turn = 2.0 * PI / LOBES;
    let (mut sin, mut cos) = (turn * offset).sin_cos();
    let (step_sin, step_cos) = (turn / stretch).sin_cos();
    for (i, value) in values.iter_mut().enumerate() {
        let t = offset + i as f64 / stretch;
        let weight = LOBES * (1.0 - cos) * (1.0 + 2.0 * cos) / (2.0 * PI * PI * t * t);
        *value = if t.abs() < 1e-4 { 1.0 } else { weight * f64::from(u8::from(t.abs() < LOBES)) };
        (sin, cos) = (sin * step_cos + cos * step_sin, cos * step_cos - sin * step_sin);
    }
    if values.iter().sum::<f64>() < 1e-3 {
        values.fill(1.0);
    }
    first
}

//! Basis functions of the N-point transforms, computed by the compiler.

use std::f64::consts::{PI, SQRT_2};

/// Largest number of points.
const POINTS: usize = 12;

/// `BASIS[n][y][u]`: coefficient u at pixel y of n, with 13 fraction bits; keeps the mean. Rows beyond the
/// middle mirror the first ones, with the sign changed where u is odd.
pub static BASIS: [[[i16; 8]; POINTS]; POINTS + 1] = tables();

const fn tables() -> [[[i16; 8]; POINTS]; POINTS + 1] {
    let mut all = [[[0; 8]; POINTS]; POINTS + 1];
    let mut n = 1;
    while n <= POINTS {
        let mut y = 0;
        while y < n {
            all[n][y] = row(n, y);
            y += 1;
        }
        n += 1;
    }
    all
}

const fn row(n: usize, y: usize) -> [i16; 8] {
    let mut row = [0; 8];
    row[0] = 8192;
    let mut u = 1;
    while u < 8 && u < n {
        let value = 8192.0 * SQRT_2 * cosine((2 * y + 1) * u, 2 * n);
        row[u] = if value < 0.0 { (value - 0.5) as i16 } else { (value + 0.5) as i16 };
        u += 1;
    }
    row
}

/// cos(pi * numerator / denominator)
const fn cosine(numerator: usize, denominator: usize) -> f64 {
    let turn = numerator % (2 * denominator);
    let half = if turn > denominator { 2 * denominator - turn } else { turn };
    if 2 * half > denominator {
        return -taylor(PI * (denominator - half) as f64 / denominator as f64);
    }
    taylor(PI * half as f64 / denominator as f64)
}

/// Cosine of 0 to pi / 2.
const fn taylor(x: f64) -> f64 {
    let (mut sum, mut term, mut k) = (1.0, 1.0, 1);
    while k < 12 {
        term *= -x * x / ((2 * k - 1) * (2 * k)) as f64;
        sum += term;
        k += 1;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::needless_range_loop)] // The formula names the indices.
    fn basis_is_the_cosine() {
        for n in 1..=POINTS {
            for y in 0..n {
                for u in 1..n.min(8) {
                    let angle = PI * ((2 * y + 1) * u) as f64 / (2 * n) as f64;
                    let want = (8192.0 * SQRT_2 * angle.cos()).round() as i16;
                    assert_eq!(BASIS[n][y][u], want, "n {n} y {y} u {u}");
                }
            }
        }
    }
}

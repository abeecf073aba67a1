//! Basis functions of the N-point transforms.

/// Largest number of points.
const POINTS: usize = 12;
/// cos(pi / 240) and sin(pi / 240).
const STEP: (f64, f64) = (0.999_914_327_574_007_4, 0.013_089_595_571_344_44);

/// `BASIS[n][y][u]`: coefficient u at pixel y of n, with 13 fraction bits; keeps the mean. Twice the number of
/// points must divide 240.
pub static BASIS: [[[i16; 8]; POINTS]; POINTS + 1] = tables();

const fn tables() -> [[[i16; 8]; POINTS]; POINTS + 1] {
    let cosines = cosines();
    let mut all = [[[0; 8]; POINTS]; POINTS + 1];
    let mut i = 0;
    while i < POINTS * POINTS * 8 {
        let (n, y, u) = (i / 8 / POINTS + 1, i / 8 % POINTS, i % 8);
        if y < n && u < n {
            all[n][y][u] = if u == 0 { 8192 } else { cosines[(2 * y + 1) * u * (120 / n) % 480] };
        }
        i += 1;
    }
    all
}

/// sqrt(2) cos(pi k / 240) with 13 fraction bits, for k of 0 to 479, by rotation.
const fn cosines() -> [i16; 480] {
    let mut all = [0; 480];
    let (mut cos, mut sin, mut k) = (8192.0 * std::f64::consts::SQRT_2, 0.0, 0);
    while k < 480 {
        all[k] = (cos + if cos < 0.0 { -0.5 } else { 0.5 }) as i16;
        (cos, sin) = (cos * STEP.0 - sin * STEP.1, sin * STEP.0 + cos * STEP.1);
        k += 1;
    }
    all
}

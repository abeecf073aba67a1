//! Basis functions of the N-point transforms.

/// Largest number of points.
const POINTS: usize = 12;

/// sqrt(2) cos(pi k / 240) with 13 fraction bits, for k of 0 to 120.
#[rustfmt::skip]
const COSINES: [i16; 121] = [
    11585, 11584, 11581, 11576, 11569, 11560, 11550, 11537, 11522, 11505, 11486, 11465, 11443, 11418, 11391,
    11363, 11332, 11300, 11265, 11229, 11190, 11150, 11108, 11064, 11018, 10970, 10921, 10869, 10816, 10760,
    10703, 10644, 10584, 10521, 10457, 10390, 10323, 10253, 10181, 10108, 10033, 9956, 9878, 9798, 9716, 9633,
    9548, 9461, 9373, 9283, 9191, 9098, 9003, 8907, 8809, 8710, 8610, 8507, 8404, 8299, 8192, 8084, 7975, 7864,
    7752, 7639, 7524, 7408, 7291, 7172, 7053, 6932, 6810, 6686, 6562, 6436, 6310, 6182, 6053, 5923, 5793, 5661,
    5528, 5394, 5260, 5124, 4988, 4850, 4712, 4573, 4433, 4293, 4152, 4010, 3867, 3724, 3580, 3436, 3290, 3145,
    2998, 2852, 2705, 2557, 2409, 2260, 2111, 1962, 1812, 1662, 1512, 1362, 1211, 1060, 909, 758, 606, 455, 303,
    152, 0,
];

/// `BASIS[n][y][u]`: coefficient u at pixel y of n, with 13 fraction bits; keeps the mean. Twice the number of
/// points must divide 240.
pub static BASIS: [[[i16; 8]; POINTS]; POINTS + 1] = tables();

const fn tables() -> [[[i16; 8]; POINTS]; POINTS + 1] {
    let mut all = [[[0; 8]; POINTS]; POINTS + 1];
    let mut i = 0;
    while i < POINTS * POINTS * 8 {
        let (n, y, u) = (i / 8 / POINTS + 1, i / 8 % POINTS, i % 8);
        if y < n && u < n {
            all[n][y][u] = if u == 0 { 8192 } else { cosine((2 * y + 1) * u * (120 / n) % 480) };
        }
        i += 1;
    }
    all
}

/// sqrt(2) cos(pi k / 240) for k of 0 to 479.
const fn cosine(k: usize) -> i16 {
    let half = if k > 240 { 480 - k } else { k };
    if half > 120 {
        -COSINES[240 - half]
    } else {
        COSINES[half]
    }
}

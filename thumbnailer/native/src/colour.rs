//! Colour conversion and packing of rows, in plain code.
#![forbid(unsafe_code)]

/// `value * weight / 32768`, rounded: what `pmulhrsw` and `sqrdmulh` compute.
#[inline(always)]
pub fn multiply(value: i16, weight: i16) -> i16 {
    ((((i32::from(value) * i32::from(weight)) >> 14) + 1) >> 1) as i16
}

/// Fractions of the YCbCr coefficients 1.402, 0.344136, 0.714136 and 1.772, times 32768.
pub const RED_CR: i16 = 13173;
pub const GREEN_CB: i16 = 11277;
pub const GREEN_CR: i16 = 23401;
pub const BLUE_CB: i16 = 7471;

/// Rounds a value with 6 fraction bits and adds 128.
#[inline(always)]
pub fn to_byte(value: i16) -> u8 {
    ((value.saturating_add(32) >> 6) + 128).clamp(0, 255) as u8
}

/// A byte as the resizer keeps samples: 128 subtracted, 8 fraction bits.
#[inline(always)]
pub fn widen(byte: u8) -> i16 {
    i16::from((byte ^ 0x80) as i8) << 8
}

#[inline(always)]
pub fn widen_row(bytes: &[u8], row: &mut [i16]) {
    for (value, byte) in row.iter_mut().zip(bytes) {
        *value = widen(*byte);
    }
}

/// Three rows of YCbCr to rows of red, green and blue, each pixel rounded to 8 bits.
#[inline(always)]
pub fn ycbcr_rows(ycbcr: [&[u8]; 3], rgb: [&mut [i16]; 3]) {
    let [red, green, blue] = rgb;
    let samples = ycbcr[0].iter().zip(ycbcr[1]).zip(ycbcr[2]);
    let places = red.iter_mut().zip(green).zip(blue);
    for (((y, cb), cr), ((red, green), blue)) in samples.zip(places) {
        let [y, cb, cr] = [*y, *cb, *cr].map(|byte| (i16::from(byte) - 128) << 6);
        let round = |value| widen(to_byte(value));
        *red = round(y.saturating_add(cr).saturating_add(multiply(cr, RED_CR)));
        *green = round(y.saturating_sub(multiply(cb, GREEN_CB).saturating_add(multiply(cr, GREEN_CR))));
        *blue = round(y.saturating_add(cb.saturating_add(cb)).saturating_sub(multiply(cb, BLUE_CB)));
    }
}

/// A row of values with 6 fraction bits to bytes.
#[inline(always)]
pub fn narrow_row(row: &[i16], bytes: &mut [u8]) {
    for (byte, value) in bytes.iter_mut().zip(row) {
        *byte = to_byte(*value);
    }
}

/// Three rows of values with 6 fraction bits to a row of pixels.
#[inline(always)]
pub fn pack_row(rows: [&[i16]; 3], pixels: &mut [u8]) {
    let values = rows[0].iter().zip(rows[1]).zip(rows[2]);
    for (pixel, ((a, b), c)) in pixels.chunks_exact_mut(3).zip(values) {
        pixel.copy_from_slice(&[to_byte(*a), to_byte(*b), to_byte(*c)]);
    }
}

/// A row of values with 6 fraction bits to samples with 8, limited to the range of a byte.
#[inline(always)]
pub fn lift_row(row: &[i16], samples: &mut [i16]) {
    for (sample, value) in samples.iter_mut().zip(row) {
        *sample = (*value).clamp(-8192, 8191) << 2;
    }
}

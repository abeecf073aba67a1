//! Orientation, areas and sets of targets.

mod support;

use support::{scan, Jpeg};
use thumbnailer_jpeg::{plan, render, Area, Picture, Request, Target};

const WIDTH: usize = 96;
const HEIGHT: usize = 64;

fn file(grey: bool) -> Vec<u8> {
    let colour = [(1, 2, 2), (2, 1, 1), (3, 1, 1)];
    Jpeg::new(WIDTH, HEIGHT, if grey { &colour[..1] } else { &colour[..] }, 3).bytes()
}

fn one(file: &[u8], target: Target, orientation: u8, scale: Option<usize>) -> Picture {
    let request = Request { targets: vec![target], orientation, scale, max_bytes: 1 << 26 };
    render(&file, &request).unwrap().pictures.remove(0)
}

/// Where pixel (x, y) of the upright picture lies in the file's orientation, by the EXIF standard.
fn stored(orientation: u8, (x, y): (usize, usize), (width, height): (usize, usize)) -> (usize, usize) {
    match orientation {
        1 => (x, y),
        2 => (width - 1 - x, y),
        3 => (width - 1 - x, height - 1 - y),
        4 => (x, height - 1 - y),
        5 => (y, x),
        6 => (y, height - 1 - x),
        7 => (width - 1 - y, height - 1 - x),
        _ => (width - 1 - y, x),
    }
}

#[test]
fn orientation_equals_turning_the_result() {
    for grey in [false, true] {
        let file = file(grey);
        for (width, height) in [(24, 16), (37, 23), (6, 4), (96, 64)] {
            let plain = one(&file, Target { width, height, area: None }, 1, None);
            for orientation in 2..=8 {
                let (w, h) = if orientation > 4 { (height, width) } else { (width, height) };
                let turned = one(&file, Target { width: w, height: h, area: None }, orientation, None);
                assert_eq!((turned.width, turned.height), (w, h));
                for y in 0..h {
                    for x in 0..w {
                        let (sx, sy) = stored(orientation, (x, y), (width, height));
                        let (n, a, b) = (plain.channels, (sy * width + sx), y * w + x);
                        assert_eq!(turned.pixels[b * n..b * n + n], plain.pixels[a * n..a * n + n]);
                    }
                }
            }
        }
    }
}

/// An area of the upright picture, without resize, equals the part cut out of the whole picture.
#[test]
fn area_equals_cutting_the_result() {
    let file = file(false);
    for orientation in 1..=8 {
        let (w, h) = if orientation > 4 { (HEIGHT, WIDTH) } else { (WIDTH, HEIGHT) };
        let whole = one(&file, Target { width: w, height: h, area: None }, orientation, Some(8));
        let (left, top, width, height) = (10, 20, 30, 25);
        let area = Area { left: left as f64, top: top as f64, width: width as f64, height: height as f64 };
        let part = one(&file, Target { width, height, area: Some(area) }, orientation, Some(8));
        for y in 0..height {
            let from = ((top + y) * w + left) * 3;
            assert_eq!(
                part.pixels[y * width * 3..(y + 1) * width * 3],
                whole.pixels[from..from + width * 3],
                "orientation {orientation} row {y}"
            );
        }
    }
}

#[test]
fn targets_of_a_set_are_near_single_ones() {
    let file = file(false);
    let sizes = [(12, 8), (48, 32), (96, 64), (20, 14), (5, 60)];
    let targets: Vec<Target> =
        sizes.iter().map(|(width, height)| Target { width: *width, height: *height, area: None }).collect();
    let request = Request { targets: targets.clone(), orientation: 1, scale: Some(8), max_bytes: 1 << 26 };
    let set = render(&&file[..], &request).unwrap().pictures;
    for (target, picture) in targets.into_iter().zip(set) {
        let single = one(&file, target, 1, Some(8));
        assert_eq!((picture.width, picture.height), (target.width, target.height));
        let sum: u32 = single.pixels.iter().zip(&picture.pixels).map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
        let mean = f64::from(sum) / single.pixels.len() as f64;
        assert!(mean < 4.0, "{target:?}: {mean}");
    }
}

#[test]
fn a_flat_picture_stays_flat() {
    let mut jpeg = Jpeg::new(200, 150, &[(1, 1, 1)], 1);
    jpeg.blocks[0].iter_mut().for_each(|block| *block = [0; 64]);
    let file = jpeg.bytes();
    for (width, height) in [(1, 1), (13, 150), (200, 7), (300, 400)] {
        let picture = one(&file, Target { width, height, area: None }, 1, None);
        assert!(picture.pixels.iter().all(|pixel| *pixel == 128));
    }
}

#[test]
fn the_scale_leaves_almost_two_pixels_for_each() {
    let file = Jpeg::new(1024, 1024, &[(1, 1, 1)], 1).bytes();
    for (width, scale) in [(64, 1), (65, 1), (66, 2), (131, 2), (132, 3), (260, 4), (320, 5), (393, 6), (400, 8)] {
        let request = Request {
            targets: vec![Target { width, height: width, area: None }],
            orientation: 1,
            scale: None,
            max_bytes: 1 << 26,
        };
        assert_eq!(render(&&file[..], &request).unwrap().plan.scale, scale, "{width}");
    }
}

/// Blocks of sharp detail as in text: decoded a second time at a larger scale if the memory allows. Photos are not.
#[test]
fn graphics_are_decoded_at_a_larger_scale() {
    let request = Request {
        targets: vec![Target { width: 128, height: 96, area: None }],
        orientation: 1,
        scale: None,
        max_bytes: 1 << 26,
    };
    let mut script = vec![scan(&[0, 1, 2], (0, 0), 0, 0)];
    for c in 0..3 {
        script.extend([scan(&[c], (1, 5), 0, 1), scan(&[c], (6, 63), 0, 1), scan(&[c], (1, 63), 1, 0)]);
    }
    for (sharp, scale) in [(0, 2), (15, 2), (60, 3)] {
        let mut jpeg = Jpeg::new(1024, 768, &[(1, 2, 2), (2, 1, 1), (3, 1, 1)], 1);
        for block in jpeg.blocks.iter_mut().flatten() {
            *block = [0; 64];
            (block[0], block[40], block[50], block[60]) = (30, sharp, -sharp, sharp);
        }
        for file in [jpeg.bytes(), jpeg.clone().progressive(script.clone()).bytes()] {
            let planned = plan(&&file[..], &request).unwrap();
            let rendered = render(&&file[..], &request).unwrap();
            assert_eq!((planned.scale, rendered.plan.scale), (2, scale), "{sharp}");
            for same in
                [Request { scale: Some(2), ..request.clone() }, Request { max_bytes: planned.bytes, ..request.clone() }]
            {
                assert_eq!(render(&&file[..], &same).unwrap().plan.scale, 2);
            }
        }
    }
}

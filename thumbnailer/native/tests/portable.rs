//! Vector code gives the bits of the plain code. The switch is global, so this file has one test.

mod support;

use support::{scan, Jpeg, Random};
use thumbnailer_jpeg::audited::{force_portable, simd};
use thumbnailer_jpeg::idct::{kernel, Block};
use thumbnailer_jpeg::{render, Area, Request, Target};

fn pixels(file: &[u8], request: &Request) -> Vec<Vec<u8>> {
    render(&file, request).unwrap().pictures.into_iter().map(|picture| picture.pixels).collect()
}

fn compare_pictures(random: &mut Random, seed: u64) {
    let (width, height) = (1 + random.below(300), 1 + random.below(200));
    let samplings = [(1, 1), (2, 1), (1, 2), (2, 2), (4, 1)];
    let (h, v) = samplings[random.below(5)];
    let grey = random.below(5) == 0;
    let components = [(1, h, v), (2, 1, 1), (3, 1, 1)];
    let mut jpeg = Jpeg::new(width, height, if grey { &components[..1] } else { &components[..] }, seed);
    if random.below(3) == 0 {
        jpeg.scans = (0..jpeg.components.len()).map(|c| scan(&[c], (0, 63), 0, 0)).collect();
    }
    let file = jpeg.bytes();
    let mut targets = vec![];
    for _ in 0..=random.below(3) {
        let (left, top) = (random.below(width) as f64 / 2.0, random.below(height) as f64 / 2.0);
        let area = Area { left, top, width: width as f64 - left, height: height as f64 - top };
        let area = (random.below(2) == 0 && area.width >= 1.0 && area.height >= 1.0).then_some(area);
        targets.push(Target { width: 1 + random.below(200), height: 1 + random.below(150), area });
    }
    let scale = [1, 2, 3, 4, 5, 6, 8][random.below(7)];
    let request = Request { targets, orientation: 1, scale: Some(scale), max_bytes: 1 << 26 };
    force_portable(false);
    let vector = pixels(&file, &request);
    force_portable(true);
    assert!(pixels(&file, &request) == vector, "{width}x{height} {h}x{v} {request:?}");
}

fn compare_kernels(random: &mut Random) {
    let sizes = [(4, 2), (2, 4), (4, 4), (3, 3), (6, 3), (3, 6), (6, 6), (8, 4), (4, 8), (5, 5), (10, 5)];
    let more = [(5, 10), (10, 10), (12, 6), (6, 12), (12, 12), (8, 8)];
    for (width, height) in sizes.into_iter().chain(more) {
        let mut block: Block = [0; 128];
        let limit = [200, 4000, 65536][random.below(3)];
        for value in &mut block[..usize::min(width, 8) * usize::min(height, 8)] {
            *value = (random.below(limit) as i32 - limit as i32 / 2) as i16;
        }
        let last = [0, 20, 63][random.below(3)];
        let run = |portable| {
            force_portable(portable);
            let mut out = vec![0u8; 32 * 17];
            kernel(width, height)(&block, last, &mut out, 32);
            out.chunks(32).take(height).map(|row| row[..width].to_vec()).collect::<Vec<_>>()
        };
        assert_eq!(run(false), run(true), "{width}x{height}");
    }
}

#[test]
fn vector_code_equals_plain_code() {
    eprintln!("comparing {} with plain code", simd());
    let mut random = Random(7);
    for seed in 0..120 {
        compare_pictures(&mut random, seed);
    }
    for _ in 0..500 {
        compare_kernels(&mut random);
    }
}

//! Coverage-guided fuzzing of the whole path. The first bytes choose the request, the rest is the file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use thumbnailer_jpeg::{render, Request, Target};

const SCALES: [Option<usize>; 8] =
    [None, Some(1), Some(2), Some(3), Some(4), Some(5), Some(6), Some(8)];

fuzz_target!(|data: &[u8]| {
    let [choice, side, file @ ..] = data else { return };
    let side = usize::from(*side).max(1);
    let target = |width, height| Target { width, height, area: None };
    let mut targets = vec![target(side, side.div_ceil(2))];
    if choice & 128 != 0 {
        targets.push(target(side.div_ceil(3), side.div_ceil(5)));
    }
    let request = Request {
        targets,
        orientation: 1 + (choice >> 3 & 7),
        scale: SCALES[usize::from(choice & 7)],
        max_bytes: 32 << 20,
    };
    let _ = render(&file, &request);
});

//! The plan covers what the work allocates, and a failed allocation is an error. One test, because the counter is
//! global.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use support::{scan, Jpeg};
use thumbnailer_jpeg::{render, Error, Request, Target};

struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
/// Larger allocations fail.
static LIMIT: AtomicUsize = AtomicUsize::new(usize::MAX);

// SAFETY: passes every call on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() > LIMIT.load(Relaxed) {
            return std::ptr::null_mut();
        }
        let now = NOW.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(now, Relaxed);
        System.alloc(layout)
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        System.dealloc(pointer, layout);
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn the_plan_covers_the_peak() {
    let components = [(1, 2, 2), (2, 1, 1), (3, 1, 1)];
    for (width, height) in [(640, 480), (3000, 16), (16, 3000), (1, 1)] {
        let plain = Jpeg::new(width, height, &components, 1);
        let mut scans = vec![scan(&[0, 1, 2], (0, 0), 0, 0)];
        scans.extend((0..3).map(|c| scan(&[c], (1, 63), 0, 0)));
        for file in [plain.bytes(), plain.clone().progressive(scans).bytes()] {
            for scale in [1, 2, 3, 4, 5, 6, 8] {
                for sizes in [vec![(1, 1)], vec![(300, 200), (120, 80)], vec![(1000, 800), (20, 20), (1, 400)]] {
                    check(&file, scale, &sizes);
                }
            }
        }
    }
}

fn check(file: &[u8], scale: usize, sizes: &[(usize, usize)]) {
    let targets = sizes.iter().map(|(width, height)| Target { width: *width, height: *height, area: None });
    let request = Request { targets: targets.collect(), orientation: 6, scale: Some(scale), max_bytes: 1 << 28 };
    let before = NOW.load(Relaxed);
    PEAK.store(before, Relaxed);
    let Ok(rendered) = render(&file, &request) else { return };
    let peak = PEAK.load(Relaxed) - before;
    let planned = rendered.plan.bytes;
    assert!(peak <= planned, "{scale}/8 {sizes:?}: {peak} of {planned} bytes");
    assert!(planned < 3 * peak + (600 << 10), "{scale}/8 {sizes:?}: {planned} planned, {peak} used");
    LIMIT.store(64 << 10, Relaxed);
    let limited = render(&file, &request).err();
    LIMIT.store(usize::MAX, Relaxed);
    let failed = limited == Some(Error::TooLarge(planned));
    assert!(failed || limited.is_none() && sizes[0].0 < 1000, "{scale}/8 {sizes:?}: {limited:?}");
}

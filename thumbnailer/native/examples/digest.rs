//! Prints a hash of the pixels of every file at every scale. Dev tool.
use std::hash::{Hash, Hasher};
use thumbnailer_jpeg::{info, render, Area, Request, Target};
fn main() {
    for file in std::env::args().skip(1) {
        let data = std::fs::read(&file).unwrap();
        let source = &&data[..];
        let (w, h) = info(source).map(|(f, _)| (f.width, f.height)).unwrap_or((64, 64));
        let t = |width: usize, height: usize| Target { width: width.max(1), height: height.max(1), area: None };
        let a = Target {
            width: 33,
            height: 21,
            area: Some(Area {
                left: w as f64 / 4.0,
                top: h as f64 / 5.0,
                width: w as f64 / 2.0,
                height: h as f64 / 2.0,
            }),
        };
        for scale in [None, Some(1), Some(2), Some(3), Some(4), Some(5), Some(6), Some(8)] {
            let targets = vec![t(w.min(320), h.min(240)), t(64, 48), a];
            let request = Request { targets, orientation: 1 + (w % 8) as u8, scale, max_bytes: 1 << 30 };
            let mut hasher = std::collections::hash_map::DefaultHasher::new();
            match render(source, &request) {
                Ok(r) => {
                    for p in &r.pictures {
                        p.pixels.hash(&mut hasher);
                    }
                    println!(
                        "{} {:?} {} {:x} {}",
                        file,
                        scale,
                        r.plan.scale,
                        hasher.finish(),
                        if std::env::var("BYTES").is_ok() { r.plan.bytes } else { 0 }
                    );
                }
                Err(e) => println!("{} {:?} {}", file, scale, format!("{e:?}").split('(').next().unwrap()),
            }
        }
    }
}

fn cpu() -> f64 {
    std::fs::read_to_string("/proc/thread-self/schedstat").unwrap().split(" ").next().unwrap().parse().unwrap()
}
use thumbnailer_jpeg::{info, render, Request, Target};
fn main() {
    let a: Vec<String> = std::env::args().skip(1).collect();
    let runs: usize = a[0].parse().unwrap();
    for pair in a[1..].chunks(2) {
        let data = std::fs::read(&pair[0]).unwrap();
        let source = &&data[..];
        let (f, _) = info(source).unwrap();
        let targets: Vec<Target> = pair[1]
            .split(',')
            .map(|s| {
                let s: f64 = s.parse().unwrap();
                let k = s / f.width.max(f.height) as f64;
                Target {
                    width: (f.width as f64 * k).round() as usize,
                    height: (f.height as f64 * k).round() as usize,
                    area: None,
                }
            })
            .collect();
        let request = Request { targets, orientation: 1, scale: None, max_bytes: 1 << 30 };
        let mut t: Vec<f64> = (0..runs)
            .map(|_| {
                let s = cpu();
                let r = render(source, &request).unwrap();
                assert!(!r.pictures.is_empty());
                (cpu() - s) / 1e6
            })
            .collect();
        t.sort_by(|a, b| a.partial_cmp(b).unwrap());
        println!("{} {} {:.3} {:.3}", pair[0], pair[1], t[0], t[runs / 4]);
    }
}

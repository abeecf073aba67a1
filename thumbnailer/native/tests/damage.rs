//! Damaged and hostile files: an error, never a panic, an endless loop or a picture.

mod support;

use std::time::{Duration, Instant};

use support::{scan, Jpeg, Random, Scan};
use thumbnailer_jpeg::{catch, plan, render, Error, Request, Target};

const SCALES: [Option<usize>; 8] = [None, Some(1), Some(2), Some(3), Some(4), Some(5), Some(6), Some(8)];

fn ycc() -> [(u8, usize, usize); 3] {
    [(1, 2, 2), (2, 1, 1), (3, 1, 1)]
}

fn script() -> Vec<Scan> {
    let mut scans = vec![scan(&[0, 1, 2], (0, 0), 0, 1)];
    for c in 0..3 {
        scans.extend([scan(&[c], (1, 5), 0, 1), scan(&[c], (6, 63), 0, 1), scan(&[c], (1, 63), 1, 0)]);
    }
    scans.push(scan(&[0, 1, 2], (0, 0), 1, 0));
    scans
}

/// Small files of every kind.
fn files() -> Vec<Vec<u8>> {
    let plain = Jpeg::new(50, 35, &ycc(), 1);
    let mut restarts = plain.clone();
    restarts.restart = 2;
    let mut long = plain.clone();
    long.long_codes = true;
    let mut apart = plain.clone();
    apart.scans = (0..3).map(|c| scan(&[c], (0, 63), 0, 0)).collect();
    let grey = Jpeg::new(33, 41, &[(1, 1, 1)], 2);
    let progressive = plain.clone().progressive(script());
    let progressive_restarts = restarts.clone().progressive(script());
    let all = [plain, restarts, long, apart, grey, progressive, progressive_restarts];
    all.iter().map(Jpeg::bytes).collect()
}

fn request(scale: Option<usize>, orientation: u8) -> Request {
    let targets = [(12, 9), (5, 4)].map(|(width, height)| Target { width, height, area: None });
    Request { targets: targets.to_vec(), orientation, scale, max_bytes: 64 << 20 }
}

#[test]
fn whole_files_render() {
    for (number, file) in files().iter().enumerate() {
        for scale in SCALES {
            let rendered = render(&&file[..], &request(scale, 6));
            assert!(rendered.is_ok(), "file {number} {scale:?}: {:?}", rendered.err());
        }
    }
}

#[test]
fn a_panic_becomes_an_error() {
    assert_eq!(catch::<()>(|| panic!("text")), Err(Error::Internal("text".to_owned())));
    assert_eq!(catch::<()>(|| panic!("{}", 1)), Err(Error::Internal("1".to_owned())));
    assert_eq!(catch(|| Ok(1)), Ok(1));
}

#[test]
fn every_prefix_fails() {
    for file in files() {
        for length in 0..file.len() {
            let prefix = &file[..length];
            for scale in [Some(1), Some(8)] {
                assert!(render(&prefix, &request(scale, 1)).is_err(), "{length} of {} bytes", file.len());
            }
        }
    }
}

/// One to four changed bytes, a cut or a moved part.
fn mutate(file: &[u8], random: &mut Random) -> Vec<u8> {
    let mut file = file.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(file.len());
        match random.below(8) {
            0 => file.truncate(at.max(4)),
            1 => {
                let from = random.below(file.len());
                let count = random.below(40).min(file.len() - from.max(at));
                file.copy_within(from..from + count, at);
            }
            2 => file[at] = [0, 0xff, 0x7f, 0x80, 1][random.below(5)],
            3 => file[at] ^= 1 << random.below(8),
            _ => file[at] = random.next() as u8,
        }
    }
    file
}

/// Runs for `THUMBNAILER_FUZZ_SECONDS`, 5 if not set, from `THUMBNAILER_FUZZ_SEED`.
#[test]
fn mutated_files_neither_panic_nor_hang() {
    let variable = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let seconds = variable("THUMBNAILER_FUZZ_SECONDS").unwrap_or(5);
    let mut random = Random(variable("THUMBNAILER_FUZZ_SEED").unwrap_or(1) * 2 + 1);
    let (files, start) = (files(), Instant::now());
    let (mut runs, mut rendered) = (0u64, 0u64);
    while start.elapsed() < Duration::from_secs(seconds) {
        let file = mutate(&files[random.below(files.len())], &mut random);
        let request = request(SCALES[random.below(8)], 1 + random.below(8) as u8);
        let begin = Instant::now();
        rendered += u64::from(render(&&file[..], &request).is_ok());
        let took = begin.elapsed();
        assert!(took < Duration::from_secs(10), "{took:?} for {file:?}");
        runs += 1;
    }
    eprintln!("{runs} files, {rendered} rendered");
}

#[test]
fn memory_is_refused_before_anything_is_allocated() {
    let file = Jpeg::new(64, 64, &ycc(), 1).bytes();
    let mut small = request(None, 1);
    small.max_bytes = 1000;
    let Err(Error::TooLarge(bytes)) = plan(&&file[..], &small) else { panic!("not refused") };
    assert!(bytes > 1000);
    assert_eq!(render(&&file[..], &small).err(), Some(Error::TooLarge(bytes)));
}

#[test]
fn a_huge_header_on_a_short_file_is_doubtful() {
    let mut file = Jpeg::new(64, 64, &ycc(), 1).bytes();
    let at = file.windows(2).position(|w| w == [0xff, 0xc0]).unwrap();
    file[at + 5..at + 9].fill(0xff);
    let target = Target { width: 600, height: 600, area: None };
    let request = Request { targets: vec![target], orientation: 1, scale: None, max_bytes: usize::MAX };
    assert!(matches!(render(&&file[..], &request).err(), Some(Error::Doubtful(_))));
}

/// Replaces the first occurrence of a marker.
fn with_marker(file: &[u8], old: u8, new: u8) -> Vec<u8> {
    let mut file = file.to_vec();
    let at = file.windows(2).position(|w| w == [0xff, old]).unwrap();
    file[at + 1] = new;
    file
}

#[test]
fn other_kinds_are_unsupported() {
    let file = Jpeg::new(64, 64, &ycc(), 1).bytes();
    for marker in [0xc3, 0xc5, 0xc9, 0xca, 0xcd, 0xcf, 0xcc] {
        let file = with_marker(&file, 0xc0, marker);
        assert!(matches!(plan(&&file[..], &request(None, 1)).err(), Some(Error::Unsupported(_))), "{marker:x}");
    }
    let four = Jpeg::new(64, 64, &[(1, 1, 1), (2, 1, 1), (3, 1, 1), (4, 1, 1)], 1).bytes();
    assert!(matches!(plan(&&four[..], &request(None, 1)).err(), Some(Error::Unsupported(_))));
    assert!(matches!(plan(&&b"\x89PNG"[..], &request(None, 1)).err(), Some(Error::Unsupported(_))));
}

#[test]
fn restart_markers_out_of_order_are_doubtful() {
    let mut jpeg = Jpeg::new(120, 60, &ycc(), 1);
    jpeg.restart = 3;
    let file = with_marker(&jpeg.bytes(), 0xd1, 0xd2);
    assert!(matches!(render(&&file[..], &request(None, 1)).err(), Some(Error::Doubtful(_))));
}

#[test]
fn scans_must_continue_one_another() {
    let dc = scan(&[0, 1, 2], (0, 0), 0, 0);
    let ac = |low| scan(&[0], (1, 63), 0, low);
    let all: Vec<Scan> = (0..3).map(|c| scan(&[c], (1, 63), 0, 0)).collect();
    let jpeg = Jpeg::new(40, 40, &ycc(), 1);
    let result = |scans: Vec<Scan>| {
        let file = jpeg.clone().progressive(scans).bytes();
        render(&&file[..], &request(Some(8), 1)).map(|_| ())
    };
    assert_eq!(result([vec![dc.clone()], all.clone()].concat()), Ok(()));
    let bad = [
        vec![ac(0), dc.clone()],
        vec![dc.clone(), dc.clone()],
        vec![dc.clone(), ac(2), scan(&[0], (1, 63), 1, 0)],
        vec![dc.clone(), ac(0)],
        vec![dc.clone(); 101],
        [vec![dc], all.clone(), all].concat(),
    ];
    for scans in bad {
        assert!(matches!(result(scans), Err(Error::Doubtful(_))));
    }
}

#[test]
fn bytes_behind_the_end_are_ignored_and_bytes_before_a_marker_are_not() {
    let file = Jpeg::new(40, 40, &ycc(), 1).bytes();
    let trailing = [&file[..], b"trailing"].concat();
    assert!(render(&&trailing[..], &request(None, 1)).is_ok());
    let extra = [&file[..file.len() - 2], &[0, 0, 0xff, 0xd9]].concat();
    assert!(matches!(render(&&extra[..], &request(None, 1)).err(), Some(Error::Doubtful(_))));
}

#[test]
fn requests_are_checked() {
    let file = Jpeg::new(40, 40, &ycc(), 1).bytes();
    let area = |left, top, width, height| Some(thumbnailer_jpeg::Area { left, top, width, height });
    let bad = [
        Target { width: 0, height: 1, area: None },
        Target { width: 1, height: 100_000, area: None },
        Target { width: 1, height: 1, area: area(f64::NAN, 0.0, 1.0, 1.0) },
        Target { width: 1, height: 1, area: area(0.0, -1.0, 1.0, 1.0) },
        Target { width: 1, height: 1, area: area(39.5, 0.0, 1.0, 1.0) },
    ];
    for target in bad {
        let request = Request { targets: vec![target], orientation: 1, scale: None, max_bytes: 1 << 26 };
        assert!(matches!(render(&&file[..], &request).err(), Some(Error::Unsupported(_))), "{target:?}");
    }
    assert!(render(&&file[..], &request(Some(7), 1)).is_err());
    assert!(render(&&file[..], &request(None, 9)).is_err());
}

/// Position of a marker.
fn find(file: &[u8], marker: u8) -> usize {
    file.windows(2).position(|w| w == [0xff, marker]).unwrap()
}

/// Copy of the segment of a marker.
fn segment(file: &[u8], marker: u8) -> Vec<u8> {
    let at = find(file, marker);
    let length = usize::from(file[at + 2]) << 8 | usize::from(file[at + 3]);
    file[at..at + 2 + length].to_vec()
}

fn with_inserted(file: &[u8], before: u8, bytes: &[u8]) -> Vec<u8> {
    let at = find(file, before);
    [&file[..at], bytes, &file[at..]].concat()
}

fn is_doubtful(file: &[u8]) -> bool {
    matches!(render(&file, &request(None, 1)).err(), Some(Error::Doubtful(_)))
}

#[test]
fn headers_out_of_place_are_doubtful() {
    let file = Jpeg::new(64, 48, &ycc(), 1).bytes();
    let frame = segment(&file, 0xc0);
    assert!(is_doubtful(&with_inserted(&file, 0xc0, &frame)), "two frame headers");
    assert!(is_doubtful(&with_inserted(&file, 0xd9, &frame)), "frame header behind the scan");
    let scan_first = with_marker(&file, 0xc0, 0xfe);
    assert!(is_doubtful(&scan_first), "scan without a frame header");
    assert!(is_doubtful(&with_marker(&file, 0xdb, 0xfe)), "no quantisation table");
    assert!(is_doubtful(&with_inserted(&file, 0xc0, &[0xff, 0xd0])), "restart marker between segments");
    let zero_width = [&frame[..7], &[0, 0], &frame[9..]].concat();
    assert!(is_doubtful(&with_inserted(&with_marker(&file, 0xc0, 0xfe), 0xda, &zero_width)), "width of 0");
}

#[test]
fn missing_huffman_tables_and_dnl_are_unsupported() {
    let file = Jpeg::new(64, 48, &ycc(), 1).bytes();
    let unsupported = |file: &[u8]| matches!(render(&file, &request(None, 1)).err(), Some(Error::Unsupported(_)));
    assert!(unsupported(&with_marker(&file, 0xc4, 0xfe)));
    let mut no_height = file.clone();
    let at = find(&file, 0xc0);
    no_height[at + 5..at + 7].fill(0);
    assert!(unsupported(&no_height));
}

#[test]
fn harmless_segments_are_passed() {
    let plain = Jpeg::new(64, 48, &ycc(), 1).bytes();
    let expected = render(&&plain[..], &request(None, 1)).unwrap().pictures.remove(0).pixels;
    let thumbnail = [&[0xff, 0xe1, 0xff, 0xff][..], &vec![0xd8; 65_533][..]].concat();
    let fill = [0xff, 0xff, 0xff, 0xfe, 0, 5, 1, 2, 3];
    for extra in [&thumbnail[..], &fill[..], &segment(&plain, 0xc4), &segment(&plain, 0xdb)] {
        let file = with_inserted(&plain, 0xda, extra);
        let rendered = render(&&file[..], &request(None, 1)).unwrap();
        assert_eq!(rendered.pictures[0].pixels, expected);
    }
}

/// JFIF says YCbCr, Adobe says RGB.
#[test]
fn colour_models_that_disagree_are_doubtful() {
    let file = Jpeg::new(64, 48, &ycc(), 1).bytes();
    let jfif = [&[0xff, 0xe0, 0, 16][..], b"JFIF\0\x01\x01", &[0, 0, 1, 0, 1, 0, 0]].concat();
    let adobe = |transform| [&[0xff, 0xee, 0, 14][..], b"Adobe", &[0, 100, 0, 0, 0, 0, transform]].concat();
    let with = |extra: &[u8]| with_inserted(&file, 0xdb, extra);
    assert!(render(&&with(&[jfif.clone(), adobe(1)].concat())[..], &request(None, 1)).is_ok());
    assert!(is_doubtful(&with(&[jfif.clone(), adobe(0)].concat())));
    assert!(is_doubtful(&with(&adobe(2))));
    let mut version = jfif;
    version[9] = 3;
    assert!(is_doubtful(&with(&version)));
}

#[test]
fn tables_of_impossible_lengths_are_doubtful() {
    let file = Jpeg::new(64, 48, &ycc(), 1).bytes();
    for marker in [0xdb, 0xc4] {
        let at = find(&file, marker);
        for length in [0u16, 1, 3, 18, 60, 0xffff] {
            let mut file = file.clone();
            file[at + 2..at + 4].copy_from_slice(&length.to_be_bytes());
            assert!(is_doubtful(&file), "{marker:x} of {length} bytes");
        }
    }
    let at = find(&file, 0xc4);
    for (length, count) in [(0, 3), (0, 255), (3, 13), (15, 255)] {
        let mut file = file.clone();
        file[at + 5 + length] = count;
        assert!(is_doubtful(&file), "{count} codes of {} bits", length + 1);
    }
}

/// The first quantisation table of a component counts, as in libjpeg; a Huffman table counts from then on.
#[test]
fn tables_may_be_redefined_between_scans() {
    let plain = Jpeg::new(64, 48, &ycc(), 1).progressive(script()).bytes();
    let last = plain.windows(2).rposition(|w| w == [0xff, 0xda]).unwrap();
    let mut quant = segment(&plain, 0xdb);
    quant[5..].fill(99);
    for scale in [1, 2, 8] {
        let pixels = |file: &[u8]| render(&file, &request(Some(scale), 1)).unwrap().pictures.remove(0).pixels;
        let with = |segment: &[u8]| [&plain[..last], segment, &plain[last..]].concat();
        assert_eq!(pixels(&with(&quant)), pixels(&plain));
        assert_eq!(pixels(&with(&segment(&plain, 0xc4))), pixels(&plain));
    }
}

/// A file is read by position: what follows a cut is missing, as in a shorter file.
#[test]
fn a_file_is_read_like_bytes() {
    let path = std::env::temp_dir().join(format!("thumbnailer-jpeg-{}.jpg", std::process::id()));
    for bytes in files() {
        for length in [bytes.len(), bytes.len() * 2 / 3] {
            std::fs::write(&path, &bytes[..length]).unwrap();
            let file = std::fs::File::open(&path).unwrap();
            let pixels = |source: &dyn thumbnailer_jpeg::Source| {
                render(source, &request(None, 1)).map(|rendered| rendered.pictures[0].pixels.clone())
            };
            assert_eq!(pixels(&file), pixels(&&bytes[..length]));
        }
    }
    std::fs::remove_file(path).unwrap();
}

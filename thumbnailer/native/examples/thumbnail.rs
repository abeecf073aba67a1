//! Renders a file and writes PPM or PGM: `thumbnail FILE SIDE[,SIDE] [OUT]`. For profiles and looks.
use std::error::Error;
use std::fs;

use thumbnailer_jpeg::{plan, render, Request, Target};

fn fit(width: usize, height: usize, side: usize) -> Target {
    let scale = side as f64 / width.max(height) as f64;
    let round = |length: usize| ((length as f64 * scale).round() as usize).max(1);
    Target { width: round(width), height: round(height), area: None }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, sides, rest @ ..] = &arguments[..] else {
        return Err("thumbnail FILE SIDE[,SIDE] [OUT]".into());
    };
    let data = fs::read(file)?;
    let source = &&data[..];
    let one = vec![Target { width: 1, height: 1, area: None }];
    let mut request = Request { targets: one, orientation: 1, scale: Some(1), max_bytes: 1 << 30 };
    let frame = plan(source, &request).map_err(|error| format!("{error:?}"))?.frame;
    let targets = sides.split(',').map(|side| Ok(fit(frame.width, frame.height, side.parse()?)));
    request.targets = targets.collect::<Result<Vec<_>, std::num::ParseIntError>>()?;
    let rendered = render(source, &request).map_err(|error| format!("{error:?}"))?;
    eprintln!("scale {} bytes {}", rendered.plan.scale, rendered.plan.bytes);
    let picture = &rendered.pictures[0];
    if let [out, ..] = rest {
        let kind = if picture.channels == 1 { 5 } else { 6 };
        let mut bytes = format!("P{kind}\n{} {}\n255\n", picture.width, picture.height).into_bytes();
        bytes.extend(&picture.pixels);
        fs::write(out, bytes)?;
    }
    Ok(())
}

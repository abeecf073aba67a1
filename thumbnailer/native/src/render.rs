//! From a file to its targets.
#![forbid(unsafe_code)]

use crate::entropy::blocks::Coder;
use crate::entropy::progress::Progress;
use crate::entropy::reader::Reader;
use crate::entropy::{Input, Scan};
use crate::error::{ensure, Error::Doubtful, Result};
use crate::file::frame::{ColourModel, Frame, ScanComponent, ScanHeader};
use crate::file::source::Source;
use crate::file::{QuantTable, Walker};
use crate::memory::Memory;
use crate::picture::bands::Bands;
use crate::picture::store::Store;
use crate::plan::Plan;
use crate::resize::request::Request;

pub struct Picture {
    pub width: usize,
    pub height: usize,
    /// 1 for grey, 3 for RGB.
    pub channels: usize,
    pub pixels: Vec<u8>,
}

pub struct Rendered {
    pub pictures: Vec<Picture>,
    pub plan: Plan,
    pub frame: Frame,
    pub colour: ColourModel,
}

/// Reads up to the first scan.
fn open(source: &dyn Source) -> Result<(Walker<'_>, ScanHeader, Frame, ColourModel)> {
    let mut walker = Walker::new(source)?;
    let scan = walker.next_scan()?.ok_or(Doubtful("no scan"))?;
    let (frame, colour) = (walker.frame()?.clone(), walker.colour_model()?);
    Ok((walker, scan, frame, colour))
}

/// Reads the header.
pub fn info(source: &dyn Source) -> Result<(Frame, ColourModel)> {
    open(source).map(|(_, _, frame, colour)| (frame, colour))
}

/// Plans a request without decoding. Fails with `TooLarge` if the plan exceeds the limit of memory.
pub fn plan(source: &dyn Source, request: &Request) -> Result<Plan> {
    let (_, scan, frame, colour) = open(source)?;
    Plan::new(&frame, &scan, source.size(), request, colour)
}

/// Decodes a file and makes its targets; text and drawings a second time at a larger scale. Every failure means that another decoder must take the file.
pub fn render(source: &dyn Source, request: &Request) -> Result<Rendered> {
    let (walker, scan, frame, colour) = open(source)?;
    let plan = Plan::new(&frame, &scan, source.size(), request, colour)?;
    let (stores, bands) = plan.build(&mut Memory::default());
    let quant = vec![None; frame.components.len()];
    let reader = Reader::new(source);
    let graphic = false;
    let mut decoder = Decoder { source, reader, walker, frame: &frame, plan: &plan, stores, bands, quant, graphic };
    decoder.run(scan)?;
    if decoder.graphic && plan.graphic_scale > plan.scale {
        drop(decoder);
        return render(source, &Request { scale: Some(plan.graphic_scale), ..request.clone() });
    }
    let resizer = decoder.bands.resizer;
    ensure(resizer.is_complete(), "missing rows")?;
    let pictures = resizer.outputs.into_iter().map(|output| {
        let (width, height) = output.size();
        Picture { width, height, channels: plan.input.channels, pixels: output.pixels }
    });
    Ok(Rendered { pictures: pictures.collect(), plan, frame, colour })
}

struct Decoder<'a> {
    source: &'a dyn Source,
    reader: Reader<'a>,
    walker: Walker<'a>,
    frame: &'a Frame,
    plan: &'a Plan,
    stores: Vec<Store>,
    bands: Bands,
    /// The table of each component as its first scan found it (libjpeg latches it there).
    quant: Vec<Option<QuantTable>>,
    /// The picture is text or a drawing: known of sequential files alone.
    graphic: bool,
}

impl Decoder<'_> {
    /// Decodes all scans. Without a buffer for the whole picture, rows are transformed behind each row of MCUs.
    fn run(&mut self, first: ScanHeader) -> Result<()> {
        let mut progress = Progress::new(&self.plan.layout);
        let mut next = Some(first);
        while let Some(scan) = next {
            self.latch_quant(&scan)?;
            self.walker.position = if progress.record(&scan)? {
                self.scan(&scan)?
            } else {
                self.reader.skip_scan(self.walker.position)?
            };
            next = self.walker.next_scan()?;
        }
        progress.check()?;
        if self.plan.buffered {
            for row in 0..self.plan.layout.mcus_high {
                self.bands.fill(&self.stores, row, 0, self.plan.layout.mcus_wide);
                self.bands.finish_row();
            }
        }
        Ok(())
    }

    fn latch_quant(&mut self, scan: &ScanHeader) -> Result<()> {
        for c in &scan.components {
            let number = self.frame.components[c.index].quant;
            let table = self.walker.quant[number].ok_or(Doubtful("no quantisation table"))?;
            self.quant[c.index].get_or_insert(table);
        }
        Ok(())
    }

    /// Decodes a scan. Returns the position of the marker behind the scan.
    fn scan(&mut self, scan: &ScanHeader) -> Result<usize> {
        let coder = |c| coder(&self.walker, self.plan, &self.quant, scan, c);
        let coders = scan.components.iter().map(coder).collect::<Result<Vec<_>>>()?;
        let (grid, bands) = (scan.grid(self.frame), &mut self.bands);
        let flush = |stores: &mut [Store], left, count| {
            bands.fill(stores, 0, left, count);
            stores.iter_mut().for_each(Store::clear);
            if left + count == grid.0 {
                bands.finish_row();
            }
        };
        macro_rules! decode {
            ($block:ident) => {
                Scan {
                    reader: &mut self.reader,
                    coders: &coders,
                    stores: &mut self.stores,
                    grid,
                    restart: self.walker.restart,
                    number: 0,
                    decode: |coder: &Coder, input: &mut Input, dc: &mut i32, store: &mut Store, index: usize| {
                        coder.$block(input, dc, store, index)
                    },
                    flush: (!self.plan.buffered).then_some(flush),
                }
                .run(self.source, self.walker.position)
            };
        }
        let position = match (self.frame.progressive, scan.first, scan.high) {
            (false, _, _) => decode!(sequential),
            (_, 0, 0) => decode!(dc_first),
            (_, 0, _) => decode!(dc_refine),
            (_, _, 0) => decode!(ac_first),
            (_, _, _) => decode!(ac_refine),
        };
        self.graphic = !self.plan.buffered && coders[0].is_graphic();
        position
    }
}

fn coder<'a>(
    walker: &'a Walker, plan: &Plan, quant: &[Option<QuantTable>], scan: &ScanHeader, c: &ScanComponent,
) -> Result<Coder<'a>> {
    let plane = &plan.layout.planes[c.index];
    let quant = quant[c.index].as_ref().ok_or(Doubtful("no quantisation table"))?;
    let coder = Coder::new(c.index, plane, scan, quant, scan.first == 0 || plan.scale > 1);
    let (dc, ac) = (walker.huffman(0, c.dc), walker.huffman(1, c.ac));
    Ok(match (walker.frame()?.progressive, scan.first, scan.high) {
        (false, _, _) => coder.with_dc(dc?).with_ac(ac?, false, plane.last),
        (_, 0, 0) => coder.with_dc(dc?),
        (_, 0, _) => coder,
        _ => coder.with_ac(ac?, true, plane.last),
    })
}

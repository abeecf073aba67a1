//! From a file to its targets.
#![forbid(unsafe_code)]

use crate::entropy::blocks::Coder;
use crate::entropy::progress::Progress;
use crate::entropy::reader::Reader;
use crate::entropy::{Scan, SAMPLE};
use crate::error::{ensure, Error::Doubtful, Error::TooLarge, Result};
use crate::file::frame::{ScanComponent, ScanHeader};
use crate::file::source::Source;
use crate::file::{QuantTable, Walker};
use crate::memory::Memory;
use crate::picture::bands::Bands;
use crate::picture::store::Store;
use crate::plan::Plan;
use crate::resize::output::Picture;
use crate::resize::request::Request;

pub struct Rendered {
    pub pictures: Vec<Picture>,
    pub plan: Plan,
}

/// Reads up to the first scan and plans the request.
fn open<'a>(source: &'a dyn Source, request: &Request) -> Result<(Walker<'a>, ScanHeader, Plan)> {
    let mut walker = Walker::new(source)?;
    let scan = walker.next_scan()?.ok_or(Doubtful("no scan"))?;
    let plan = Plan::new(walker.frame()?.clone(), &scan, source.size(), request, walker.colour_model()?)?;
    Ok((walker, scan, plan))
}

/// Plans a request without decoding. Fails with `TooLarge` if the plan exceeds the limit of memory.
pub fn plan(source: &dyn Source, request: &Request) -> Result<Plan> {
    open(source, request).map(|(_, _, plan)| plan)
}

/// Decodes a file and makes its targets. Every failure means that another decoder must take the file.
pub fn render(source: &dyn Source, request: &Request) -> Result<Rendered> {
    let (walker, scan, plan) = open(source, request)?;
    let mut memory = Memory::default();
    let (stores, bands) = plan.build(&mut memory);
    if memory.dry {
        return Err(TooLarge(plan.bytes));
    }
    let quant = vec![None; plan.frame.components.len()];
    let reader = Reader::new(source);
    let mut decoder = Decoder { source, request, reader, walker, plan: &plan, stores, bands, quant };
    if let Some(sharper) = decoder.run(scan)? {
        drop(decoder);
        return render(source, &sharper);
    }
    let resizer = decoder.bands.resizer;
    ensure(resizer.is_complete(), "missing rows")?;
    Ok(Rendered { pictures: resizer.outputs.into_iter().map(|output| output.picture).collect(), plan })
}

struct Decoder<'a> {
    source: &'a dyn Source,
    request: &'a Request,
    reader: Reader<'a>,
    walker: Walker<'a>,
    plan: &'a Plan,
    stores: Vec<Store>,
    bands: Bands,
    /// The table of each component as its first scan found it (libjpeg latches it there).
    quant: Vec<Option<QuantTable>>,
}

impl Decoder<'_> {
    /// Decodes all scans. Without a buffer for the whole picture, rows are transformed behind each row of MCUs.
    /// Returns the request for text and drawings instead if the file turns out to be one.
    fn run(&mut self, first: ScanHeader) -> Result<Option<Request>> {
        let mut progress = Progress::new(&self.plan.layout);
        let mut next = Some(first);
        while let Some(scan) = next {
            self.walker.position = if progress.record(&scan)? {
                self.scan(&scan)?
            } else {
                self.reader.skip_scan(self.walker.position)?
            };
            if let Some(sharper) = self.sharper() {
                return Ok(Some(sharper));
            }
            next = self.walker.next_scan()?;
        }
        progress.check()?;
        if self.plan.buffered {
            (0..self.plan.layout.mcus_high).for_each(|row| self.bands.take_row(&self.stores, row));
        }
        Ok(None)
    }

    /// The request for a larger scale, if the decoded scans show text or a drawing and the memory allows.
    fn sharper(&self) -> Option<Request> {
        let sharper = Request { scale: Some(self.plan.graphic_scale), ..self.request.clone() };
        let wanted = self.plan.graphic_scale > self.plan.scale && self.stores[0].is_graphic();
        (wanted && plan(self.source, &sharper).is_ok()).then_some(sharper)
    }

    /// Decodes a scan. Returns the position of the marker behind the scan.
    fn scan(&mut self, scan: &ScanHeader) -> Result<usize> {
        for c in &scan.components {
            let table = self.walker.quant[self.plan.frame.components[c.index].quant];
            self.quant[c.index].get_or_insert(table.ok_or(Doubtful("no quantisation table"))?);
        }
        let coder = |c| coder(&self.walker, self.plan, &self.quant, scan, c);
        let coders = scan.components.iter().map(coder).collect::<Result<Vec<_>>>()?;
        let mut decoder = Scan {
            reader: &mut self.reader,
            coders: &coders,
            stores: &mut self.stores,
            grid: scan.grid(&self.plan.frame),
            restart: self.walker.restart,
            until_sample: SAMPLE,
            bands: (!self.plan.buffered).then_some(&mut self.bands),
        };
        let position = self.walker.position;
        match (self.plan.frame.progressive, scan.first, scan.high) {
            (false, _, _) => decoder.run(position, Coder::sequential),
            (_, 0, 0) => decoder.run(position, Coder::dc_first),
            (_, 0, _) => decoder.run(position, Coder::dc_refine),
            (_, _, 0) => decoder.run(position, Coder::ac_first),
            (_, _, _) => decoder.run(position, Coder::ac_refine),
        }
    }
}

fn coder<'a>(
    walker: &'a Walker, plan: &Plan, quant: &[Option<QuantTable>], scan: &ScanHeader, c: &ScanComponent,
) -> Result<Coder<'a>> {
    let quant = quant[c.index].as_ref().ok_or(Doubtful("no quantisation table"))?;
    let (dc, ac) = (|| walker.huffman(0, c.dc), || walker.huffman(1, c.ac));
    let tables = match (plan.frame.progressive, scan.first, scan.high) {
        (false, _, _) => [dc()?, ac()?],
        (_, 0, 0) => [dc()?, &walker.unused],
        (_, 0, _) => [&walker.unused; 2],
        _ => [&walker.unused, ac()?],
    };
    Ok(Coder::new(c, &plan.layout.planes[c.index], scan, quant, tables, scan.first == 0 || plan.scale > 1))
}

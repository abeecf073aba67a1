//! From a file to its targets.
#![forbid(unsafe_code)]

use crate::bands::Bands;
use crate::coefficients::{self, needs_history, Store, StoreSink};
use crate::error::{Error::Doubtful, Error::Unsupported, Result};
use crate::frame::{ColourModel, Frame, ScanHeader};
use crate::huffman::Huffman;
use crate::layout::Layout;
use crate::plan::Plan;
use crate::reader::Reader;
use crate::resize::request::Request;
use crate::resize::Resizer;
use crate::scan::progress::Progress;
use crate::scan::progressive::{self, AcScan, DcComponent};
use crate::scan::sequential::{self, BlockCoder, CoderTables, Sink};
use crate::scan::{intervals, Extent};
use crate::source::Source;
use crate::tables::{QuantTable, Walker};

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

/// What the header of a file says.
struct Opened<'a> {
    walker: Walker<'a>,
    scan: ScanHeader,
    frame: Frame,
    colour: ColourModel,
}

fn open(source: &dyn Source) -> Result<Opened<'_>> {
    let mut walker = Walker::new(source)?;
    let scan = walker.next_scan()?.ok_or(Doubtful("no scan"))?;
    let frame = walker.frame.clone().ok_or(Doubtful("no frame header"))?;
    let colour = walker.colour_model(&frame)?;
    Ok(Opened { walker, scan, frame, colour })
}

/// Reads the header.
pub fn info(source: &dyn Source) -> Result<(Frame, ColourModel)> {
    let opened = open(source)?;
    Ok((opened.frame, opened.colour))
}

/// Plans a request without decoding. Fails with `TooLarge` if the plan exceeds the limit of memory.
pub fn plan(source: &dyn Source, request: &Request) -> Result<Plan> {
    let opened = open(source)?;
    Plan::new(&opened.frame, &opened.scan, source.len(), request, opened.colour)
}

/// Decodes a file and makes its targets. Every failure means that another decoder must take the file.
pub fn render(source: &dyn Source, request: &Request) -> Result<Rendered> {
    let opened = open(source)?;
    let plan = Plan::new(&opened.frame, &opened.scan, source.len(), request, opened.colour)?;
    let resizer = Resizer::new(&plan.steps, &plan.input, request.orientation);
    let Opened { walker, scan, frame, colour } = opened;
    let mut decoder = Decoder {
        source,
        reader: Reader::new(source),
        walker,
        frame: &frame,
        layout: &plan.layout,
        bands: Bands::new(&plan.layout, colour, resizer),
        quant: vec![None; frame.components.len()],
    };
    if plan.buffered {
        decoder.buffered(scan, plan.scale)?;
    } else {
        decoder.streamed(scan)?;
    }
    let resizer = decoder.bands.resizer;
    if !resizer.is_complete() {
        return Err(Doubtful("missing rows"));
    }
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
    layout: &'a Layout,
    bands: Bands,
    /// The table of each component as its first scan found it (libjpeg latches it there).
    quant: Vec<Option<QuantTable>>,
}

fn table(tables: &mut [Option<Huffman>; 4], index: usize) -> Result<&mut Huffman> {
    tables[index].as_mut().ok_or(Unsupported("missing Huffman table"))
}

impl<'a> Decoder<'a> {
    /// One scan holds all components: no coefficient is kept.
    fn streamed(&mut self, scan: ScanHeader) -> Result<()> {
        self.latch_quant(&scan)?;
        let coders = self.block_coders(&scan, true)?;
        let extent = self.extent(&scan);
        let end = sequential_scan(&mut self.reader, self.source, &extent, &coders, &mut self.bands)?;
        self.walker.position = end;
        match self.walker.next_scan()? {
            None => Ok(()),
            Some(_) => Err(Doubtful("scan after a complete picture")),
        }
    }

    /// Reads all scans into stores, then transforms.
    fn buffered(&mut self, first: ScanHeader, scale: usize) -> Result<()> {
        let history = |plane| needs_history(plane, scale, self.frame.progressive);
        let mut stores: Vec<Store> =
            self.layout.planes.iter().map(|plane| Store::new(plane, history(plane))).collect();
        let mut progress = Progress::new(self.layout);
        let mut next = Some(first);
        while let Some(scan) = next {
            progress.record(&scan)?;
            self.latch_quant(&scan)?;
            self.walker.position = self.scan(&scan, &progress, &mut stores)?;
            next = self.walker.next_scan()?;
        }
        if !progress.is_complete(self.layout) {
            return Err(Doubtful("missing scans"));
        }
        self.transform(&stores, &progress)
    }

    fn transform(&mut self, stores: &[Store], progress: &Progress) -> Result<()> {
        let quant: Option<Vec<QuantTable>> = self.quant.iter().copied().collect();
        let quant = quant.ok_or(Doubtful("missing scans"))?;
        coefficients::render(stores, self.layout, &quant, &progress.missing(), &mut self.bands)
    }

    /// Decodes or skips a scan. Returns the position of the marker behind the scan.
    fn scan(&mut self, scan: &ScanHeader, progress: &Progress, stores: &mut [Store]) -> Result<usize> {
        if !self.frame.progressive {
            let coders = self.block_coders(scan, false)?;
            let extent = self.extent(scan);
            let mut sink = StoreSink(stores);
            return sequential_scan(&mut self.reader, self.source, &extent, &coders, &mut sink);
        }
        if !progress.is_needed(scan, self.layout) {
            return self.reader.skip_scan(self.walker.position);
        }
        if scan.first == 0 {
            return self.dc_scan(scan, stores);
        }
        self.ac_scan(scan, stores)
    }

    fn dc_scan(&mut self, scan: &ScanHeader, stores: &mut [Store]) -> Result<usize> {
        let components = self.dc_components(scan)?;
        let extent = self.extent(scan);
        intervals(&mut self.reader, self.source, &extent, |reader, bits, interval| {
            if scan.high == 0 {
                progressive::dc::<true>(reader, bits, interval, &components, scan.low, stores)
            } else {
                progressive::dc::<false>(reader, bits, interval, &components, scan.low, stores)
            }
        })
    }

    fn dc_components(&mut self, scan: &ScanHeader) -> Result<Vec<DcComponent>> {
        let interleaved = scan.components.len() > 1;
        let mut components = Vec::new();
        for c in &scan.components {
            let plane = &self.layout.planes[c.index];
            let (h, v) = if interleaved { (plane.h, plane.v) } else { (1, 1) };
            let tables = if scan.high == 0 {
                let huffman = table(&mut self.walker.tables.dc, c.dc)?;
                Some((huffman.dc(), huffman.code.clone()))
            } else {
                None
            };
            components.push(DcComponent { index: c.index, h, v, tables });
        }
        Ok(components)
    }

    fn ac_scan(&mut self, scan: &ScanHeader, stores: &mut [Store]) -> Result<usize> {
        let component = scan.components[0];
        let huffman = table(&mut self.walker.tables.ac, component.ac)?;
        let ac = AcScan {
            plane: &self.layout.planes[component.index],
            first: scan.first,
            last: scan.last,
            low: scan.low,
            table: huffman.ac(true),
            code: huffman.code.clone(),
        };
        let extent = self.extent(scan);
        let store = &mut stores[component.index];
        intervals(&mut self.reader, self.source, &extent, |reader, bits, interval| {
            if scan.high == 0 {
                progressive::ac_first(reader, bits, interval, &ac, store)
            } else {
                progressive::ac_refine(reader, bits, interval, &ac, store)
            }
        })
    }

    fn extent(&self, scan: &ScanHeader) -> Extent {
        Extent { position: self.walker.position, grid: scan.grid(self.frame), restart: self.walker.tables.restart }
    }

    fn latch_quant(&mut self, scan: &ScanHeader) -> Result<()> {
        for c in &scan.components {
            let number = self.frame.components[c.index].quant;
            let latched = &mut self.quant[c.index];
            if latched.is_none() {
                *latched = Some(self.walker.tables.quant[number].ok_or(Doubtful("no quantisation table"))?);
            }
        }
        Ok(())
    }

    /// `streamed`: blocks are dequantised at once.
    fn block_coders(&mut self, scan: &ScanHeader, streamed: bool) -> Result<Vec<BlockCoder>> {
        let interleaved = scan.components.len() > 1;
        let mut coders = Vec::new();
        for c in &scan.components {
            let plane = &self.layout.planes[c.index];
            let dc = table(&mut self.walker.tables.dc, c.dc)?;
            let (dc, dc_code) = (dc.dc(), dc.code.clone());
            let ac = table(&mut self.walker.tables.ac, c.ac)?;
            let skip = if plane.last < 63 { Some(ac.skip()) } else { None };
            let tables = CoderTables { dc, dc_code, ac: ac.ac(false), ac_code: ac.code.clone(), skip };
            let quant = self.quant[c.index].as_ref().filter(|_| streamed);
            coders.push(BlockCoder::new(c.index, plane, interleaved, quant, tables));
        }
        Ok(coders)
    }
}

fn sequential_scan<'a, S: Sink>(
    reader: &mut Reader<'a>, source: &dyn Source, extent: &Extent, coders: &[BlockCoder], sink: &mut S,
) -> Result<usize> {
    intervals(reader, source, extent, |reader, bits, interval| {
        sequential::decode(reader, bits, interval, coders, sink)
    })
}

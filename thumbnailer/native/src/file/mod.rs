//! Walks the markers of a file (B.1.1.3) and keeps the tables that they define.
#![forbid(unsafe_code)]

pub mod frame;
pub mod source;

use self::frame::{colour_model, word, ColourModel, Frame, ScanHeader};
use self::source::Source;
use crate::entropy::huffman::Huffman;
use crate::error::{ensure, Error::Doubtful, Error::Unsupported, Result};

pub type QuantTable = [u16; 64];

/// Segments before which a file must show its scan data; real files have a few dozen.
const MAX_SEGMENTS: usize = 10_000;

const EOI: u8 = 0xd9;
const SOS: u8 = 0xda;
const APP0: u8 = 0xe0;
const APP14: u8 = 0xee;

pub struct Walker<'a> {
    source: &'a dyn Source,
    pub position: usize,
    /// Quantisation tables in zigzag order, as in the file.
    pub quant: [Option<QuantTable>; 4],
    /// Huffman tables by class (DC, AC) and number.
    huffman: [[Option<Box<Huffman>>; 4]; 2],
    /// Stands for the tables that a scan does not use.
    pub unused: Huffman,
    /// MCUs between restart markers; 0 = none.
    pub restart: usize,
    frame: Option<Frame>,
    jfif: bool,
    adobe: Option<u8>,
    segments: usize,
}

impl<'a> Walker<'a> {
    pub fn new(source: &'a dyn Source) -> Result<Walker<'a>> {
        let mut walker = Walker {
            source,
            position: 0,
            quant: [None; 4],
            huffman: Default::default(),
            unused: Huffman::new(true, &[0; 16], &[])?,
            restart: 0,
            frame: None,
            jfif: false,
            adobe: None,
            segments: 0,
        };
        match walker.bytes(2)[..] {
            [0xff, 0xd8] => Ok(walker),
            _ => Err(Unsupported("not a JPEG")),
        }
    }

    pub fn frame(&self) -> Result<&Frame> {
        self.frame.as_ref().ok_or(Doubtful("scan before the frame header"))
    }

    pub fn colour_model(&self) -> Result<ColourModel> {
        colour_model(self.frame()?, self.jfif, self.adobe)
    }

    /// A Huffman table. `class`: 0 for DC, 1 for AC.
    pub fn huffman(&self, class: usize, index: usize) -> Result<&Huffman> {
        self.huffman[class][index].as_deref().ok_or(Unsupported("missing Huffman table"))
    }

    /// Copies up to `count` bytes.
    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        let count = self.source.read(self.position, &mut bytes);
        bytes.truncate(count);
        self.position += count;
        bytes
    }

    /// Reads up to the next scan and leaves `position` at its data. Returns None at the end of the image.
    pub fn next_scan(&mut self) -> Result<Option<ScanHeader>> {
        loop {
            match self.marker()? {
                EOI => return Ok(None),
                SOS => {
                    let payload = self.payload()?;
                    return ScanHeader::parse(&payload, self.frame()?).map(Some);
                }
                marker => self.segment(marker)?,
            }
        }
    }

    /// Reads a marker and any fill bytes before it.
    fn marker(&mut self) -> Result<u8> {
        self.segments += 1;
        ensure(self.segments <= MAX_SEGMENTS, "too many segments")?;
        let &[0xff, mut marker] = &self.bytes(2)[..] else {
            return Err(Doubtful("no marker where one must be"));
        };
        while marker == 0xff {
            marker = *self.bytes(1).first().ok_or(Doubtful("file ends in a marker"))?;
        }
        Ok(marker)
    }

    /// Length of the payload that follows.
    fn length(&mut self) -> Result<usize> {
        let &[high, low] = &self.bytes(2)[..] else {
            return Err(Doubtful("file ends in a segment"));
        };
        word(high, low).checked_sub(2).ok_or(Doubtful("length of a segment"))
    }

    fn payload(&mut self) -> Result<Vec<u8>> {
        let length = self.length()?;
        let payload = self.bytes(length);
        ensure(payload.len() == length, "file ends in a segment")?;
        Ok(payload)
    }

    fn segment(&mut self, marker: u8) -> Result<()> {
        match marker {
            0xc0..=0xc2 => self.start_of_frame(marker == 0xc2),
            0xc4 => self.define_huffman(),
            0xdb => self.define_quant(),
            0xc3 | 0xc5..=0xcf => Err(Unsupported("lossless, hierarchical or arithmetic frame")),
            0xdd => self.restart_interval(),
            APP0 | APP14 => self.application(marker),
            0xe1..=0xef | 0xfe => {
                self.position += self.length()?;
                Ok(())
            }
            0xdc | 0xde | 0xdf => Err(Unsupported("DNL or hierarchical segment")),
            _ => Err(Doubtful("marker out of place")),
        }
    }

    fn start_of_frame(&mut self, progressive: bool) -> Result<()> {
        let payload = self.payload()?;
        ensure(self.frame.is_none(), "two frame headers")?;
        self.frame = Some(Frame::parse(progressive, &payload)?);
        Ok(())
    }

    /// DRI (B.2.4.4).
    fn restart_interval(&mut self) -> Result<()> {
        let &[high, low] = &self.payload()?[..] else {
            return Err(Doubtful("length of DRI"));
        };
        self.restart = word(high, low);
        Ok(())
    }

    fn application(&mut self, marker: u8) -> Result<()> {
        let payload = self.payload()?;
        if marker == APP0 && payload.starts_with(b"JFIF\0") && payload.len() >= 14 {
            self.jfif = true;
            ensure(payload[5] == 1, "version of JFIF")?;
        }
        if marker == APP14 && payload.starts_with(b"Adobe") && payload.len() >= 12 {
            self.adobe = Some(payload[11]);
        }
        Ok(())
    }

    /// DQT (B.2.4.1).
    fn define_quant(&mut self) -> Result<()> {
        let payload = self.payload()?;
        let mut rest = &payload[..];
        while let [head, values @ ..] = rest {
            let (wide, index) = (usize::from(head >> 4), usize::from(head & 15));
            let size = 64 + 64 * wide;
            ensure(wide <= 1 && index <= 3 && values.len() >= size, "quantisation table")?;
            let table = std::array::from_fn(|k| match wide {
                0 => values[k].into(),
                _ => u16::from_be_bytes([values[2 * k], values[2 * k + 1]]),
            });
            ensure(!table.contains(&0), "quantisation by 0")?;
            self.quant[index] = Some(table);
            rest = &values[size..];
        }
        Ok(())
    }

    /// DHT (B.2.4.2).
    fn define_huffman(&mut self) -> Result<()> {
        let payload = self.payload()?;
        let mut rest = &payload[..];
        while let [head, tail @ ..] = rest {
            let (class, index) = (usize::from(head >> 4), usize::from(head & 15));
            let counts = tail.first_chunk::<16>().ok_or(Doubtful("length of DHT"))?;
            let total: usize = counts.iter().map(|n| usize::from(*n)).sum();
            let values = tail.get(16..16 + total).ok_or(Doubtful("length of DHT"))?;
            ensure(class <= 1 && index <= 3, "number of a Huffman table")?;
            ensure(class == 1 || values.iter().all(|size| *size <= 15), "size of a DC difference")?;
            self.huffman[class][index] = Some(Box::new(Huffman::new(class == 0, counts, values)?));
            rest = &tail[16 + total..];
        }
        Ok(())
    }
}

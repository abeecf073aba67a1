//! Walks the markers of a file (B.1.1.3) and keeps the tables that they define.
#![forbid(unsafe_code)]

use crate::error::{Error::Doubtful, Error::Unsupported, Result};
use crate::frame::{colour_model, ColourModel, Frame, ScanHeader};
use crate::huffman::{Code, Huffman};
use crate::source::Source;

pub type QuantTable = [u16; 64];

/// Segments before which a file must show its scan data; real files have a few dozen.
const MAX_SEGMENTS: usize = 10_000;

const SOI: u8 = 0xd8;
const EOI: u8 = 0xd9;
const SOS: u8 = 0xda;
const DQT: u8 = 0xdb;
const DHT: u8 = 0xc4;
const DRI: u8 = 0xdd;
const APP0: u8 = 0xe0;
const APP14: u8 = 0xee;

#[derive(Clone, Default)]
pub struct Tables {
    /// In zigzag order, as in the file.
    pub quant: [Option<QuantTable>; 4],
    pub dc: [Option<Huffman>; 4],
    pub ac: [Option<Huffman>; 4],
    /// MCUs between restart markers; 0 = none.
    pub restart: usize,
}

pub struct Walker<'a> {
    source: &'a dyn Source,
    pub position: usize,
    pub tables: Tables,
    pub frame: Option<Frame>,
    jfif: bool,
    adobe: Option<u8>,
    segments: usize,
}

impl<'a> Walker<'a> {
    pub fn new(source: &'a dyn Source) -> Result<Walker<'a>> {
        let mut walker = Walker {
            source,
            position: 0,
            tables: Tables::default(),
            frame: None,
            jfif: false,
            adobe: None,
            segments: 0,
        };
        match walker.bytes(2)[..] {
            [0xff, SOI] => Ok(walker),
            _ => Err(Unsupported("not a JPEG")),
        }
    }

    /// Copies up to `count` bytes.
    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut scratch = vec![0; count];
        let bytes = self.source.chunk(self.position, count, &mut scratch).to_vec();
        self.position += bytes.len();
        bytes
    }

    /// Reads up to the next scan and leaves `position` at its data. Returns None at the end of the image.
    pub fn next_scan(&mut self) -> Result<Option<ScanHeader>> {
        loop {
            match self.marker()? {
                EOI => return Ok(None),
                SOS => {
                    let payload = self.payload()?;
                    let frame = self.frame.as_ref().ok_or(Doubtful("scan before the frame header"))?;
                    return ScanHeader::parse(&payload, frame).map(Some);
                }
                marker => self.segment(marker)?,
            }
        }
    }

    /// Reads a marker and any fill bytes before it.
    fn marker(&mut self) -> Result<u8> {
        self.segments += 1;
        if self.segments > MAX_SEGMENTS {
            return Err(Doubtful("too many segments"));
        }
        let start = self.bytes(2);
        let &[0xff, mut marker] = &start[..] else {
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
        let length = usize::from(high) << 8 | usize::from(low);
        length.checked_sub(2).ok_or(Doubtful("length of a segment"))
    }

    fn skip_payload(&mut self) -> Result<()> {
        self.position += self.length()?;
        Ok(())
    }

    fn payload(&mut self) -> Result<Vec<u8>> {
        let length = self.length()?;
        let payload = self.bytes(length);
        if payload.len() < length {
            return Err(Doubtful("file ends in a segment"));
        }
        Ok(payload)
    }

    fn segment(&mut self, marker: u8) -> Result<()> {
        match marker {
            0xc0..=0xc2 => self.start_of_frame(marker == 0xc2),
            DHT => define_huffman(&self.payload()?, &mut self.tables),
            DQT => define_quant(&self.payload()?, &mut self.tables),
            0xcc => Err(Unsupported("arithmetic coding")),
            0xc3 | 0xc5..=0xcf => Err(Unsupported("lossless, hierarchical or arithmetic frame")),
            DRI => self.restart_interval(),
            APP0 | APP14 => self.application(marker),
            0xe1..=0xef | 0xfe => self.skip_payload(),
            0xdc | 0xde | 0xdf => Err(Unsupported("DNL or hierarchical segment")),
            _ => Err(Doubtful("marker out of place")),
        }
    }

    fn start_of_frame(&mut self, progressive: bool) -> Result<()> {
        let payload = self.payload()?;
        if self.frame.is_some() {
            return Err(Doubtful("two frame headers"));
        }
        self.frame = Some(Frame::parse(progressive, &payload)?);
        Ok(())
    }

    fn restart_interval(&mut self) -> Result<()> {
        let &[high, low] = &self.payload()?[..] else {
            return Err(Doubtful("length of DRI"));
        };
        self.tables.restart = usize::from(high) << 8 | usize::from(low);
        Ok(())
    }

    fn application(&mut self, marker: u8) -> Result<()> {
        let payload = self.payload()?;
        if marker == APP0 && payload.starts_with(b"JFIF\0") && payload.len() >= 14 {
            self.jfif = true;
            if payload[5] != 1 {
                return Err(Doubtful("version of JFIF"));
            }
        }
        if marker == APP14 && payload.starts_with(b"Adobe") && payload.len() >= 12 {
            self.adobe = Some(payload[11]);
        }
        Ok(())
    }

    pub fn colour_model(&self, frame: &Frame) -> Result<ColourModel> {
        colour_model(frame, self.jfif, self.adobe)
    }
}

/// DQT (B.2.4.1).
fn define_quant(payload: &[u8], tables: &mut Tables) -> Result<()> {
    let mut rest = payload;
    while let [head, values @ ..] = rest {
        let (wide, index) = (head >> 4, usize::from(head & 15));
        let size = if wide == 0 { 64 } else { 128 };
        if wide > 1 || index > 3 || values.len() < size {
            return Err(Doubtful("quantisation table"));
        }
        let table = std::array::from_fn(|k| match wide {
            0 => values[k].into(),
            _ => u16::from_be_bytes([values[2 * k], values[2 * k + 1]]),
        });
        if table.contains(&0) {
            return Err(Doubtful("quantisation by 0"));
        }
        tables.quant[index] = Some(table);
        rest = &values[size..];
    }
    Ok(())
}

/// DHT (B.2.4.2).
fn define_huffman(payload: &[u8], tables: &mut Tables) -> Result<()> {
    let mut rest = payload;
    while let [head, tail @ ..] = rest {
        let (class, index) = (head >> 4, usize::from(head & 15));
        let counts = tail.first_chunk::<16>().ok_or(Doubtful("length of DHT"))?;
        let total: usize = counts.iter().map(|n| usize::from(*n)).sum();
        let values = tail.get(16..16 + total).ok_or(Doubtful("length of DHT"))?;
        if class > 1 || index > 3 {
            return Err(Doubtful("number of a Huffman table"));
        }
        let table = Some(Huffman::new(Code::new(counts, values)?));
        if class == 0 {
            if values.iter().any(|size| *size > 15) {
                return Err(Doubtful("size of a DC difference"));
            }
            tables.dc[index] = table;
        } else {
            tables.ac[index] = table;
        }
        rest = &tail[16 + total..];
    }
    Ok(())
}

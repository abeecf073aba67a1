//! Headers as values: frame (B.2.2), scan (B.2.3), colour model (JFIF and Adobe segments).
#![forbid(unsafe_code)]

use crate::error::{Error::Doubtful, Error::Unsupported, Result};

/// The largest number of 8x8 blocks in an MCU of more than one component (B.2.3).
const MAX_MCU_BLOCKS: usize = 10;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Component {
    pub id: u8,
    /// Horizontal and vertical sampling factor.
    pub h: usize,
    pub v: usize,
    /// Number of the quantisation table.
    pub quant: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub progressive: bool,
    pub width: usize,
    pub height: usize,
    pub components: Vec<Component>,
    pub h_max: usize,
    pub v_max: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColourModel {
    Grey,
    YCbCr,
    Rgb,
}

/// A component of a scan: its index in the frame and its Huffman tables.
#[derive(Debug, Clone, Copy)]
pub struct ScanComponent {
    pub index: usize,
    pub dc: usize,
    pub ac: usize,
}

#[derive(Debug, Clone)]
pub struct ScanHeader {
    pub components: Vec<ScanComponent>,
    pub first: u32,
    pub last: u32,
    pub high: u32,
    pub low: u32,
}

fn word(high: u8, low: u8) -> usize {
    usize::from(high) << 8 | usize::from(low)
}

impl Frame {
    /// Parses the payload of SOF0, SOF1 or SOF2.
    pub fn parse(progressive: bool, payload: &[u8]) -> Result<Frame> {
        let &[precision, h1, h0, w1, w0, count, ref rest @ ..] = payload else {
            return Err(Doubtful("short frame header"));
        };
        let (width, height, count) = (word(w1, w0), word(h1, h0), usize::from(count));
        check_frame(precision, width, height, count)?;
        if rest.len() != 3 * count {
            return Err(Doubtful("length of the frame header"));
        }
        let components = rest.chunks_exact(3).map(|c| component(c, count)).collect::<Result<Vec<_>>>()?;
        Frame::with_components(progressive, width, height, components)
    }

    fn with_components(
        progressive: bool, width: usize, height: usize, components: Vec<Component>,
    ) -> Result<Frame> {
        let h_max = components.iter().map(|c| c.h).max().unwrap_or(1);
        let v_max = components.iter().map(|c| c.v).max().unwrap_or(1);
        if components.iter().any(|c| h_max % c.h != 0 || v_max % c.v != 0) {
            return Err(Unsupported("fractional sampling"));
        }
        for (i, c) in components.iter().enumerate() {
            if components[..i].iter().any(|d| d.id == c.id) {
                return Err(Doubtful("two components of one name"));
            }
        }
        Ok(Frame { progressive, width, height, components, h_max, v_max })
    }

    /// MCUs in a row and rows of MCUs of an interleaved scan (A.2.3).
    pub fn mcus(&self) -> (usize, usize) {
        (self.width.div_ceil(8 * self.h_max), self.height.div_ceil(8 * self.v_max))
    }

    /// Blocks in a row and rows of blocks of a scan of this component alone (A.2.2).
    pub fn blocks(&self, index: usize) -> (usize, usize) {
        let c = &self.components[index];
        ((self.width * c.h).div_ceil(8 * self.h_max), (self.height * c.v).div_ceil(8 * self.v_max))
    }
}

fn check_frame(precision: u8, width: usize, height: usize, count: usize) -> Result<()> {
    if precision != 8 {
        return Err(Unsupported("samples of other than 8 bits"));
    }
    if height == 0 {
        return Err(Unsupported("height in a DNL segment"));
    }
    if width == 0 {
        return Err(Doubtful("width of 0"));
    }
    match count {
        1 | 3 => Ok(()),
        4 => Err(Unsupported("four components")),
        _ => Err(Unsupported("number of components")),
    }
}

fn component(bytes: &[u8], count: usize) -> Result<Component> {
    let (h, v, quant) = (usize::from(bytes[1] >> 4), usize::from(bytes[1] & 15), usize::from(bytes[2]));
    if !(1..=4).contains(&h) || !(1..=4).contains(&v) || quant > 3 {
        return Err(Doubtful("sampling factor or table number"));
    }
    // The factors of a single component have no effect (A.2.2).
    let (h, v) = if count == 1 { (1, 1) } else { (h, v) };
    Ok(Component { id: bytes[0], h, v, quant })
}

impl ScanHeader {
    /// Parses the payload of SOS.
    pub fn parse(payload: &[u8], frame: &Frame) -> Result<ScanHeader> {
        let count = usize::from(*payload.first().unwrap_or(&0));
        if count < 1 || count > frame.components.len() || payload.len() != 4 + 2 * count {
            return Err(Doubtful("length of the scan header"));
        }
        let mut components = Vec::with_capacity(count);
        for pair in payload[1..1 + 2 * count].chunks_exact(2) {
            let component = scan_component(pair, frame)?;
            if components.iter().any(|c: &ScanComponent| c.index >= component.index) {
                return Err(Doubtful("order of components in the scan"));
            }
            components.push(component);
        }
        let tail = &payload[1 + 2 * count..];
        let header = ScanHeader {
            components,
            first: tail[0].into(),
            last: tail[1].into(),
            high: (tail[2] >> 4).into(),
            low: (tail[2] & 15).into(),
        };
        header.check(frame)?;
        Ok(header)
    }

    fn check(&self, frame: &Frame) -> Result<()> {
        let blocks: usize =
            self.components.iter().map(|c| frame.components[c.index].h * frame.components[c.index].v).sum();
        if self.components.len() > 1 && blocks > MAX_MCU_BLOCKS {
            return Err(Doubtful("size of the MCU"));
        }
        let spectral = (self.first, self.last, self.high, self.low);
        let valid = if frame.progressive { self.is_progressive() } else { spectral == (0, 63, 0, 0) };
        if valid {
            Ok(())
        } else {
            Err(Doubtful("parameters of the scan"))
        }
    }

    /// Limits of a progressive scan (G.1.1.1).
    fn is_progressive(&self) -> bool {
        let band = if self.first == 0 {
            self.last == 0
        } else {
            self.first <= self.last && self.last <= 63 && self.components.len() == 1
        };
        band && self.low <= 13 && (self.high == 0 || self.high == self.low + 1)
    }

    /// MCUs in a row and rows of MCUs of this scan.
    pub fn grid(&self, frame: &Frame) -> (usize, usize) {
        match self.components[..] {
            [only] => frame.blocks(only.index),
            _ => frame.mcus(),
        }
    }
}

fn scan_component(pair: &[u8], frame: &Frame) -> Result<ScanComponent> {
    let index =
        frame.components.iter().position(|c| c.id == pair[0]).ok_or(Doubtful("unknown component in the scan"))?;
    let (dc, ac) = (usize::from(pair[1] >> 4), usize::from(pair[1] & 15));
    if dc > 3 || ac > 3 {
        return Err(Doubtful("number of a Huffman table"));
    }
    Ok(ScanComponent { index, dc, ac })
}

/// Colour model by libjpeg's rules: JFIF means YCbCr, then the Adobe transform, then the names R, G and B.
pub fn colour_model(frame: &Frame, jfif: bool, adobe: Option<u8>) -> Result<ColourModel> {
    let ids: Vec<u8> = frame.components.iter().map(|c| c.id).collect();
    match (&ids[..], jfif, adobe) {
        ([_], _, _) => Ok(ColourModel::Grey),
        (_, true, None | Some(1)) | (_, false, Some(1)) => Ok(ColourModel::YCbCr),
        (_, false, Some(0)) => Ok(ColourModel::Rgb),
        (_, _, Some(_)) => Err(Doubtful("JFIF and Adobe segments disagree")),
        (b"RGB", false, None) => Ok(ColourModel::Rgb),
        (_, false, None) => Ok(ColourModel::YCbCr),
    }
}

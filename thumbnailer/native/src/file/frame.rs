//! Headers as values: frame (B.2.2), scan (B.2.3), colour model (JFIF and Adobe segments).

use crate::error::{ensure, require, Error::Doubtful, Result};

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

pub fn word(high: u8, low: u8) -> usize {
    usize::from(high) << 8 | usize::from(low)
}

impl Frame {
    /// Parses the payload of SOF0, SOF1 or SOF2.
    pub fn parse(progressive: bool, payload: &[u8]) -> Result<Frame> {
        let &[precision, h1, h0, w1, w0, count, ref rest @ ..] = payload else {
            return Err(Doubtful("short frame header"));
        };
        let (width, height, count) = (word(w1, w0), word(h1, h0), usize::from(count));
        require(precision == 8, "samples of other than 8 bits")?;
        require(height > 0, "height in a DNL segment")?;
        ensure(width > 0, "width of 0")?;
        require(count == 1 || count == 3, "number of components")?;
        ensure(rest.len() == 3 * count, "length of the frame header")?;
        let components = rest.chunks_exact(3).map(|c| component(c, count)).collect::<Result<Vec<_>>>()?;
        let h_max = components.iter().map(|c| c.h).max().unwrap_or(1);
        let v_max = components.iter().map(|c| c.v).max().unwrap_or(1);
        require(components.iter().all(|c| h_max % c.h == 0 && v_max % c.v == 0), "fractional sampling")?;
        let unique = (1..count).all(|i| components[..i].iter().all(|c| c.id != components[i].id));
        ensure(unique, "two components of one name")?;
        Ok(Frame { progressive, width, height, components, h_max, v_max })
    }

    /// MCUs in a row and rows of MCUs of an interleaved scan (A.2.3).
    pub fn mcus(&self) -> (usize, usize) {
        (self.width.div_ceil(8 * self.h_max), self.height.div_ceil(8 * self.v_max))
    }

    /// Blocks in a row and rows of blocks of a scan of this component alone (A.2.2).
    fn blocks(&self, index: usize) -> (usize, usize) {
        let c = &self.components[index];
        ((self.width * c.h).div_ceil(8 * self.h_max), (self.height * c.v).div_ceil(8 * self.v_max))
    }
}

fn component(bytes: &[u8], count: usize) -> Result<Component> {
    let (h, v, quant) = (usize::from(bytes[1] >> 4), usize::from(bytes[1] & 15), usize::from(bytes[2]));
    let valid = (1..=4).contains(&h) && (1..=4).contains(&v) && quant <= 3;
    ensure(valid, "sampling factor or table number")?;
    // The factors of a single component have no effect (A.2.2).
    let (h, v) = if count == 1 { (1, 1) } else { (h, v) };
    Ok(Component { id: bytes[0], h, v, quant })
}

impl ScanHeader {
    /// Parses the payload of SOS.
    pub fn parse(payload: &[u8], frame: &Frame) -> Result<ScanHeader> {
        let count = usize::from(*payload.first().unwrap_or(&0));
        let valid = count >= 1 && count <= frame.components.len() && payload.len() == 4 + 2 * count;
        ensure(valid, "length of the scan header")?;
        let (pairs, tail) = payload[1..].split_at(2 * count);
        let components = pairs.chunks_exact(2).map(|pair| scan_component(pair, frame));
        let components = components.collect::<Result<Vec<_>>>()?;
        ensure(components.is_sorted_by(|a, b| a.index < b.index), "order of components in the scan")?;
        let [first, last, high, low] = [tail[0], tail[1], tail[2] >> 4, tail[2] & 15].map(u32::from);
        let header = ScanHeader { components, first, last, high, low };
        ensure(header.mcu_blocks(frame) <= MAX_MCU_BLOCKS, "size of the MCU")?;
        let sequential = (first, last, high, low) == (0, 63, 0, 0);
        ensure(if frame.progressive { header.is_progressive() } else { sequential }, "parameters of the scan")?;
        Ok(header)
    }

    fn mcu_blocks(&self, frame: &Frame) -> usize {
        match self.components[..] {
            [_] => 1,
            _ => self.components.iter().map(|c| frame.components[c.index].h * frame.components[c.index].v).sum(),
        }
    }

    /// Limits of a progressive scan (G.1.1.1).
    fn is_progressive(&self) -> bool {
        let dc = (self.first, self.last) == (0, 0);
        let ac = (1..=self.last).contains(&self.first) && self.last <= 63 && self.components.len() == 1;
        (dc || ac) && self.low <= 13 && (self.high == 0 || self.high == self.low + 1)
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
    let index = frame.components.iter().position(|c| c.id == pair[0]);
    let index = index.ok_or(Doubtful("unknown component in the scan"))?;
    let (dc, ac) = (usize::from(pair[1] >> 4), usize::from(pair[1] & 15));
    ensure(dc <= 3 && ac <= 3, "number of a Huffman table")?;
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

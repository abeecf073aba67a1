//! Writes small JPEG files from coefficients, with any sampling, restart interval and scan script.
#![allow(dead_code)] // Each test uses a part.

pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 16) as usize % limit
    }
}

/// A scan: components, spectral band, successive approximation.
#[derive(Clone)]
pub struct Scan {
    pub components: Vec<usize>,
    pub band: (usize, usize),
    pub high: u32,
    pub low: u32,
}

pub fn scan(components: &[usize], band: (usize, usize), high: u32, low: u32) -> Scan {
    Scan { components: components.to_vec(), band, high, low }
}

#[derive(Clone)]
pub struct Jpeg {
    pub width: usize,
    pub height: usize,
    /// Name, horizontal and vertical sampling of each component.
    pub components: Vec<(u8, usize, usize)>,
    pub progressive: bool,
    pub scans: Vec<Scan>,
    pub restart: usize,
    /// Codes of many lengths, or all of 8 bits.
    pub long_codes: bool,
    pub quant: u8,
    /// Coefficients in zigzag order, of each block of each component, padded to whole MCUs.
    pub blocks: Vec<Vec<[i32; 64]>>,
}

impl Jpeg {
    pub fn new(width: usize, height: usize, components: &[(u8, usize, usize)], seed: u64) -> Jpeg {
        let all: Vec<usize> = (0..components.len()).collect();
        let mut jpeg = Jpeg {
            width,
            height,
            components: components.to_vec(),
            progressive: false,
            scans: vec![scan(&all, (0, 63), 0, 0)],
            restart: 0,
            long_codes: false,
            quant: 3,
            blocks: vec![],
        };
        let mut random = Random(seed * 2 + 1);
        for index in 0..components.len() {
            let (wide, high) = jpeg.padded(index);
            jpeg.blocks.push((0..wide * high).map(|_| block(&mut random)).collect());
        }
        jpeg
    }

    pub fn progressive(mut self, scans: Vec<Scan>) -> Jpeg {
        self.progressive = true;
        self.scans = scans;
        self
    }

    fn max(&self) -> (usize, usize) {
        let h = self.components.iter().map(|c| c.1).max().unwrap();
        (h, self.components.iter().map(|c| c.2).max().unwrap())
    }

    pub fn mcus(&self) -> (usize, usize) {
        let (h, v) = self.max();
        (self.width.div_ceil(8 * h), self.height.div_ceil(8 * v))
    }

    pub fn padded(&self, index: usize) -> (usize, usize) {
        let (wide, high) = self.mcus();
        (wide * self.components[index].1, high * self.components[index].2)
    }

    /// Blocks of a scan in order: lists of (component, block) by MCU.
    fn order(&self, scan: &Scan) -> Vec<Vec<(usize, usize)>> {
        let mut order = vec![];
        if let [only] = scan.components[..] {
            let ((h, v), c) = (self.max(), self.components[only]);
            let wide = (self.width * c.1).div_ceil(8 * h);
            let high = (self.height * c.2).div_ceil(8 * v);
            for y in 0..high {
                for x in 0..wide {
                    order.push(vec![(only, y * self.padded(only).0 + x)]);
                }
            }
            return order;
        }
        let (wide, high) = self.mcus();
        for mcu in 0..wide * high {
            let (x, y) = (mcu % wide, mcu / wide);
            let mut blocks = vec![];
            for index in &scan.components {
                let (_, h, v) = self.components[*index];
                for row in 0..v {
                    for column in 0..h {
                        blocks.push((*index, (y * v + row) * self.padded(*index).0 + x * h + column));
                    }
                }
            }
            order.push(blocks);
        }
        order
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut out = vec![0xff, 0xd8];
        segment(&mut out, 0xdb, &[&[0][..], &[self.quant; 64][..]].concat());
        let mut frame = vec![8];
        frame.extend((self.height as u16).to_be_bytes());
        frame.extend((self.width as u16).to_be_bytes());
        frame.push(self.components.len() as u8);
        for (name, h, v) in &self.components {
            frame.extend([*name, (h << 4 | v) as u8, 0]);
        }
        segment(&mut out, if self.progressive { 0xc2 } else { 0xc0 }, &frame);
        segment(&mut out, 0xdd, &(self.restart as u16).to_be_bytes());
        for class in 0..2u8 {
            let (counts, symbols) = self.code(class);
            segment(&mut out, 0xc4, &[&[class << 4][..], &counts, &symbols].concat());
        }
        for scan in &self.scans {
            self.write_scan(scan, &mut out);
        }
        out.extend([0xff, 0xd9]);
        out
    }

    /// Codes by length, and symbols.
    fn code(&self, class: u8) -> ([u8; 16], Vec<u8>) {
        let mut counts = [0; 16];
        if class == 0 {
            counts[if self.long_codes { 12 } else { 3 }] = 12;
            return (counts, (0..12).collect());
        }
        let symbols: Vec<u8> = (0..16).flat_map(|run| (0..11).map(move |size| run << 4 | size)).collect();
        if self.long_codes {
            (counts[1], counts[3], counts[10], counts[15]) = (1, 3, 20, 152);
        } else {
            counts[7] = 176;
        }
        (counts, symbols)
    }

    fn write_scan(&self, scan: &Scan, out: &mut Vec<u8>) {
        let mut header = vec![scan.components.len() as u8];
        for index in &scan.components {
            header.extend([self.components[*index].0, 0]);
        }
        header.extend([scan.band.0 as u8, scan.band.1 as u8, (scan.high << 4 | scan.low) as u8]);
        segment(out, 0xda, &header);
        let order = self.order(scan);
        let step = if self.restart == 0 { order.len() } else { self.restart };
        for (number, interval) in order.chunks(step).enumerate() {
            if number > 0 {
                out.extend([0xff, 0xd0 + (number as u8 - 1) % 8]);
            }
            let mut writer = Writer { jpeg: self, bits: vec![] };
            writer.interval(scan, interval);
            writer.flush(out);
        }
    }
}

fn block(random: &mut Random) -> [i32; 64] {
    let mut block = [0; 64];
    block[0] = random.below(401) as i32 - 200;
    let count = [0, 3, 10, 64][random.below(4)];
    for _ in 0..count {
        let k = 1 + random.below(63);
        block[k] = random.below(if k < 10 { 60 } else { 9 }) as i32 - if k < 10 { 30 } else { 4 };
    }
    block
}

fn segment(out: &mut Vec<u8>, marker: u8, payload: &[u8]) {
    out.extend([0xff, marker]);
    out.extend((payload.len() as u16 + 2).to_be_bytes());
    out.extend(payload);
}

struct Writer<'a> {
    jpeg: &'a Jpeg,
    bits: Vec<u8>,
}

impl Writer<'_> {
    fn put(&mut self, value: u32, count: u32) {
        self.bits.extend((0..count).rev().map(|bit| (value >> bit & 1) as u8));
    }

    fn symbol(&mut self, class: u8, symbol: u8) {
        let (counts, symbols) = self.jpeg.code(class);
        let index = symbols.iter().position(|s| *s == symbol).unwrap() as u32;
        let (mut code, mut first) = (0, 0);
        for (i, count) in counts.iter().enumerate() {
            let count = u32::from(*count);
            if index < first + count {
                return self.put(code + index - first, i as u32 + 1);
            }
            first += count;
            code = (code + count) << 1;
        }
    }

    fn value(&mut self, value: i32, size: u32) {
        let bits = if value < 0 { value + (1 << size) - 1 } else { value };
        self.put(bits as u32, size);
    }

    fn interval(&mut self, scan: &Scan, mcus: &[Vec<(usize, usize)>]) {
        let mut predictions = [0; 4];
        let blocks = mcus.iter().flatten().map(|(c, b)| (*c, self.jpeg.blocks[*c][*b]));
        let blocks: Vec<(usize, [i32; 64])> = blocks.collect();
        if scan.band.0 == 0 {
            for (component, block) in &blocks {
                if scan.high > 0 {
                    self.put((block[0] >> scan.low) as u32 & 1, 1);
                    continue;
                }
                let dc = block[0] >> scan.low;
                let difference: i32 = dc - predictions[*component];
                predictions[*component] = dc;
                let size = 32 - difference.unsigned_abs().leading_zeros();
                self.symbol(0, size as u8);
                self.value(difference, size);
                if !self.jpeg.progressive {
                    self.sequential_ac(block);
                }
            }
        } else if scan.high == 0 {
            self.first_ac(scan, &blocks);
        } else {
            self.refine_ac(scan, &blocks);
        }
    }

    fn sequential_ac(&mut self, block: &[i32; 64]) {
        let mut run = 0;
        for value in &block[1..] {
            if *value == 0 {
                run += 1;
                continue;
            }
            for _ in 0..run / 16 {
                self.symbol(1, 0xf0);
            }
            self.coefficient(run % 16, *value);
            run = 0;
        }
        if run > 0 {
            self.symbol(1, 0);
        }
    }

    fn coefficient(&mut self, run: u8, value: i32) {
        let size = 32 - value.unsigned_abs().leading_zeros();
        self.symbol(1, run << 4 | size as u8);
        self.value(value, size);
    }

    fn end_run(&mut self, run: &mut u32) {
        if *run > 0 {
            let size = 31 - run.leading_zeros();
            self.symbol(1, (size << 4) as u8);
            self.put(*run - (1 << size), size);
            *run = 0;
        }
    }

    fn first_ac(&mut self, scan: &Scan, blocks: &[(usize, [i32; 64])]) {
        let mut end_run = 0;
        for (_, block) in blocks {
            let mut run = 0;
            for value in &block[scan.band.0..=scan.band.1] {
                let value = value.signum() * (value.abs() >> scan.low);
                if value == 0 {
                    run += 1;
                    continue;
                }
                self.end_run(&mut end_run);
                for _ in 0..run / 16 {
                    self.symbol(1, 0xf0);
                }
                self.coefficient(run % 16, value);
                run = 0;
            }
            if run > 0 {
                end_run += 1;
            }
        }
        self.end_run(&mut end_run);
    }

    /// Ends each block by itself: the correction bits of a run follow its code.
    fn refine_ac(&mut self, scan: &Scan, blocks: &[(usize, [i32; 64])]) {
        let mut pending: (u32, Vec<u8>) = (0, vec![]);
        for (_, block) in blocks {
            self.refine_block(scan, block, &mut pending);
        }
        self.flush_run(&mut pending);
    }

    fn flush_run(&mut self, pending: &mut (u32, Vec<u8>)) {
        self.end_run(&mut pending.0);
        self.bits.append(&mut pending.1);
    }

    fn refine_block(&mut self, scan: &Scan, block: &[i32; 64], pending: &mut (u32, Vec<u8>)) {
        let magnitude = |k: usize| block[k].unsigned_abs() >> scan.low;
        let last_new = (scan.band.0..=scan.band.1).rev().find(|k| magnitude(*k) == 1).unwrap_or(0);
        let (mut run, mut corrections) = (0, vec![]);
        for (k, coefficient) in block.iter().enumerate().take(scan.band.1 + 1).skip(scan.band.0) {
            let value = magnitude(k);
            if value == 0 {
                run += 1;
                if run == 16 && k < last_new {
                    self.flush_run(pending);
                    self.symbol(1, 0xf0);
                    self.bits.append(&mut corrections);
                    run = 0;
                }
                continue;
            }
            if value > 1 {
                corrections.push((value & 1) as u8);
                continue;
            }
            self.flush_run(pending);
            self.symbol(1, run << 4 | 1);
            self.put(u32::from(*coefficient > 0), 1);
            self.bits.append(&mut corrections);
            run = 0;
        }
        if run > 0 || !corrections.is_empty() {
            pending.0 += 1;
            pending.1.append(&mut corrections);
        }
    }

    /// Pads with ones and stuffs.
    fn flush(&mut self, out: &mut Vec<u8>) {
        while !self.bits.len().is_multiple_of(8) {
            self.bits.push(1);
        }
        for byte in self.bits.chunks(8) {
            let byte = byte.iter().fold(0, |byte, bit| byte << 1 | bit);
            out.push(byte);
            if byte == 0xff {
                out.push(0);
            }
        }
    }
}

//! Buffers whose bytes are counted: a plan builds everything without the allocations.
#![forbid(unsafe_code)]

/// Makes zeroed buffers, or counts their bytes only.
#[derive(Default)]
pub struct Memory {
    pub bytes: usize,
    pub dry: bool,
}

impl Memory {
    pub fn buffer<T: Copy + Default>(&mut self, count: usize) -> Vec<T> {
        self.bytes += count * size_of::<T>();
        vec![T::default(); if self.dry { 0 } else { count }]
    }
}

//! Buffers whose bytes are counted: a plan builds everything without the allocations.
#![forbid(unsafe_code)]

/// Makes zeroed buffers, or counts their bytes only.
#[derive(Default)]
pub struct Memory {
    pub bytes: usize,
    /// Nothing is allocated: from the start, or since an allocation failed.
    pub dry: bool,
}

impl Memory {
    /// An empty buffer if the memory is dry.
    pub fn buffer<T: Copy + Default>(&mut self, count: usize) -> Vec<T> {
        self.bytes += count * size_of::<T>();
        let mut buffer = Vec::new();
        self.dry |= buffer.try_reserve_exact(if self.dry { 0 } else { count }).is_err();
        buffer.resize(if self.dry { 0 } else { count }, T::default());
        buffer
    }
}

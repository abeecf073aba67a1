//! Memory that other threads or processes may change while it is read, such as a mapped file.

use std::slice;
use std::sync::atomic::{AtomicU64, AtomicU8, Ordering::Relaxed};

use crate::file::source::Source;

/// Bytes behind a pointer, read by relaxed atomic loads only: a change in between gives old or new bytes and
/// is not undefined behaviour. A mapped file that is cut short still raises SIGBUS, as for every reader.
pub struct SharedBytes {
    bytes: &'static [AtomicU8],
}

impl SharedBytes {
    /// # Safety
    /// `length` bytes from `pointer` on must stay readable while the value exists.
    pub unsafe fn new(pointer: *const u8, length: usize) -> SharedBytes {
        if length == 0 {
            return SharedBytes { bytes: &[] };
        }
        // SAFETY: AtomicU8 has the size and alignment of u8, the caller vouches for the memory, and all
        // accesses through the slice are atomic loads.
        SharedBytes { bytes: unsafe { slice::from_raw_parts(pointer.cast::<AtomicU8>(), length) } }
    }
}

impl Source for SharedBytes {
    fn size(&self) -> usize {
        self.bytes.len()
    }

    fn chunk<'a>(&'a self, position: usize, max: usize, scratch: &'a mut [u8]) -> &'a [u8] {
        let rest = self.bytes.get(position..).unwrap_or(&[]);
        let count = max.min(rest.len()).min(scratch.len());
        copy(&rest[..count], &mut scratch[..count]);
        &scratch[..count]
    }
}

/// Copies in words of eight bytes where `from` is aligned.
fn copy(from: &[AtomicU8], to: &mut [u8]) {
    // SAFETY: AtomicU64 has no invalid bit patterns, and `align_to` returns aligned parts only. Both views
    // are read by atomic loads.
    let (head, words, tail) = unsafe { from.align_to::<AtomicU64>() };
    let (to_head, rest) = to.split_at_mut(head.len());
    let (to_words, to_tail) = rest.split_at_mut(8 * words.len());
    copy_bytes(head, to_head);
    for (word, place) in words.iter().zip(to_words.as_chunks_mut::<8>().0) {
        *place = word.load(Relaxed).to_ne_bytes();
    }
    copy_bytes(tail, to_tail);
}

fn copy_bytes(from: &[AtomicU8], to: &mut [u8]) {
    for (byte, place) in from.iter().zip(to) {
        *place = byte.load(Relaxed);
    }
}

/// The memory of a Python object with the buffer protocol.
#[cfg(feature = "python")]
pub struct Buffer {
    pub bytes: SharedBytes,
    /// Keeps the memory in place: an object with an exported buffer can neither free nor resize the memory.
    _export: pyo3::buffer::PyBuffer<u8>,
}

#[cfg(feature = "python")]
impl Buffer {
    pub fn new(data: &pyo3::Bound<'_, pyo3::PyAny>) -> pyo3::PyResult<Buffer> {
        let export = pyo3::buffer::PyBuffer::<u8>::get(data)?;
        if !export.is_c_contiguous() {
            return Err(pyo3::exceptions::PyBufferError::new_err("the buffer must be contiguous"));
        }
        // SAFETY: `export` lives as long as the value and is C-contiguous, so `len_bytes` bytes are readable.
        let bytes = unsafe { SharedBytes::new(export.buf_ptr().cast(), export.len_bytes()) };
        Ok(Buffer { bytes, _export: export })
    }
}

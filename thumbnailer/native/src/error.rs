//! Why a picture is not rendered here. Each kind sends the caller to another decoder.
#![forbid(unsafe_code)]

use std::panic::{catch_unwind, AssertUnwindSafe};

pub type Result<T> = std::result::Result<T, Error>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// A valid file of a kind that this crate does not decode, or a request that it cannot serve.
    Unsupported(&'static str),
    /// Damage, or anything that another decoder may judge differently.
    Doubtful(&'static str),
    /// The work needs more memory than the caller allows or the system has; the value is in bytes.
    TooLarge(usize),
    /// A bug: the message of a panic.
    Internal(String),
}

/// Runs work and turns a panic into `Internal`.
pub fn catch<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(Error::Internal(text.unwrap_or("panic").to_owned()))
    })
}

/// Fails with `Doubtful` unless the condition holds.
pub fn ensure(valid: bool, reason: &'static str) -> Result<()> {
    valid.then_some(()).ok_or(Error::Doubtful(reason))
}

/// Fails with `Unsupported` unless the condition holds.
pub fn require(supported: bool, reason: &'static str) -> Result<()> {
    supported.then_some(()).ok_or(Error::Unsupported(reason))
}

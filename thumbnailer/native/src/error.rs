//! Why a picture is not rendered here. Each kind sends the caller to another decoder.
#![forbid(unsafe_code)]

pub type Result<T> = std::result::Result<T, Error>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// A valid file of a kind that this crate does not decode, or a request that it cannot serve.
    Unsupported(&'static str),
    /// Damage, or anything that another decoder may judge differently.
    Doubtful(&'static str),
    /// The work needs more memory than the caller allows; the value is in bytes.
    TooLarge(usize),
}

/// Fails with `Doubtful` unless the condition holds.
pub fn ensure(valid: bool, reason: &'static str) -> Result<()> {
    valid.then_some(()).ok_or(Error::Doubtful(reason))
}

/// Fails with `Unsupported` unless the condition holds.
pub fn require(supported: bool, reason: &'static str) -> Result<()> {
    supported.then_some(()).ok_or(Error::Unsupported(reason))
}

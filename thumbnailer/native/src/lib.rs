//! JPEG thumbnails: decodes only the frequencies that a small picture needs, then resizes row by row.
//!
//! Section numbers in comments are those of ITU-T T.81. `unsafe` is allowed in `audited` alone.
#![deny(unsafe_code)]

pub mod audited;
mod entropy;
mod error;
mod file;
pub mod memory;
pub mod picture;
mod plan;
#[cfg(feature = "python")]
mod python;
mod render;
pub mod resize;

pub use error::{catch, Error, Result};
pub use file::source::Source;
pub use plan::Plan;
pub use render::{plan, render, Rendered};
pub use resize::output::Picture;
pub use resize::request::{Area, Request, Target};

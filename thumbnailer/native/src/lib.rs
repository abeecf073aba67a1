//! JPEG thumbnails: decodes only the frequencies that a small picture needs, then resizes row by row.
//!
//! Section numbers in comments are those of ITU-T T.81. `unsafe` is allowed in `audited` alone.
#![deny(unsafe_code)]

pub mod audited;
mod bands;
mod bits;
mod coefficients;
mod colour;
mod error;
mod frame;
mod huffman;
pub mod idct;
mod layout;
mod plan;
#[cfg(feature = "python")]
mod python;
mod reader;
mod render;
pub mod resize;
mod scan;
mod source;
mod tables;
mod upsample;

pub use error::{Error, Result};
pub use frame::{ColourModel, Frame};
pub use plan::Plan;
pub use render::{info, plan, render, Picture, Rendered};
pub use resize::request::{Area, Request, Target};
pub use source::Source;

/// Version of this crate.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

//! The Python module `thumbnailer_jpeg`.
#![forbid(unsafe_code)]

use std::fs::File;
use std::path::PathBuf;

use pyo3::create_exception;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use crate::{Area, Error, Rendered, Request, Target};

create_exception!(thumbnailer_jpeg, Fallback, PyException, "Another decoder must take the file.");
create_exception!(thumbnailer_jpeg, Unsupported, Fallback, "A kind of file or request for another decoder.");
create_exception!(thumbnailer_jpeg, Doubtful, Fallback, "Damage, or what another decoder may judge differently.");
create_exception!(thumbnailer_jpeg, TooLarge, Fallback, "Needs more memory than allowed; args[0] is in bytes.");
create_exception!(thumbnailer_jpeg, Internal, Fallback, "A bug in this module; args[0] is the message.");

#[derive(FromPyObject)]
enum Data {
    Bytes(PyBackedBytes),
    Path(PathBuf),
}

/// Upright width and height, and the part of the upright picture that is shown: left, top, width and height in pixels
/// of the full picture. None for the whole picture.
type TargetTuple = (usize, usize, Option<(f64, f64, f64, f64)>);

/// Bytes.
const DEFAULT_LIMIT: usize = 256 << 20;

/// Width, height, channels and pixels.
type PictureTuple = (usize, usize, usize, Py<PyBytes>);

/// Runs work without the GIL.
fn guarded<T: Send>(py: Python, work: impl FnOnce() -> crate::Result<T> + Send) -> PyResult<T> {
    py.detach(|| crate::catch(work)).map_err(|error| match error {
        Error::Unsupported(reason) => Unsupported::new_err(reason),
        Error::Doubtful(reason) => Doubtful::new_err(reason),
        Error::TooLarge(bytes) => TooLarge::new_err(bytes),
        Error::Internal(message) => Internal::new_err(message),
    })
}

/// Copies one picture after the other and frees each.
fn pictures(py: Python, rendered: Rendered) -> PyResult<Vec<PictureTuple>> {
    let pictures = rendered.pictures.into_iter().map(|picture| {
        let size = picture.pixels.len();
        let fill = |bytes: &mut [u8]| {
            bytes.copy_from_slice(&picture.pixels);
            Ok(())
        };
        let pixels = PyBytes::new_with(py, size, fill).map_err(|_| TooLarge::new_err(size))?;
        Ok((picture.width, picture.height, picture.channels, pixels.unbind()))
    });
    pictures.collect()
}

#[pymodule(name = "thumbnailer_jpeg")]
mod module {
    use super::*;
    #[pymodule_export]
    use super::{Doubtful, Fallback, Internal, TooLarge, Unsupported};

    /// Decodes bytes or a file and makes its targets: a list of (width, height, channels, pixels), and
    /// the width, the height and N of N/8 of the decoded file. Raises TooLarge before any work if the plan exceeds `max_bytes`.
    #[pyfunction]
    #[pyo3(signature = (data, targets, orientation=1, scale=None, max_bytes=DEFAULT_LIMIT))]
    fn render(
        py: Python, data: Data, targets: Vec<TargetTuple>, orientation: u8, scale: Option<usize>, max_bytes: usize,
    ) -> PyResult<(Vec<PictureTuple>, (usize, usize, usize))> {
        let area = |(left, top, width, height)| Area { left, top, width, height };
        let target = |(width, height, part): TargetTuple| Target { width, height, area: part.map(area) };
        let targets = targets.into_iter().map(target).collect();
        let request = Request { targets, orientation, scale, max_bytes };
        let rendered = match data {
            Data::Bytes(bytes) => guarded(py, || crate::render(&&bytes[..], &request)),
            Data::Path(path) => {
                let file = File::open(path)?;
                guarded(py, || crate::render(&file, &request))
            }
        }?;
        let decoded = (rendered.plan.frame.width, rendered.plan.frame.height, rendered.plan.scale);
        Ok((pictures(py, rendered)?, decoded))
    }

    /// Panics, to test that a panic becomes `Internal`.
    #[cfg(feature = "panics")]
    #[pyfunction]
    fn panic(py: Python) -> PyResult<()> {
        guarded(py, || panic!("for a test"))
    }

    /// Version of the module.
    #[pyfunction]
    fn version() -> &'static str {
        env!("CARGO_PKG_VERSION")
    }

    /// Instruction set in use: "avx2" or "neon"; "none" if every file is `Unsupported` on this processor.
    #[pyfunction]
    fn simd() -> &'static str {
        crate::audited::simd()
    }
}

//! The Python module `thumbnailer_jpeg`.
#![forbid(unsafe_code)]

use std::panic::{catch_unwind, AssertUnwindSafe};

use pyo3::create_exception;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::audited::shared::{Buffer, SharedBytes};
use crate::{Area, ColourModel, Error, Frame, Plan, Request, Target};

create_exception!(thumbnailer_jpeg, Fallback, PyException, "Another decoder must take the file.");
create_exception!(thumbnailer_jpeg, Unsupported, Fallback, "A kind of file or request for another decoder.");
create_exception!(thumbnailer_jpeg, Doubtful, Fallback, "Damage, or what another decoder may judge differently.");
create_exception!(thumbnailer_jpeg, TooLarge, Fallback, "Needs more memory than allowed; args[0] is in bytes.");
create_exception!(thumbnailer_jpeg, Internal, Fallback, "A bug in this module; args[0] is the message.");

/// Left, top, width and height.
type AreaTuple = (f64, f64, f64, f64);

/// Upright width and height, and in the second form the part of the upright picture that is shown, in pixels of
/// the full picture.
#[derive(FromPyObject)]
enum TargetTuple {
    Whole((usize, usize)),
    Part((usize, usize, AreaTuple)),
}

/// Bytes.
const DEFAULT_LIMIT: usize = 256 << 20;

/// Width, height, channels and pixels.
type PictureTuple = (usize, usize, usize, Py<PyBytes>);

/// What is known about a file.
#[pyclass(frozen, get_all)]
struct Info {
    width: usize,
    height: usize,
    progressive: bool,
    /// "grey", "ycbcr" or "rgb".
    colour: &'static str,
    /// N of N/8; None if nothing was planned.
    scale: Option<usize>,
    /// Bytes that the work allocates at most; None if nothing was planned.
    bytes: Option<usize>,
}

impl Info {
    fn new(frame: &Frame, colour: ColourModel, plan: Option<&Plan>) -> Info {
        let colour = match colour {
            ColourModel::Grey => "grey",
            ColourModel::YCbCr => "ycbcr",
            ColourModel::Rgb => "rgb",
        };
        let (scale, bytes) = (plan.map(|plan| plan.scale), plan.map(|plan| plan.bytes));
        Info { width: frame.width, height: frame.height, progressive: frame.progressive, colour, scale, bytes }
    }
}

/// Runs work on a buffer without the GIL. A panic becomes `Internal`.
fn guarded<T: Send>(
    data: &Bound<'_, PyAny>, work: impl FnOnce(&SharedBytes) -> crate::Result<T> + Send,
) -> PyResult<T> {
    let buffer = Buffer::new(data)?;
    match data.py().detach(|| catch_unwind(AssertUnwindSafe(|| work(&buffer.bytes)))) {
        Ok(Ok(result)) => Ok(result),
        Ok(Err(Error::Unsupported(reason))) => Err(Unsupported::new_err(reason)),
        Ok(Err(Error::Doubtful(reason))) => Err(Doubtful::new_err(reason)),
        Ok(Err(Error::TooLarge(bytes))) => Err(TooLarge::new_err(bytes)),
        Err(panic) => {
            let message = panic.downcast_ref::<&str>().map(|text| text.to_string());
            let message = message.or_else(|| panic.downcast_ref::<String>().cloned());
            Err(Internal::new_err(message.unwrap_or("panic".to_owned())))
        }
    }
}

fn request(targets: Vec<TargetTuple>, orientation: u8, scale: Option<usize>, max_bytes: usize) -> Request {
    let target = |target| match target {
        TargetTuple::Whole((width, height)) => Target { width, height, area: None },
        TargetTuple::Part((width, height, area)) => {
            Target { width, height, area: Some(Area { left: area.0, top: area.1, width: area.2, height: area.3 }) }
        }
    };
    Request { targets: targets.into_iter().map(target).collect(), orientation, scale, max_bytes }
}

#[pymodule(name = "thumbnailer_jpeg")]
mod module {
    use super::*;
    #[pymodule_export]
    use super::{Doubtful, Fallback, Info, Internal, TooLarge, Unsupported};

    /// Reads the header of a file.
    #[pyfunction]
    fn info(data: &Bound<'_, PyAny>) -> PyResult<Info> {
        let (frame, colour) = guarded(data, |buffer| crate::info(buffer))?;
        Ok(Info::new(&frame, colour, None))
    }

    /// Plans a request without decoding. Raises TooLarge if the plan exceeds `max_bytes`.
    #[pyfunction]
    #[pyo3(signature = (data, targets, orientation=1, scale=None, max_bytes=DEFAULT_LIMIT))]
    fn plan(
        data: &Bound<'_, PyAny>, targets: Vec<TargetTuple>, orientation: u8, scale: Option<usize>, max_bytes: usize,
    ) -> PyResult<Info> {
        let request = request(targets, orientation, scale, max_bytes);
        let work = |buffer: &SharedBytes| Ok((crate::info(buffer)?, crate::plan(buffer, &request)?));
        let ((frame, colour), plan) = guarded(data, work)?;
        Ok(Info::new(&frame, colour, Some(&plan)))
    }

    /// Decodes a file and makes its targets: a list of (width, height, channels, pixels), and an Info.
    #[pyfunction]
    #[pyo3(signature = (data, targets, orientation=1, scale=None, max_bytes=DEFAULT_LIMIT))]
    fn render(
        data: &Bound<'_, PyAny>, targets: Vec<TargetTuple>, orientation: u8, scale: Option<usize>, max_bytes: usize,
    ) -> PyResult<(Vec<PictureTuple>, Info)> {
        let request = request(targets, orientation, scale, max_bytes);
        let rendered = guarded(data, |buffer| crate::render(buffer, &request))?;
        let pictures = rendered.pictures.into_iter().map(|picture| {
            let pixels = PyBytes::new(data.py(), &picture.pixels).unbind();
            (picture.width, picture.height, picture.channels, pixels)
        });
        Ok((pictures.collect(), Info::new(&rendered.frame, rendered.colour, Some(&rendered.plan))))
    }

    /// Version of the module.
    #[pyfunction]
    fn version() -> &'static str {
        crate::VERSION
    }

    /// Instruction set in use: "avx2" or "neon"; "none" if every file is `Unsupported` on this processor.
    #[pyfunction]
    fn simd() -> &'static str {
        crate::audited::simd()
    }
}

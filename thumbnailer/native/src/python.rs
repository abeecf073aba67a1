//! The Python module `thumbnailer_jpeg`.
#![forbid(unsafe_code)]

use std::panic::{catch_unwind, AssertUnwindSafe};

use pyo3::create_exception;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::audited::{self, shared::Buffer};
use crate::frame::ColourModel;
use crate::resize::request::{Area, Request, Target};
use crate::{Error, Frame, Plan, Rendered};

create_exception!(thumbnailer_jpeg, Fallback, PyException, "Another decoder must take the file.");
create_exception!(thumbnailer_jpeg, Unsupported, Fallback, "A kind of file or request for another decoder.");
create_exception!(thumbnailer_jpeg, Doubtful, Fallback, "Damage, or what another decoder may judge differently.");
create_exception!(thumbnailer_jpeg, TooLarge, Fallback, "Needs more memory than allowed; args[0] is in bytes.");
create_exception!(thumbnailer_jpeg, Internal, Fallback, "A bug in this module; args[0] is the message.");

/// Upright width and height, and in the second form the part of the upright picture that is shown: left, top,
/// width and height in pixels of the full picture.
#[derive(FromPyObject)]
enum TargetTuple {
    Whole((usize, usize)),
    Part((usize, usize, (f64, f64, f64, f64))),
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
        Info {
            width: frame.width,
            height: frame.height,
            progressive: frame.progressive,
            colour,
            scale: plan.map(|plan| plan.scale),
            bytes: plan.map(|plan| plan.bytes),
        }
    }
}

fn exception(error: Error) -> PyErr {
    match error {
        Error::Unsupported(reason) => Unsupported::new_err(reason),
        Error::Doubtful(reason) => Doubtful::new_err(reason),
        Error::TooLarge(bytes) => TooLarge::new_err(bytes),
    }
}

/// Runs work without the GIL. A panic becomes `Internal`.
fn guarded<T: Send>(py: Python<'_>, work: impl FnOnce() -> crate::Result<T> + Send) -> PyResult<T> {
    match py.detach(|| catch_unwind(AssertUnwindSafe(work))) {
        Ok(result) => result.map_err(exception),
        Err(panic) => {
            let message = panic.downcast_ref::<&str>().copied().unwrap_or("panic");
            Err(Internal::new_err(message.to_owned()))
        }
    }
}

fn target(tuple: TargetTuple) -> Target {
    match tuple {
        TargetTuple::Whole((width, height)) => Target { width, height, area: None },
        TargetTuple::Part((width, height, (left, top, area_width, area_height))) => {
            let area = Area { left, top, width: area_width, height: area_height };
            Target { width, height, area: Some(area) }
        }
    }
}

fn request(targets: Vec<TargetTuple>, orientation: u8, scale: Option<usize>, max_bytes: usize) -> Request {
    Request { targets: targets.into_iter().map(target).collect(), orientation, scale, max_bytes }
}

/// Reads the header of a file.
#[pyfunction]
fn info(py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<Info> {
    let buffer = Buffer::new(data)?;
    let (frame, colour) = guarded(py, || crate::info(&buffer))?;
    Ok(Info::new(&frame, colour, None))
}

/// Plans a request without decoding. Raises TooLarge if the plan exceeds `max_bytes`.
#[pyfunction]
#[pyo3(signature = (data, targets, orientation=1, scale=None, max_bytes=DEFAULT_LIMIT))]
fn plan(
    py: Python<'_>, data: &Bound<'_, PyAny>, targets: Vec<TargetTuple>, orientation: u8, scale: Option<usize>,
    max_bytes: usize,
) -> PyResult<Info> {
    let buffer = Buffer::new(data)?;
    let request = request(targets, orientation, scale, max_bytes);
    let ((frame, colour), plan) = guarded(py, || Ok((crate::info(&buffer)?, crate::plan(&buffer, &request)?)))?;
    Ok(Info::new(&frame, colour, Some(&plan)))
}

/// Decodes a file and makes its targets: a list of (width, height, channels, pixels), and an Info.
#[pyfunction]
#[pyo3(signature = (data, targets, orientation=1, scale=None, max_bytes=DEFAULT_LIMIT))]
fn render(
    py: Python<'_>, data: &Bound<'_, PyAny>, targets: Vec<TargetTuple>, orientation: u8, scale: Option<usize>,
    max_bytes: usize,
) -> PyResult<(Vec<PictureTuple>, Info)> {
    let buffer = Buffer::new(data)?;
    let request = request(targets, orientation, scale, max_bytes);
    let Rendered { pictures, plan, frame, colour } = guarded(py, || crate::render(&buffer, &request))?;
    let pictures = pictures.into_iter().map(|picture| {
        let pixels = PyBytes::new(py, &picture.pixels).unbind();
        (picture.width, picture.height, picture.channels, pixels)
    });
    Ok((pictures.collect(), Info::new(&frame, colour, Some(&plan))))
}

/// Version of the module.
#[pyfunction]
fn version() -> &'static str {
    crate::VERSION
}

/// Instruction sets in use: "avx2", "sse2" or "portable".
#[pyfunction]
fn simd() -> &'static str {
    audited::simd()
}

#[pymodule]
fn thumbnailer_jpeg(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add("Fallback", py.get_type::<Fallback>())?;
    module.add("Unsupported", py.get_type::<Unsupported>())?;
    module.add("Doubtful", py.get_type::<Doubtful>())?;
    module.add("TooLarge", py.get_type::<TooLarge>())?;
    module.add("Internal", py.get_type::<Internal>())?;
    module.add_class::<Info>()?;
    module.add_function(wrap_pyfunction!(info, module)?)?;
    module.add_function(wrap_pyfunction!(plan, module)?)?;
    module.add_function(wrap_pyfunction!(render, module)?)?;
    module.add_function(wrap_pyfunction!(version, module)?)?;
    module.add_function(wrap_pyfunction!(simd, module)?)?;
    Ok(())
}

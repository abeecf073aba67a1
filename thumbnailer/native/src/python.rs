//! The Python module `thumbnailer_jpeg`.
#![forbid(unsafe_code)]

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

/// Runs work on a buffer without the GIL.
fn guarded<T: Send>(
    data: &Bound<'_, PyAny>, work: impl FnOnce(&SharedBytes) -> crate::Result<T> + Send,
) -> PyResult<T> {
    let buffer = Buffer::new(data)?;
    data.py().detach(|| crate::catch(|| work(&buffer.bytes))).map_err(|error| match error {
        Error::Unsupported(reason) => Unsupported::new_err(reason),
        Error::Doubtful(reason) => Doubtful::new_err(reason),
        Error::TooLarge(bytes) => TooLarge::new_err(bytes),
        Error::Internal(message) => Internal::new_err(message),
    })
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
        let plan = guarded(data, |buffer| crate::plan(buffer, &request))?;
        Ok(Info::new(&plan.frame, plan.colour, Some(&plan)))
    }

    /// Decodes a file and makes its targets: a list of (width, height, channels, pixels), and an Info.
    #[pyfunction]
    #[pyo3(signature = (data, targets, orientation=1, scale=None, max_bytes=DEFAULT_LIMIT))]
    fn render(
        data: &Bound<'_, PyAny>, targets: Vec<TargetTuple>, orientation: u8, scale: Option<usize>, max_bytes: usize,
    ) -> PyResult<(Vec<PictureTuple>, Info)> {
        let request = request(targets, orientation, scale, max_bytes);
        let rendered = guarded(data, |buffer| crate::render(buffer, &request))?;
        let info = Info::new(&rendered.plan.frame, rendered.plan.colour, Some(&rendered.plan));
        let pictures = rendered.pictures.into_iter().map(|picture| {
            let size = picture.pixels.len();
            let fill = |bytes: &mut [u8]| {
                bytes.copy_from_slice(&picture.pixels);
                Ok(())
            };
            let pixels = PyBytes::new_with(data.py(), size, fill).map_err(|_| TooLarge::new_err(size))?;
            Ok((picture.width, picture.height, picture.channels, pixels.unbind()))
        });
        Ok((pictures.collect::<PyResult<_>>()?, info))
    }

    /// Panics, to test that a panic becomes `Internal`.
    #[cfg(feature = "panics")]
    #[pyfunction]
    fn panic(data: &Bound<'_, PyAny>) -> PyResult<()> {
        guarded(data, |_| panic!("for a test"))
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

"""The details of a probed file, as the type that its format has."""

from __future__ import annotations

from typing import TypeVar

from thumbnailer.formats.details import GifDetails, HeifDetails, JpegDetails, JxlDetails, PngDetails, TiffDetails
from thumbnailer.model import Details, ImageInfo

T = TypeVar("T", bound=Details)


def _details(info: ImageInfo | None, kind: type[T]) -> T:
    assert info is not None
    assert isinstance(info.details, kind)
    return info.details


def heif(info: ImageInfo | None) -> HeifDetails:
    return _details(info, HeifDetails)


def gif(info: ImageInfo | None) -> GifDetails:
    return _details(info, GifDetails)


def jpeg(info: ImageInfo | None) -> JpegDetails:
    return _details(info, JpegDetails)


def jxl(info: ImageInfo | None) -> JxlDetails:
    return _details(info, JxlDetails)


def png(info: ImageInfo | None) -> PngDetails:
    return _details(info, PngDetails)


def tiff(info: ImageInfo | None) -> TiffDetails:
    return _details(info, TiffDetails)

"""Thumbnails of pictures: `thumbnail` and its kin, from `thumbnailer.api`, which is imported when it is first used."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from thumbnailer.api import Thumbnail, thumbnail, thumbnail_async, thumbnails, thumbnails_async
    from thumbnailer.errors import RecordError

__all__ = ["RecordError", "Thumbnail", "thumbnail", "thumbnail_async", "thumbnails", "thumbnails_async"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from thumbnailer import api

    return getattr(api, name)

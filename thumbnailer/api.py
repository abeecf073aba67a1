"""The Python API: thumbnails of bytes and files, with the limits and errors of the pipeline. docs/library.md shows it.

All calls of a process share one event loop in a thread, and with it one memory budget and one set of decoders.
"""

import asyncio
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

from thumbnailer.app import build, new_event_loop
from thumbnailer.errors import RecordError, internal_error
from thumbnailer.machine import machine
from thumbnailer.model import EventKind, Format, ObjectEvent
from thumbnailer.rendering import Refused, Renderer
from thumbnailer.renditions import Rendition, parse_renditions
from thumbnailer.settings import load
from thumbnailer.store.local import LocalStore
from thumbnailer.trace import Trace

Source = bytes | str | os.PathLike[str]
"""The bytes of a picture, or the path of its file."""


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """An encoded thumbnail; sides in pixels. `format` is a str such as "webp"."""

    data: bytes
    width: int
    height: int
    format: Format
    damaged: bool = False
    """parts of the source are missing or unreadable, and the thumbnail shows the rest"""


def thumbnail(source: Source, rendition: str) -> Thumbnail:
    """One thumbnail, e.g. `thumbnail("photo.jpg", "320x320:cover:webp:q80")`.

    Raises RecordError if there can be none (its `reason` says why), ValueError for a rendition that cannot be read, and
    SettingsError if a THUMBNAILER_ variable is invalid.
    """
    return thumbnails(source, rendition)[0]


def thumbnails(source: Source, *renditions: str) -> tuple[Thumbnail, ...]:
    """One thumbnail for each rendition, in order, from one decode. Raises as `thumbnail` does."""
    return _submit(source, renditions).result()


async def thumbnail_async(source: Source, rendition: str) -> Thumbnail:
    """`thumbnail` for any event loop. A cancelled call gives up its place."""
    return (await thumbnails_async(source, rendition))[0]


async def thumbnails_async(source: Source, *renditions: str) -> tuple[Thumbnail, ...]:
    return await asyncio.wrap_future(_submit(source, renditions))


def _submit(source: Source, texts: tuple[str, ...]) -> Future[tuple[Thumbnail, ...]]:
    renditions = tuple(rendition for text in texts or ("",) for rendition in parse_renditions(text))
    with _starting:
        worker = _worker()
    return worker.submit(worker.render(source if isinstance(source, bytes) else Path(source), renditions))


class _Worker:
    """A loop in a thread of its own, and its Renderer."""

    def __init__(self) -> None:
        self._settings = load()
        self._sources: dict[str, bytes | Path] = {}
        self._loop = new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="thumbnailer", daemon=True).start()
        self._renderer = self.submit(self._build()).result()

    def submit(self, work: Coroutine[Any, Any, Any]) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def _build(self) -> Renderer:
        return build(self._settings, machine(), {}, LocalStore(self._sources)).pipeline.renderer

    async def render(self, source: bytes | Path, renditions: tuple[Rendition, ...]) -> tuple[Thumbnail, ...]:
        event = ObjectEvent(EventKind.CREATED, "memory", uuid4().hex)
        trace = Trace(event)
        self._sources[event.key] = source
        try:
            result = await self._renderer.render(event, replace(self._settings, renditions=renditions), trace)
        except RecordError:
            raise
        except Exception as error:
            raise internal_error(error) from error
        finally:
            del self._sources[event.key]
        if isinstance(result, Refused):
            raise result.error
        pairs = zip(result.plan.targets, result.rendering.pictures, strict=True)
        return tuple(Thumbnail(data, t.width, t.height, t.format, bool(trace.defects)) for t, data in pairs)


_starting = threading.Lock()
_worker = cache(_Worker)
os.register_at_fork(after_in_child=_worker.cache_clear)  # the child has no such thread

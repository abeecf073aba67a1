"""The sources of this process, files and bytes, as an object store; for the command line and the Python API."""

import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Final

from thumbnailer.errors import ObjectMissing, StoreDenied, StoreUnavailable
from thumbnailer.model import Format
from thumbnailer.store.base import ObjectBody, ObjectHeaders, ObjectVersion, PutHeaders

CHUNK: Final = 256 * 1024
ERRORS: Final = {FileNotFoundError: ObjectMissing, PermissionError: StoreDenied}

Write = Callable[[str, Format, bytes], None]
"""Writes a thumbnail by its key. Raises OSError or StoreErrors."""


class LocalStore:
    """Sources by their keys, in every bucket. A file is opened when its record begins; `write` gets each thumbnail."""

    def __init__(self, sources: Mapping[str, bytes | Path], write: Write = lambda *_: None) -> None:
        self._sources = sources
        self._write = write

    @asynccontextmanager
    async def open(self, bucket: str, key: str) -> AsyncIterator[ObjectBody]:
        with _store_errors(key):
            source = self._sources[key]
            file = BytesIO(source) if isinstance(source, bytes) else source.open("rb", buffering=0)
        with file:
            size, version = _identify(source if isinstance(source, bytes) else file.fileno())
            yield _Body(ObjectHeaders(size, *version, "application/octet-stream", None, None, None, {}), file)

    async def head(self, bucket: str, key: str) -> ObjectVersion | None:
        try:
            with _store_errors(key):
                return _identify(self._sources[key])[1]
        except ObjectMissing:
            return None

    async def put(self, bucket: str, key: str, data: bytes, headers: PutHeaders) -> None:
        with _store_errors(key):
            self._write(key, Format(headers.content_type.rpartition("/")[2]), data)

    async def delete(self, bucket: str, key: str) -> None:
        """Deletes nothing: the user's own files may have the names of thumbnails."""

    async def aclose(self) -> None: ...


@dataclass(frozen=True, slots=True)
class _Body:
    headers: ObjectHeaders
    file: BinaryIO

    async def chunks(self) -> AsyncIterator[bytes]:
        left = self.headers.size
        while left:
            with _store_errors("the source"):
                chunk = self.file.read(min(CHUNK, left))
            if not chunk:
                raise StoreUnavailable(f"the file became {left} bytes shorter while it was read")
            left -= len(chunk)
            yield chunk


def _identify(source: bytes | Path | int) -> tuple[int, ObjectVersion]:
    """Size and version; of a file by its inode, its size and its time of change."""
    if isinstance(source, bytes):
        return len(source), ObjectVersion(None, None)
    found = os.stat(source)
    return found.st_size, ObjectVersion(f"{found.st_ino:x}-{found.st_size:x}-{found.st_mtime_ns:x}", None)


@contextmanager
def _store_errors(name: str) -> Iterator[None]:
    """Raises StoreErrors in place of the system's errors."""
    try:
        yield
    except OSError as error:
        kind = next((kind for cause, kind in ERRORS.items() if isinstance(error, cause)), StoreUnavailable)
        raise kind(f"{error.filename or name}: {error.strerror}") from error

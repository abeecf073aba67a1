"""A folder of the machine as a read-only object store: a file's path below the folder is its key."""

import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from thumbnailer.errors import BucketMissing, ObjectMissing, StoreDenied, StoreUnavailable
from thumbnailer.store.base import ObjectBody, ObjectHeaders, ObjectVersion, PutHeaders

CHUNK: Final = 1024 * 1024
_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK  # a pipe would wait for a writer
_FOLDER: Final = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW


class FolderStore:
    """The folder is the only bucket, `bucket`. No key leads out of it: no `..`, and no symbolic link is followed."""

    def __init__(self, folder: str, bucket: str) -> None:
        """Raises OSError."""
        self._bucket = bucket
        self._folder = os.open(folder, os.O_PATH | os.O_DIRECTORY)

    @asynccontextmanager
    async def open(self, bucket: str, key: str) -> AsyncIterator[ObjectBody]:
        file = self._open(bucket, key)
        try:
            yield _Body(file, _headers(os.fstat(file)))
        finally:
            os.close(file)

    async def head(self, bucket: str, key: str) -> ObjectVersion | None:
        try:
            file = self._open(bucket, key)
        except (BucketMissing, ObjectMissing):
            return None
        try:
            return _headers(os.fstat(file)).version
        finally:
            os.close(file)

    async def put(self, bucket: str, key: str, data: bytes, headers: PutHeaders) -> None:  # noqa: ARG002
        raise StoreDenied(f"PUT {bucket}/{key!r}: a folder is read-only")

    async def delete(self, bucket: str, key: str) -> None:
        raise StoreDenied(f"DELETE {bucket}/{key!r}: a folder is read-only")

    async def aclose(self) -> None:
        os.close(self._folder)

    def _open(self, bucket: str, key: str) -> int:
        """Opens one path segment after the other, so that no symbolic link leads out of the folder."""
        if bucket != self._bucket:
            raise BucketMissing(f"GET {bucket}/{key!r}: no such bucket")
        *folders, name = key.encode().split(b"/")
        if not {b"", b".", b".."}.isdisjoint([*folders, name]) or b"\0" in key.encode():
            raise ObjectMissing(f"GET {key!r}: no such file")
        at = os.dup(self._folder)
        try:
            for folder in folders:
                at, last = os.open(folder, _FOLDER, dir_fd=at), at
                os.close(last)
            file = os.open(name, _FLAGS, dir_fd=at)
        except PermissionError as error:
            raise StoreDenied(f"GET {key!r}: this process may not read it") from error
        except OSError as error:
            raise ObjectMissing(f"GET {key!r}: no such file") from error
        finally:
            os.close(at)
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise ObjectMissing(f"GET {key!r}: no file")
        return file


class _Body:
    def __init__(self, file: int, headers: ObjectHeaders) -> None:
        self._file = file
        self.headers = headers

    async def chunks(self) -> AsyncIterator[bytes]:
        read = 0
        while read < self.headers.size:
            chunk = os.pread(self._file, min(CHUNK, self.headers.size - read), read)
            if not chunk:
                raise StoreUnavailable("GET: the file was shortened while it was read")
            read += len(chunk)
            yield chunk


def _headers(status: os.stat_result) -> ObjectHeaders:
    """The ETag changes with every write: inode, size and time of the file."""
    etag = f"{status.st_ino:x}-{status.st_size:x}-{status.st_mtime_ns:x}"
    return ObjectHeaders(status.st_size, etag, None, None, None, None, None, {})

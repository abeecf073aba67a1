"""Pictures by key, in a folder or in S3: keys with sizes, the first bytes of a picture, a whole picture."""

import itertools
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from bench.cells.pictures import NoPictures
from thumbnailer.errors import ObjectArchived, ObjectMissing, ThumbnailerError

MOST_KEYS: Final = 20_000
"""Keys listed at most: 20 requests to S3. Of a larger prefix these are the first by name, and the survey says so."""
CONNECTIONS: Final = 8
CONNECT_SECONDS: Final = 5
READ_SECONDS: Final = 30
EXPECTED: Final = {"NoSuchKey": ObjectMissing, "InvalidObjectState": ObjectArchived}
"""Errors of an object that changed or was archived."""
HINT: Final = (
    "check the bucket's name, the credentials (AWS_PROFILE, or AWS_ACCESS_KEY_ID and its secret) and that they allow "
    "s3:ListBucket and s3:GetObject, AWS_REGION, and AWS_ENDPOINT_URL if it is set"
)


class SourceError(ThumbnailerError):
    """The pictures cannot be listed or read. The message says what to do."""


@dataclass(frozen=True, slots=True)
class Listing:
    """Keys with their sizes; `complete`: there are no others."""

    keys: tuple[tuple[str, int], ...]
    complete: bool


class Source(Protocol):
    def keys(self) -> Listing:
        """Return at most MOST_KEYS keys, without empty objects."""
        ...

    def read(self, key: str, count: int | None = None) -> bytes:
        """Return the whole picture, or its first bytes."""
        ...


def source_of(images: str) -> Source:
    """Return the source that `--images` names: s3://bucket/prefix, or a folder. Raises SourceError."""
    return S3Source(images) if images.startswith("s3://") else FolderSource(Path(images))


class FolderSource:
    """The files in a folder and its subfolders."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __str__(self) -> str:
        return str(self._folder)

    def keys(self) -> Listing:
        if not self._folder.is_dir():
            raise NoPictures(f"{self._folder}: is not a folder; expected a folder, or s3://bucket/prefix")
        found = list(itertools.islice(self._files(), MOST_KEYS + 1))
        return Listing(tuple(sorted(found[:MOST_KEYS])), len(found) <= MOST_KEYS)

    def _files(self) -> Iterator[tuple[str, int]]:
        for path in self._folder.rglob("*"):
            key = path.relative_to(self._folder)
            hidden = any(part.startswith(".") for part in key.parts)
            if path.is_file() and not hidden and (size := path.stat().st_size):
                yield key.as_posix(), size

    def read(self, key: str, count: int | None = None) -> bytes:
        path = self._folder / key
        try:
            with path.open("rb") as file:
                return file.read(count)
        except OSError as error:
            raise SourceError(f"{path}: cannot be read: {error.strerror}") from error


class S3Source:
    """The objects below a prefix, through boto3: its credentials, profiles and AWS_ENDPOINT_URL."""

    def __init__(self, url: str) -> None:
        found = re.fullmatch(r"s3://([^/]+)/?(.*)", url)
        if not found:
            raise SourceError(f"{url}: expected s3://bucket or s3://bucket/prefix")
        self._url, self._bucket, self._prefix = url, found[1], found[2]
        with _source_errors(url):
            self._client = _client(self._bucket)

    def __str__(self) -> str:
        return self._url

    def keys(self) -> Listing:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix)
        with _source_errors(f"listing {self._url}"):
            objects = (item for page in pages for item in page.get("Contents", ()))
            found = list(itertools.islice(objects, MOST_KEYS + 1))
        keys = tuple((item["Key"], item["Size"]) for item in found[:MOST_KEYS] if item["Size"])
        return Listing(keys, len(found) <= MOST_KEYS)

    def read(self, key: str, count: int | None = None) -> bytes:
        first_bytes = {} if count is None else {"Range": f"bytes=0-{count - 1}"}
        with _source_errors(f"s3://{self._bucket}/{key}"):
            answer = self._client.get_object(Bucket=self._bucket, Key=key, **first_bytes)
            with answer["Body"] as body:
                return bytes(body.read())


def _client(bucket: str) -> Any:
    import boto3
    from botocore.config import Config

    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    return boto3.Session().client(
        "s3",
        config=Config(
            s3={"addressing_style": "path" if endpoint or "." in bucket else "auto"},
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            retries={"total_max_attempts": 3, "mode": "standard"},
            max_pool_connections=CONNECTIONS,
        ),
    )


@contextmanager
def _source_errors(subject: str) -> Iterator[None]:
    """Turns the SDK's errors into SourceError with a hint; a missing or archived object stays a StoreError."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code")
        if code in EXPECTED:
            raise EXPECTED[code](f"{subject}: {error}") from error
        raise SourceError(f"{subject}: {error}: {HINT}") from error
    except (BotoCoreError, ValueError) as error:  # ValueError: the endpoint is not a URL
        raise SourceError(f"{subject}: {error}: {HINT}") from error

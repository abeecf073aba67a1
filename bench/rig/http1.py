"""The part of HTTP/1.1 that a proxy needs: message heads, and where message bodies end."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from typing import Final

MOST_HEAD_BYTES: Final = 256 * 1024
PIECE: Final = 64 * 1024
END: Final = b"\r\n\r\n"


def parsed(head: bytes) -> tuple[list[str], dict[str, str]]:
    """The three parts of the first line, and the headers with their names in lower case."""
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines if line)
    return first.split(" ", 2), {name.lower(): value.strip() for name, _, value in pairs}


def head(first: str, headers: Mapping[str, str]) -> bytes:
    return "\r\n".join([first, *(f"{name}: {value}" for name, value in headers.items()), "", ""]).encode("latin-1")


def without_connection(head: bytes) -> bytes:
    """The head without its Connection header, which holds for one hop only."""
    return re.sub(rb"(?i)\r\nconnection:[^\r]*", b"", head)


def is_chunked(headers: Mapping[str, str]) -> bool:
    return headers.get("transfer-encoding", "").lower() == "chunked"


def has_no_body(method: str, status: str) -> bool:
    """Whether the response has no body, whatever its headers say."""
    return method == "HEAD" or status in ("204", "304") or status.startswith("1")


def ends_with_connection(method: str, status: str, headers: Mapping[str, str]) -> bool:
    """Whether only the end of the connection marks the end of the response's body."""
    return not has_no_body(method, status) and "content-length" not in headers and not is_chunked(headers)


def closes_connection(version: str, headers: Mapping[str, str]) -> bool:
    """Whether the sender of this head closes the connection after the message."""
    value = headers.get("connection", "").lower()
    return value == "close" or (version == "HTTP/1.0" and value != "keep-alive")


async def body(reader: asyncio.StreamReader, headers: Mapping[str, str], until_closed: bool) -> AsyncIterator[bytes]:
    """A body in pieces, with its chunk framing. Raises IncompleteReadError if the body is cut off."""
    if is_chunked(headers):
        async for piece in _chunks(reader):
            yield piece
    elif "content-length" in headers:
        async for piece in _bytes(reader, int(headers["content-length"])):
            yield piece
    elif until_closed:
        while piece := await reader.read(PIECE):
            yield piece


async def _bytes(reader: asyncio.StreamReader, count: int) -> AsyncIterator[bytes]:
    while count:
        piece = await reader.read(min(PIECE, count))
        if not piece:
            raise asyncio.IncompleteReadError(b"", count)
        count -= len(piece)
        yield piece


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while True:
        line = await reader.readuntil(b"\r\n")
        yield line
        size = int(line.partition(b";")[0], 16)
        if size == 0:
            break
        async for piece in _bytes(reader, size + 2):
            yield piece
    while (line := await reader.readuntil(b"\r\n")) != b"\r\n":
        yield line
    yield line

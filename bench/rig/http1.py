"""As much of HTTP/1.1 as a proxy needs: heads, and how long the bodies behind them are."""

from __future__ import annotations

from collections.abc import Mapping

MOST_HEAD_BYTES = 256 * 1024
PIECE = 64 * 1024
END = b"\r\n\r\n"


def parsed(head: bytes) -> tuple[list[str], dict[str, str]]:
    """The three parts of the first line, and the headers with their names in lower case."""
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines if line)
    return first.split(" ", 2), {name.lower(): value.strip() for name, _, value in pairs}


def head(first: str, headers: Mapping[str, str]) -> bytes:
    return "\r\n".join([first, *(f"{name}: {value}" for name, value in headers.items()), "", ""]).encode("latin-1")


def is_chunked(headers: Mapping[str, str]) -> bool:
    return headers.get("transfer-encoding", "").lower() == "chunked"


def has_no_body(method: str, status: str) -> bool:
    """Of an answer, whatever its headers say."""
    return method == "HEAD" or status in ("204", "304") or status.startswith("1")


def ends_connection(version: str, headers: Mapping[str, str]) -> bool:
    """Whether the sender of this head closes the connection behind it."""
    said = headers.get("connection", "").lower()
    return said == "close" or (version == "HTTP/1.0" and said != "keep-alive")

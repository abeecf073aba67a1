"""What can go wrong with one HTTP request, as a value, and the socket calls that make it happen."""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import termios
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from bench.rig import http1

Do = Literal["pass", "answer", "reset", "stall", "lost", "close", "short", "break", "hang"]


@dataclass(frozen=True, slots=True)
class Request:
    """A request as a rule gets it: `target` as sent; `attempt` counts earlier requests of this method and target."""

    method: str
    target: str
    headers: Mapping[str, str]
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """A response that the proxy gives in place of the server."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    def encoded(self, method: str) -> bytes:
        no_body = http1.has_no_body(method, str(self.status))
        length = {} if self.status == 204 else {"Content-Length": str(len(self.body))}
        head = http1.head(f"HTTP/1.1 {self.status} Fault", {**self.headers, **length})
        return head if no_body else head + self.body


@dataclass(frozen=True, slots=True)
class Fault:
    """What the proxy does to one request.

    pass    forwards request and response
    answer  responds with `answer`; the server never gets the request
    reset   resets the connection; the server never gets the request
    stall   never responds; the server never gets the request
    lost    forwards the request, then resets the connection in place of the response
    close   forwards both, then closes the connection although the response did not announce it
    short   forwards the first `byte` bytes of the response's body, then closes the connection
    break   forwards the first bytes, then resets the connection
    hang    forwards the first bytes, then sends nothing more
    """

    do: Do
    answer: Answer = field(default_factory=Answer)
    byte: int | None = None
    """where the body is cut off; None: in the middle"""
    delay: float = 0.0
    """seconds before the proxy does anything; a delayed `pass` is counted as `late`"""

    @property
    def name(self) -> str:
        if self.do == "answer":
            return str(self.answer.status)
        return "late" if self.do == "pass" and self.delay else self.do

    def cut(self, headers: Mapping[str, str]) -> int | None:
        """Bytes of the body that pass; None: all. A body without a length is cut at byte 0; an empty body passes."""
        if self.do not in ("short", "break", "hang"):
            return None
        length = int(headers.get("content-length", "1"))
        return None if length == 0 else min(length // 2 if self.byte is None else self.byte, length - 1)


PASS: Final = Fault("pass")
Rule = Callable[[Request], Fault]
"""Called in the proxy's loop before a request is forwarded. It may block, e.g. to change an object meanwhile."""


async def until_gone(reader: asyncio.StreamReader) -> None:
    """Returns when the peer closes its side."""
    while await reader.read(http1.PIECE):
        pass


async def until_delivered(writer: asyncio.StreamWriter) -> None:
    """Returns when the peer's kernel has every byte written so far: a reset drops bytes under way."""
    connection: socket.socket = writer.get_extra_info("socket")
    for _ in range(1000):
        unsent = writer.transport.get_write_buffer_size()
        if writer.is_closing() or (not unsent and _unacknowledged(connection) == 0):
            return
        await asyncio.sleep(0.01)


def _unacknowledged(connection: socket.socket) -> int:
    return int.from_bytes(fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4)), "little")


def reset(writer: asyncio.StreamWriter) -> None:
    """Closes the connection with RST."""
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()

"""An S3 server on loopback with scripted answers. cloud.py has a server that stores objects.

The server runs in its own thread, apart from the event loop under test.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import socketserver
import struct
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

PIECE = 64 * 1024
NO_LENGTH = -1
"""The `length` of an answer whose body ends with its connection."""
LATIN_1 = "r\udce9sum\udce9"
"""Text whose bytes on the wire are no UTF-8."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One request: `target` as sent, header names in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """One scripted answer: `sent` bytes of the body (None: all), then the action `then`."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    length: int | None = None
    sent: int | None = None
    then: Literal["keep", "close", "reset", "stall"] = "keep"


def error(status: int, code: str) -> Answer:
    """An S3 error document."""
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>m</Message></Error>'
    return Answer(status, {"Content-Type": "application/xml"}, text.encode())


def whole(body: bytes, etag: str = "e1", **headers: str) -> Answer:
    """A whole object."""
    return Answer(200, _object_headers(etag) | headers, body)


def rest(body: bytes, offset: int, etag: str = "e1") -> Answer:
    """The answer to a range request from `offset` on."""
    span = {"Content-Range": f"bytes {offset}-{len(body) - 1}/{len(body)}"}
    return Answer(206, _object_headers(etag) | span, body[offset:])


def _object_headers(etag: str) -> dict[str, str]:
    return {"ETag": f'"{etag}"', "Last-Modified": "Tue, 25 Nov 2025 10:00:00 GMT", "Content-Type": "image/jpeg"}


class ScriptedServer(socketserver.ThreadingTCPServer):
    """Answers request n with the script's answer n, and later requests with the last one."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        self.play()

    def play(self, *script: Answer) -> None:
        """Starts a new script and resets the counts."""
        with self._lock:
            self.seen: list[Seen] = []
            self.connections = 0
            self._open: list[socket.socket] = []
            self.body_bytes = 0
            self.dropped = threading.Event()
            self._ranges: bytes | None = None
            self._by_method: Mapping[str, Answer] = {}
            self._script = itertools.chain(script, itertools.repeat(script[-1])) if script else iter(())

    def answer_ranges(self, body: bytes) -> None:
        """Answers range requests from `body` instead of the script."""
        self._ranges = body

    def answer_by_method(self, **answers: Answer) -> None:
        """Answers these methods with these answers instead of the script."""
        self._by_method = answers

    def connected(self, connection: socket.socket) -> None:
        with self._lock:
            self.connections += 1
            self._open.append(connection)

    def close_connections(self) -> None:
        """Closes all connections, as servers do with idle ones."""
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            self._open.clear()

    def take(self, request: Seen) -> Answer:
        with self._lock:
            self.seen.append(request)
            if request.method in self._by_method:
                return self._by_method[request.method]
            if self._ranges is not None and (span := request.headers.get("range")):
                return rest(self._ranges, int(span.removeprefix("bytes=").partition("-")[0]))
            return next(self._script)

    @property
    def methods(self) -> list[str]:
        return [request.method for request in self.seen]

    def handle_error(self, request: object, client_address: object) -> None:
        """Stays silent: tests close connections on purpose."""


class _Handler(socketserver.StreamRequestHandler):
    server: ScriptedServer
    wbufsize = 0
    disable_nagle_algorithm = True

    def handle(self) -> None:
        self.server.connected(self.connection)
        while (request := self._read()) is not None:
            if not self._write(self.server.take(request), request.method):
                return

    def _read(self) -> Seen | None:
        line = self.rfile.readline().decode("latin-1").split()
        if len(line) != 3:
            return None
        headers = {}
        while (header := self.rfile.readline().decode("latin-1").strip()) != "":
            name, _, value = header.partition(":")
            headers[name.lower()] = value.strip()
        if headers.get("expect", "").lower() == "100-continue":
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = self.rfile.read(int(headers.get("content-length", "0")))
        return Seen(line[0], line[1], headers, body)

    def _write(self, answer: Answer, method: str) -> bool:
        """Sends `answer`. Returns True while the connection may be used again."""
        bare = answer.status == 204 or method == "HEAD"
        length = len(answer.body) if answer.length is None else answer.length
        lines = [f"HTTP/1.1 {answer.status} Scripted", *(f"{k}: {v}" for k, v in answer.headers.items())]
        lines += [] if answer.status == 204 or length == NO_LENGTH else [f"Content-Length: {length}"]
        self.wfile.write("\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape"))
        if not bare:
            self._send(answer.body[: answer.sent])
        if answer.then == "stall":
            self.server.stopping.wait(60)
        elif answer.then == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        return answer.then == "keep"

    def _send(self, body: bytes) -> None:
        view = memoryview(body)
        try:
            while view:
                count = self.connection.send(view[:PIECE])
                self.server.body_bytes += count
                view = view[count:]
        except OSError:
            self.server.dropped.set()
            raise


@contextlib.contextmanager
def scripted_server() -> Iterator[ScriptedServer]:
    """A running ScriptedServer without a script."""
    with ScriptedServer() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield server
        server.stopping.set()
        server.shutdown()

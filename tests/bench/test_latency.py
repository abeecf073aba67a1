"""The latency proxy: messages do not change, waits and rates are kept, misbehaving peers do no harm."""

from __future__ import annotations

import http.client
import random
import socket
import socketserver
import statistics
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from urllib.parse import urlsplit

import pytest

from bench.rig.network import MB, PRESETS, Distance, Pace, Wait
from bench.rig.proxy import Proxy, latency_proxy
from tests.support.servers import Answer, ScriptedServer, whole

BODY = random.Random(7).randbytes(1_000_000)
LOOPBACK = PRESETS["loopback"]


def connect(proxy: Proxy) -> http.client.HTTPConnection:
    parts = urlsplit(proxy.url)
    return http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=30)


def ask_once(proxy: Proxy, method: str) -> tuple[float, bytes]:
    with closing(connect(proxy)) as connection:
        return ask(connection, method)


def ask(connection: http.client.HTTPConnection, method: str, body: bytes | None = None) -> tuple[float, bytes]:
    """Seconds until the response's head, and its body."""
    connection.request(method, "/bucket/key", body)
    sent = time.perf_counter()
    answer = connection.getresponse()
    return time.perf_counter() - sent, answer.read()


# --- unchanged messages -------------------------------------------------------------------------------------------

HEAD = b" /b/red+flower%2F1.jpg?x=1&y HTTP/1.1\r\nHost: s3.test\r\nX-Amz-Odd: kept\r\n"
GET = b"GET" + HEAD + b"\r\n"
PUT = b"PUT" + HEAD + b"Content-Length: 5\r\n\r\nhello"
CHUNKED = b"PUT" + HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
EXPECTING = b"PUT" + HEAD + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello"
OK = b'HTTP/1.1 200 OK\r\nETag: "e"\r\nContent-Type: image/x\r\n'
WITH_LENGTH = OK + b"Content-Length: 3\r\n\r\nabc"
IN_CHUNKS = OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
GO_AHEAD = b"HTTP/1.1 100 Continue\r\n\r\n"
NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"
NOT_MODIFIED = b"HTTP/1.1 304 Not Modified\r\nContent-Type: image/x\r\n\r\n"
EXCHANGES = {
    "a length": (GET, GET, WITH_LENGTH, WITH_LENGTH),
    "a body": (PUT, PUT, WITH_LENGTH, WITH_LENGTH),
    "chunks both ways": (CHUNKED, CHUNKED, IN_CHUNKS, IN_CHUNKS),
    "no body after HEAD": (b"HEAD" + HEAD + b"\r\n", b"HEAD" + HEAD + b"\r\n", WITH_LENGTH[:-3], WITH_LENGTH[:-3]),
    "no content": (b"DELETE" + HEAD + b"\r\n", b"DELETE" + HEAD + b"Content-Length: 0\r\n\r\n", NO_CONTENT, NO_CONTENT),
    "not modified": (GET, GET, NOT_MODIFIED, NOT_MODIFIED),
    "a go-ahead": (EXPECTING, PUT, WITH_LENGTH, GO_AHEAD + WITH_LENGTH),
    "until it closes": (GET, GET, OK.replace(b"1.1", b"1.0") + b"\r\nabc", IN_CHUNKS),
}
"""request of the client, request to the server, response of the server, response to the client"""


class RawServer(socketserver.ThreadingTCPServer):
    """Answers each request of `length` bytes with `answer`. Closes after an HTTP/1.0 answer."""

    allow_reuse_address = True
    daemon_threads = True
    length = 0
    answer = b""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), RawHandler)
        self.seen: list[bytes] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class RawHandler(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, RawServer)
        request = b""
        while piece := self.request.recv(10_000):
            request += piece
            if len(request) < self.server.length:
                continue
            self.server.seen.append(request)
            request = b""
            self.request.sendall(self.server.answer)
            if self.server.answer.startswith(b"HTTP/1.0"):
                return


def received(client: socket.socket, like: bytes) -> bytes:
    """One message that ends with the same bytes."""
    data = b""
    while not (data.endswith(like[-4:]) and data.count(b"\r\n\r\n") == like.count(b"\r\n\r\n")):
        piece = client.recv(1000)
        assert piece, data
        data += piece
    return data


@pytest.fixture(scope="module")
def raw() -> Iterator[tuple[RawServer, Proxy]]:
    with RawServer() as server, latency_proxy(server.url, LOOPBACK) as proxy:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield server, proxy
        server.shutdown()


@pytest.mark.parametrize("name", EXCHANGES)
def test_messages_pass_unchanged_and_the_connection_is_kept(name: str, raw: tuple[RawServer, Proxy]) -> None:
    server, proxy = raw
    sent, request, server.answer, answer = EXCHANGES[name]
    server.length, server.seen = len(request), []
    with socket.create_connection(("127.0.0.1", urlsplit(proxy.url).port), 10) as client:
        for _ in range(3):
            client.sendall(sent)
            assert message(received(client, answer)) == message(answer)
    assert list(map(message, server.seen)) == [message(request)] * 3


def message(data: bytes) -> tuple[bytes, set[bytes], bytes]:
    """First line, headers in lower case without those that any server may add, and body."""
    head, _, body = data.removeprefix(GO_AHEAD).partition(b"\r\n\r\n")
    first, *headers = head.split(b"\r\n")
    return first, {each.lower() for each in headers if not each.startswith((b"Date:", b"Server:"))}, body


def test_large_bodies_pass_both_ways(scripted: ScriptedServer) -> None:
    scripted.answer_by_method(GET=whole(BODY), PUT=Answer())
    with latency_proxy(scripted.url, LOOPBACK) as proxy:
        connection = connect(proxy)
        began = time.monotonic()
        for _ in range(2):
            assert ask(connection, "PUT", BODY)[1] == b""
            assert ask(connection, "GET")[1] == BODY
        ended = time.monotonic()
        connection.close()
        counts = proxy.take_counts()
    first, second = counts.stored_at
    assert began < first < second < ended
    assert [request.body for request in scripted.seen if request.method == "PUT"] == [BODY, BODY]
    assert counts.bytes_up == counts.bytes_down == 2 * len(BODY)
    assert counts.requests == {"PUT": 2, "GET": 2}
    assert scripted.connections == 1


# --- waits and rates ----------------------------------------------------------------------------------------------


def test_the_first_byte_comes_no_earlier_than_asked(scripted: ScriptedServer) -> None:
    scripted.answer_by_method(GET=whole(b"x"), HEAD=whole(b""), PUT=Answer(), DELETE=Answer(204))
    with latency_proxy(scripted.url, Distance(Wait(40), Wait(120))) as proxy:
        connection = connect(proxy)
        took = {m: min(ask(connection, m)[0] for _ in range(3)) for m in ("GET", "HEAD", "PUT", "DELETE")}
        connection.close()
    assert min(took["GET"], took["HEAD"]) >= 0.039
    assert min(took["PUT"], took["DELETE"]) >= 0.119
    assert took["PUT"] > 1.5 * took["GET"]


def test_loopback_preset_adds_no_wait(scripted: ScriptedServer) -> None:
    """The fastest of ten requests takes less than 50 ms."""
    scripted.answer_by_method(GET=whole(b"x"))
    with latency_proxy(scripted.url, LOOPBACK) as proxy:
        connection = connect(proxy)
        assert min(ask(connection, "GET")[0] for _ in range(10)) < 0.05
        connection.close()


def test_waits_of_many_connections_overlap(scripted: ScriptedServer) -> None:
    scripted.answer_by_method(GET=whole(b"x"))
    with latency_proxy(scripted.url, Distance(get=Wait(1000))) as proxy, ThreadPoolExecutor(20) as pool:
        started = time.perf_counter()
        list(pool.map(lambda _: ask_once(proxy, "GET"), range(20)))
        assert time.perf_counter() - started < 10  # in sequence they would take 20 s


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_a_connection_is_no_faster_than_its_rate(method: str, scripted: ScriptedServer) -> None:
    scripted.answer_by_method(GET=whole(BODY), PUT=Answer())
    with latency_proxy(scripted.url, Distance(connection_rate=2 * MB)) as proxy:
        connection = connect(proxy)
        started = time.perf_counter()
        ask(connection, method, BODY if method == "PUT" else None)
        assert time.perf_counter() - started >= 0.4
        connection.close()


def test_all_connections_together_are_no_faster_than_the_total(scripted: ScriptedServer) -> None:
    scripted.answer_by_method(GET=whole(BODY))
    with latency_proxy(scripted.url, Distance(total_rate=5 * MB)) as proxy, ThreadPoolExecutor(4) as pool:
        started = time.perf_counter()
        assert all(body == BODY for _, body in pool.map(lambda _: ask_once(proxy, "GET"), range(4)))
        assert time.perf_counter() - started >= 0.7


def test_pace_keeps_its_average_and_saves_nothing_up() -> None:
    pace = Pace(1000)
    assert [round(pace.due(100, 5.0), 3) for _ in range(3)] == [5.096, 5.196, 5.296]
    assert pace.due(100, 9.0) == pytest.approx(9.096)
    assert Pace(None).due(10**9, 5.0) == 5.0


def test_tail_has_the_given_median_and_p99() -> None:
    chance = random.Random(1)
    draws = sorted(1000 * PRESETS["near-tail"].get.draw(chance) for _ in range(20_000))
    assert statistics.median(draws) == pytest.approx(20, rel=0.05)
    assert draws[19_800] == pytest.approx(120, rel=0.1)


def test_tail_shows_in_the_waits(scripted: ScriptedServer) -> None:
    scripted.answer_by_method(GET=whole(b"x"))
    with latency_proxy(scripted.url, Distance(get=Wait(5, 60)), seed=3) as proxy:
        connection = connect(proxy)
        took = sorted(ask(connection, "GET")[0] for _ in range(60))
        connection.close()
    assert took[-1] > 2 * took[30]


# --- peers that misbehave -----------------------------------------------------------------------------------------


def test_a_hundred_connections_are_served_and_kept(scripted: ScriptedServer) -> None:
    body = BODY[:50_000]
    scripted.answer_by_method(GET=whole(body), PUT=Answer())

    def client(proxy: Proxy) -> bool:
        connection = connect(proxy)
        alike = [ask(connection, "GET")[1] == body and ask(connection, "PUT", body)[1] == b"" for _ in range(3)]
        connection.close()
        return all(alike)

    with latency_proxy(scripted.url, Distance(Wait(20), Wait(30))) as proxy, ThreadPoolExecutor(100) as pool:
        assert all(pool.map(client, [proxy] * 100))
        counts = proxy.take_counts()
    assert counts.requests == {"GET": 300, "PUT": 300}
    assert scripted.connections <= 100


def test_taking_the_counts_resets_them(scripted: ScriptedServer) -> None:
    scripted.answer_by_method(GET=whole(b"x"))
    with latency_proxy(scripted.url, LOOPBACK) as proxy:
        connection = connect(proxy)
        ask(connection, "GET")
        assert proxy.take_counts().requests == {"GET": 1}
        ask(connection, "GET")
        ask(connection, "GET")
        assert proxy.take_counts().requests == {"GET": 2}
        connection.close()


def test_missing_server_closes_the_connection() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with latency_proxy(f"http://127.0.0.1:{unused.getsockname()[1]}", LOOPBACK) as proxy:
            for _ in range(2):
                with pytest.raises(http.client.RemoteDisconnected):
                    ask_once(proxy, "GET")


def test_truncated_response_stays_truncated(scripted: ScriptedServer) -> None:
    scripted.play(Answer(200, {}, BODY, sent=200_000, then="reset"), whole(b"x"))
    with latency_proxy(scripted.url, LOOPBACK) as proxy:
        with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
            ask_once(proxy, "GET")
        assert ask_once(proxy, "GET")[1] == b"x"


def test_connection_closed_by_the_server_is_reopened(scripted: ScriptedServer) -> None:
    scripted.answer_by_method(GET=whole(b"x"))
    with latency_proxy(scripted.url, LOOPBACK) as proxy:
        connection = connect(proxy)
        assert ask(connection, "GET")[1] == b"x"
        scripted.close_connections()
        time.sleep(0.1)
        assert ask(connection, "GET")[1] == b"x"
        connection.close()
    assert scripted.connections == 2


@contextmanager
def half_a_request(proxy: Proxy, sent: bytes) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", urlsplit(proxy.url).port), 10) as client:
        client.sendall(sent)
        yield client


def test_aborted_and_invalid_requests_disturb_no_other_client(scripted: ScriptedServer) -> None:
    scripted.answer_by_method(GET=whole(BODY), PUT=Answer())
    pieces = (
        PUT[:-2],
        PUT[:20],
        GET,
        CHUNKED[:-9],
        b"\x16\x03\x01nonsense\r\n\r\n",
        b"PUT /b HTTP/1.1\r\nContent-Length: x\r\n\r\n",
    )
    with latency_proxy(scripted.url, LOOPBACK) as proxy:
        for piece in pieces:
            with half_a_request(proxy, piece):
                pass
        assert ask_once(proxy, "GET")[1] == BODY


def test_a_proxy_ends_with_its_context(scripted: ScriptedServer) -> None:
    with latency_proxy(scripted.url, LOOPBACK) as proxy:
        port = urlsplit(proxy.url).port
        assert proxy.take_counts().requests == {}
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 1)


def test_presets_are_ordered_by_distance() -> None:
    near, published = PRESETS["near"], PRESETS["published"]
    assert Distance() == LOOPBACK
    assert 0 < near.get.median_ms < near.put.median_ms < published.get.median_ms
    assert replace(near, get=Wait(), put=Wait()) == replace(published, get=Wait(), put=Wait())

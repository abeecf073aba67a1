"""The fault proxy: requests pass unchanged, and each fault does what its name says."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.support.faults import PASS, SLOW_DOWN, Fault, FaultProxy, Request, at_random, fault_proxy, script
from tests.support.servers import Answer, ScriptedServer, error, whole

BODY = bytes(range(256)) * 1000
GONE = (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError)
"""Errors of a client whose connection was closed; they depend on how far the request had come."""


@pytest.fixture
def proxy(scripted: ScriptedServer) -> Iterator[FaultProxy]:
    scripted.play(whole(BODY))
    with fault_proxy(scripted.url) as started:
        yield started


@pytest.fixture
def client(proxy: FaultProxy) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection(urlsplit(proxy.url).netloc, timeout=10)
    yield connection
    connection.close()


def asked(client: http.client.HTTPConnection, method: str = "GET", target: str = "/b/k", body: bytes = b"") -> bytes:
    client.request(method, target, body or None)
    return client.getresponse().read()


def test_requests_pass_unchanged_over_one_connection_on_each_side(
    proxy: FaultProxy, client: http.client.HTTPConnection, scripted: ScriptedServer
) -> None:
    assert [asked(client), asked(client, "PUT", "/b/%2e%2e?x=%20", BODY)] == [BODY, BODY]
    assert [(seen.method, seen.target, seen.body) for seen in scripted.seen] == [
        ("GET", "/b/k", b""),
        ("PUT", "/b/%2e%2e?x=%20", BODY),
    ]
    assert scripted.seen[0].headers["host"] == urlsplit(proxy.url).netloc  # a signature is over the client's own
    assert (proxy.connections, scripted.connections) == (1, 1)
    assert (proxy.requests, proxy.faults) == ({("GET", "pass"): 1, ("PUT", "pass"): 1}, 0)


def test_responses_without_a_body_pass(client: http.client.HTTPConnection, scripted: ScriptedServer) -> None:
    scripted.play(Answer(204))
    assert asked(client, "DELETE") == asked(client, "HEAD") == b""


def test_an_answer_of_the_proxy_keeps_the_connection(
    proxy: FaultProxy, client: http.client.HTTPConnection, scripted: ScriptedServer
) -> None:
    proxy.rule = script(SLOW_DOWN, Fault("answer", error(403, "AccessDenied")))
    assert b"SlowDown" in asked(client)
    assert b"AccessDenied" in asked(client)
    assert asked(client) == BODY
    assert proxy.requests == {("GET", "503"): 1, ("GET", "403"): 1, ("GET", "pass"): 1}
    assert (proxy.connections, len(scripted.seen), proxy.of("GET"), proxy.faults) == (1, 1, 3, 2)


@pytest.mark.parametrize(("fault", "reached"), [("reset", 0), ("lost", 1)])
def test_a_reset_comes_before_or_after_the_server_acts(
    proxy: FaultProxy, client: http.client.HTTPConnection, scripted: ScriptedServer, fault: str, reached: int
) -> None:
    proxy.rule = script(Fault(fault))  # type: ignore[arg-type]
    with pytest.raises(ConnectionResetError):
        asked(client, "PUT", body=b"x")
    assert len(scripted.seen) == reached


@pytest.mark.parametrize("byte", [0, 1, 70_000, len(BODY) - 1, 10**9])
@pytest.mark.parametrize("fault", ["short", "break"])
def test_a_body_ends_at_the_given_byte_and_is_never_complete(
    proxy: FaultProxy, client: http.client.HTTPConnection, fault: str, byte: int
) -> None:
    proxy.rule = script(Fault(fault, byte=byte))  # type: ignore[arg-type]
    client.request("GET", "/b/k")
    response = client.getresponse()
    assert response.getheader("Content-Length") == str(len(BODY))
    got = bytearray()
    with pytest.raises(http.client.IncompleteRead if fault == "short" else ConnectionResetError):  # noqa: PT012
        while piece := response.read1(10_000):
            got += piece
        raise http.client.IncompleteRead(bytes(got))
    assert got == BODY[: min(byte, len(BODY) - 1)]


@pytest.mark.parametrize("fault", ["stall", "hang"])
def test_a_stall_lasts_until_the_client_gives_up_and_blocks_no_other(
    proxy: FaultProxy, client: http.client.HTTPConnection, fault: str
) -> None:
    proxy.rule = script(Fault(fault, byte=5))  # type: ignore[arg-type]
    client.timeout = 0.3
    client.request("GET", "/b/k")
    other = http.client.HTTPConnection(urlsplit(proxy.url).netloc, timeout=10)
    while not proxy.requests:
        time.sleep(0.01)
    assert asked(other) == BODY
    other.close()
    with pytest.raises(TimeoutError):
        client.getresponse().read()


def test_a_connection_closes_without_notice_after_its_answer(
    proxy: FaultProxy, client: http.client.HTTPConnection
) -> None:
    proxy.rule = script(Fault("close"))
    assert asked(client) == BODY
    with pytest.raises(GONE):
        asked(client)
    assert asked(client) == BODY


def test_a_connection_closed_by_the_server_is_reopened(
    client: http.client.HTTPConnection, scripted: ScriptedServer
) -> None:
    assert asked(client) == BODY
    scripted.close_connections()
    assert asked(client) == BODY


def test_an_unreachable_server_is_a_broken_connection() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        with fault_proxy(url) as proxy:
            client = http.client.HTTPConnection(urlsplit(proxy.url).netloc, timeout=10)
            with pytest.raises(GONE):
                asked(client)
            client.close()


def test_requests_are_delayed_concurrently_and_counted(proxy: FaultProxy) -> None:
    barrier = threading.Barrier(5, timeout=10)

    def rule(_: Request) -> Fault:
        return Fault("pass", delay=0.5)

    def ask() -> None:
        client = http.client.HTTPConnection(urlsplit(proxy.url).netloc, timeout=10)
        client.connect()
        barrier.wait()
        assert asked(client) == BODY
        client.close()

    proxy.rule = rule
    threads = [threading.Thread(target=ask) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 2 <= proxy.most_at_once <= 5


def test_random_faults_depend_on_seed_request_and_attempt_only() -> None:
    requests = [Request("GET", f"/b/{n}", {}, attempt) for n in range(500) for attempt in range(2)]
    forwards, backwards, other = at_random(7, 0.2), at_random(7, 0.2), at_random(8, 0.2)
    chosen = [forwards(request) for request in requests]
    assert chosen == [backwards(request) for request in reversed(requests)][::-1]
    assert chosen != [other(request) for request in requests]
    assert 150 <= sum(fault != PASS for fault in chosen) <= 250


def test_an_error_in_a_rule_is_raised_at_the_end(scripted: ScriptedServer) -> None:
    def broken(_: Request) -> Fault:
        raise ZeroDivisionError

    with pytest.raises(ExceptionGroup), fault_proxy(scripted.url, broken) as proxy:  # noqa: PT012
        client = http.client.HTTPConnection(urlsplit(proxy.url).netloc, timeout=10)
        with pytest.raises(GONE):
            asked(client)
        client.close()

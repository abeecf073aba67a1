"""`thumbnailer serve` as a process."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from bench.rig.processes import free_port
from handler.http import serve as serve_
from handler.http.messages import HttpRequest
from handler.http.service import Service, make_site
from tests.http.serving import COMMAND, KEY, SAMPLES, serve
from tests.support.cloud import Cloud
from tests.support.pictures import opened
from tests.support.pipelines import run, settings
from thumbnailer.app import build
from thumbnailer.machine import Machine
from thumbnailer.store.folder import FolderStore


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_folder_is_served_until_sigterm(processes: str) -> None:
    with serve(str(SAMPLES), "--processes", processes, OPEN="on") as serving:
        for _ in range(6):
            status, body = serving.get("rocket.jpg?w=100&fm=png")
            assert (status, opened(body).format, opened(body).size[0]) == (200, "PNG", 100)
        assert serving.get("healthz") == (200, b"ok\n")
        for _ in range(4):  # the sums of all processes, whichever answers
            assert b'thumbnailer_requests_total{status="200"} 6.0' in serving.get("metrics")[1]
        assert serving.get("readyz") == (200, b"ok\n")
        assert serving.get("%2e%2e/cli.py")[0] == 404


def test_no_answer_tells_versions() -> None:
    with serve(str(SAMPLES), "--page", OPEN="on") as serving:
        host, port = urlsplit(serving.url).netloc.split(":")
        for path in ("/rocket.jpg?w=9", "/nothing.jpg", "/healthz", "/metrics", "/", "no path"):
            with socket.create_connection((host, int(port)), timeout=30) as client:
                client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
                head = client.makefile("rb").read().partition(b"\r\n\r\n")[0]
            assert b"\r\nServer: thumbnailer\r\n" in head, path
            assert b"aiohttp" not in head, path


def test_a_server_is_ready_if_its_bucket_answers(cloud: Cloud) -> None:
    cloud.reset()
    with serve("s3://photos", **cloud.env) as there, serve("s3://no-such-bucket", **cloud.env) as missing:
        assert [serving.get("readyz")[0] for serving in (there, missing)] == [200, 503]
        assert missing.get("healthz")[0] == 200


def test_a_bucket_is_served(cloud: Cloud, samples: dict[str, bytes]) -> None:
    cloud.reset()
    cloud.put("a b/ü+%2F?.jpg", samples["rocket.jpg"])
    with serve("s3://photos", **cloud.env) as serving:
        status, body = serving.get("a%20b/%C3%BC%2B%252F%3F.jpg?name=128x128")
        assert (status, max(opened(body).size)) == (200, 128)


def test_a_signed_url_is_served() -> None:
    sign = [*COMMAND, "sign", "/rocket.jpg?w=77"]
    env = os.environ | {"THUMBNAILER_URL_KEYS": KEY}
    url = subprocess.run(sign, env=env, capture_output=True, text=True, check=True).stdout.strip()
    assert re.fullmatch(r"/rocket\.jpg\?w=77&expires=\d{8}T000000Z&signature=[0-9a-f]{64}", url)
    with serve(str(SAMPLES), URL_KEYS=KEY) as serving:
        assert opened(serving.get(url[1:])[1]).size[0] == 77
        assert serving.get(url[1:].replace("w=77", "w=78"))[0] == 403


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["serve"], "serve needs a folder, s3://bucket, or THUMBNAILER_SOURCES"),
        (["serve", "nowhere"], "nowhere is no folder"),
        (["sign", "/a.jpg"], "THUMBNAILER_URL_KEYS is not set"),
    ],
)
def test_a_mistake_ends_with_a_sentence(arguments: list[str], message: str, tmp_path: Path) -> None:
    done = subprocess.run([*COMMAND, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_busy_port_is_named() -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        command = [*COMMAND, "serve", str(SAMPLES), "--port", str(port)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"port {port}" in done.stderr


def test_sizes_that_nobody_announced_are_encoded_quickly() -> None:
    async def work() -> None:
        env = {"OPEN": "on", "SOURCES": "folder", "RENDITIONS": "64x64:jpeg"}
        app = build(settings(**env), Machine(1024, 1), {}, FolderStore(str(SAMPLES), "folder"))
        service = Service(app, make_site(app.settings))
        queries = ("w=64&h=64&fm=jpeg", "w=64&h=64&fm=jpeg&q=80")
        small, quick = [await service.answer(HttpRequest("GET", "/rocket.jpg", query)) for query in queries]
        assert opened(small.body).tobytes() == opened(quick.body).tobytes()
        assert len(small.body) < len(quick.body)  # a pass over the pixels for Huffman tables of their own
        await app.pipeline.aclose()

    run(work())


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n", b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"])
def test_a_slow_client_is_disconnected(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve_, "REQUEST_SECONDS", 0.2)
    monkeypatch.setattr(serve_, "ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(serve_, "IDLE_SECONDS", 600)

    async def work() -> None:
        app = build(settings(OPEN="on"), Machine(1024, 1), {}, FolderStore(str(SAMPLES), "folder"))
        async with serve_.listening(app, ("127.0.0.1", port := free_port(), False)):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(sent)
            with suppress(ConnectionResetError):
                while await asyncio.wait_for(reader.read(1000), 20):
                    pass
            writer.close()
        await app.pipeline.aclose()

    run(work())

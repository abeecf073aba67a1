"""The demo as a child process: exit codes, left-over files, and access to its page."""

from __future__ import annotations

import http.client
import socket
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

from handler.demo.cloud import moto_cloud
from handler.demo.gallery import MOST_UPLOAD_BYTES
from handler.demo.run import SAMPLES, sample_keys
from tests.demo.running import COMMAND, ROOT, START_SECONDS, Demo, environment, running_demo


@pytest.fixture(scope="module")
def tmp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def demo(tmp: Path) -> Iterator[Demo]:
    with running_demo(tmp) as running:
        yield running


@pytest.fixture(scope="module")
def cloud() -> Iterator[Demo]:
    with moto_cloud() as running:
        assert ask(Demo(running.endpoint_url), "PUT", "/photos", {})[0] == 200
        yield Demo(running.endpoint_url)


def ask(
    demo: Demo, method: str, path: str, headers: Mapping[str, str], body: bytes = b""
) -> tuple[int, Mapping[str, str], bytes]:
    """Status, headers and body. The request has exactly these headers."""
    connection = http.client.HTTPConnection(str(urlsplit(demo.url).netloc), timeout=30)
    try:
        connection.request(method, path, body, dict(headers))
        response = connection.getresponse()
        return response.status, dict(response.headers), response.read()
    finally:
        connection.close()


def own(demo: Demo) -> dict[str, str]:
    """The headers of a request from the gallery's own page."""
    return {"Origin": demo.url.rstrip("/")}


def run_once(tmp: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, "--once"],
        cwd=ROOT,
        env=environment(tmp) | variables,
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )


class TestOnce:
    def test_stores_every_sample_and_leaves_nothing_behind(self, tmp_path: Path) -> None:
        """Exit code 0, a row for each sample, no log line, and an empty temporary directory.

        The demo ignores the user's profiles, endpoints and destinations, and never contacts the user's AWS.
        """
        elsewhere = {
            "AWS_PROFILE": "mine",
            "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9",
            "THUMBNAILER_DESTINATION": "mine",
        }
        ended = run_once(tmp_path, **elsewhere)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        rows = [line.split() for line in ended.stdout.splitlines()]
        assert [row[:2] for row in rows if row[:1] and row[0] in sample_keys()] == [
            [k, "stored"] for k in sample_keys()
        ]
        assert "request_id" not in ended.stdout
        assert ended.stderr == ""
        assert list(tmp_path.iterdir()) == []

    def test_sample_that_is_not_stored_gives_exit_code_1(self, tmp_path: Path) -> None:
        """The demo applies the user's limits."""
        ended = run_once(tmp_path, THUMBNAILER_MAX_PIXELS="500000")
        assert ended.returncode == 1
        assert "too-many-pixels" in ended.stdout


class TestServing:
    def test_ctrl_c_ends_it_cleanly_while_a_page_listens(self, tmp_path: Path) -> None:
        """Exit code 0, no traceback, no left-over file; an open event stream does not delay the end."""
        with running_demo(tmp_path) as demo, socket.create_connection(_address(demo)) as listener:
            assert ask(demo, "GET", "/", {})[0] == 200
            listener.sendall(f"GET /events HTTP/1.1\r\nHost: {urlsplit(demo.url).netloc}\r\n\r\n".encode())
            assert b"200 OK" in listener.recv(4096)
        assert demo.code == 0
        assert "Traceback" not in "".join(demo.output)
        assert list(tmp_path.iterdir()) == []

    def test_taken_port_is_reported(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            ended = subprocess.run(
                [*COMMAND, "--port", port],
                cwd=ROOT,
                env=environment(tmp_path),
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
        assert ended.returncode == 1
        assert f"Port {port} cannot be used" in ended.stdout
        assert "Traceback" not in ended.stderr


def _address(demo: Demo) -> tuple[str, int]:
    parts = urlsplit(demo.url)
    return str(parts.hostname), int(parts.port or 0)


class TestWhoMayAsk:
    @pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", ""])
    @pytest.mark.parametrize("method", ["PUT", "POST"])
    def test_upload_from_another_site_is_refused(self, demo: Demo, method: str, origin: str) -> None:
        status, _, _ = ask(demo, method, "/upload?name=evil.jpg", {"Origin": origin} if origin else {}, b"x")
        assert status == 403
        assert ask(demo, "GET", "/object/photos/evil.jpg", {})[0] == 404

    def test_another_host_name_is_refused(self, demo: Demo) -> None:
        """DNS rebinding: the browser sends evil.example as Host."""
        assert ask(demo, "GET", "/", {"Host": "evil.example"})[0] == 403
        assert ask(demo, "PUT", "/upload?name=a", {"Host": "evil.example", "Origin": "http://evil.example"})[0] == 403

    def test_upload_beyond_the_limit_is_refused(self, demo: Demo) -> None:
        headers = own(demo) | {"Content-Length": str(MOST_UPLOAD_BYTES + 1)}
        assert ask(demo, "PUT", "/upload?name=large.jpg", headers)[0] == 413

    def test_upload_without_a_length_is_measured(self, demo: Demo) -> None:
        connection = http.client.HTTPConnection(str(urlsplit(demo.url).netloc), timeout=30)
        pieces = (bytes(1 << 20) for _ in range((MOST_UPLOAD_BYTES >> 20) + 1))
        connection.request("PUT", "/upload?name=endless.jpg", pieces, own(demo), encode_chunked=True)
        assert connection.getresponse().status == 413
        connection.close()
        assert ask(demo, "GET", "/object/photos/endless.jpg", {})[0] == 404
        assert "Traceback" not in "".join(demo.output)

    def test_aborted_upload_is_not_stored(self, demo: Demo) -> None:
        with socket.create_connection(_address(demo)) as sender:
            head = f"Host: {urlsplit(demo.url).netloc}\r\nOrigin: {own(demo)['Origin']}\r\nContent-Length: 9999\r\n"
            sender.sendall(f"PUT /upload?name=cut.jpg HTTP/1.1\r\n{head}\r\nabc".encode())
        assert ask(demo, "GET", "/object/photos/cut.jpg", {})[0] == 404
        assert "Traceback" not in "".join(demo.output)

    @pytest.mark.parametrize("name", ["", "x" * 1025, "a%0D%0Ab.jpg", "a%0Ab.jpg", "%00", "%0D%0AX-Evil:1"])
    def test_invalid_key_is_refused(self, demo: Demo, name: str) -> None:
        assert ask(demo, "PUT", f"/upload?name={name}", own(demo), b"x")[0] == 400


class TestWhoMayAskTheCloud:
    """The S3 and SQS behind the gallery listen on loopback too, where any page in the browser can reach them."""

    def test_a_client_is_answered(self, cloud: Demo) -> None:
        for host in ("127.0.0.1", "localhost"):
            assert ask(cloud, "PUT", f"/photos/{host}", {"Host": f"{host}:{urlsplit(cloud.url).port}"}, b"x")[0] == 200

    @pytest.mark.parametrize(
        "headers",
        [
            {"Host": "evil.example"},
            {"Host": "photos.s3.amazonaws.com"},
            {"Host": ""},
            {"Origin": "http://evil.example"},
            {"Origin": "null"},
            {"Sec-Fetch-Site": "cross-site"},
        ],
        ids=str,
    )
    @pytest.mark.parametrize("method", ["GET", "PUT", "POST", "DELETE", "OPTIONS", "HEAD"])
    def test_a_page_in_the_browser_is_refused(self, cloud: Demo, method: str, headers: dict[str, str]) -> None:
        status, answered, _ = ask(cloud, method, "/photos/x", headers, b"x" if method == "PUT" else b"")
        assert (status, "Access-Control-Allow-Origin" in answered) == (403, False)

    @pytest.mark.parametrize(
        "path", ["/moto-api/", "/moto-api/reset", "/%6doto-api/reset", "/moto-api/recorder/start-recording"]
    )
    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_the_routes_of_the_emulator_are_refused(self, cloud: Demo, method: str, path: str) -> None:
        assert ask(cloud, method, path, {})[0] == 403


class TestObjects:
    def test_only_the_demos_buckets_are_served(self, demo: Demo) -> None:
        assert ask(demo, "GET", "/object/other/rocket.jpg", {})[0] == 404

    def test_original_is_served_sandboxed(self, demo: Demo) -> None:
        status, headers, body = ask(demo, "GET", "/object/photos/rocket.jpg", {})
        assert (status, headers["Content-Type"]) == (200, "image/jpeg")
        assert headers["Content-Security-Policy"].startswith("sandbox")
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert body == (SAMPLES / "rocket.jpg").read_bytes()

    def test_non_picture_is_never_served_as_a_page(self, demo: Demo) -> None:
        headers = own(demo) | {"Content-Type": "text/html"}
        assert ask(demo, "PUT", "/upload?name=page.html", headers, b"<script>alert(1)</script>")[0] == 201
        _, answered, _ = ask(demo, "GET", "/object/photos/page.html", {})
        assert answered["Content-Type"] == "application/octet-stream"
        assert answered["Content-Disposition"] == "attachment"

    @pytest.mark.parametrize(
        "key", ["a/b c.png", "a%2Fb+.png", "../up.png", "a//b.png", "\u00fc?#&\"'<b>.png", "%.png"]
    )
    def test_any_key_goes_in_and_out(self, demo: Demo, key: str) -> None:
        assert ask(demo, "PUT", f"/upload?name={quote(key, safe='')}", own(demo), key.encode())[0] == 201
        assert ask(demo, "GET", f"/object/photos/{quote(key, safe='')}", {})[2] == key.encode()


class TestPage:
    def test_page_runs_only_its_own_script(self, demo: Demo) -> None:
        _, headers, page = ask(demo, "GET", "/", {})
        assert "script-src 'self';" in headers["Content-Security-Policy"]
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert b"//" not in page.replace(b"<!doctype", b"")  # no foreign address

    def test_page_files_are_served(self, demo: Demo) -> None:
        for name, kind in (("page.js", "text/javascript"), ("page.css", "text/css")):
            status, headers, _ = ask(demo, "GET", f"/_page/{name}", {})
            assert (status, headers["Content-Type"].partition(";")[0]) == (200, kind)
        assert ask(demo, "GET", "/_page/page.py", {})[0] == 404

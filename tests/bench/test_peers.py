"""The peers run under the emulator, make correct thumbnails, and answer errors as errors."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from urllib.error import HTTPError

import pytest
from PIL import Image

from bench.cells.outputs import check_thumbnail
from bench.cells.pictures import SAMPLES
from bench.peers import HERE, PEERS, node_packages
from bench.rig.emulator import Function, find_binary
from bench.rig.processes import NotInstalled
from bench.rig.s3 import S3Server, s3_server
from tests.support.cloud import s3_event, s3_record
from tests.support.emulator import Emulator, running

WRITING = [name for name in PEERS if name != "floor"]
PYTHON = [name for name in PEERS if name != "sharp"]
KEYS = {"rocket.jpg": "rocket.jpg", "odd + name ü.jpg": "coffee-rotated-by-exif.jpg"}
"""Keys, and the samples that lie there."""
MISSING = {
    "textbook": "ClientError",  # of its HEAD, which has no body to say more
    "sharp": "NoSuchKey",
    "tutorial": "NoSuchKey",
    "floor": "FileNotFoundError",
}


# --- under the emulator -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    folder = tmp_path_factory.mktemp("s3")
    (folder / "photos").mkdir()
    for key, sample in KEYS.items():
        shutil.copy(SAMPLES / sample, folder / "photos" / key)
    with s3_server("photos", "photos-resized", folder=folder) as started:
        yield started


@pytest.fixture
def emulated(tmp_path: Path) -> Iterator[Callable[[Function], Emulator]]:
    """Starts a function; its log is shown where a test fails."""
    try:
        find_binary()
    except NotInstalled as error:
        pytest.skip(str(error))
    with ExitStack() as stack:

        def begin(function: Function) -> Emulator:
            log = tmp_path / "log"
            stack.callback(lambda: print(log.read_text()))
            return stack.enter_context(running(function, log))

        yield begin


@pytest.fixture
def start(emulated: Callable[[Function], Emulator], server: S3Server, tmp_path: Path) -> Callable[[str], Emulator]:
    def begin(name: str) -> Emulator:
        if why := unavailable(name):
            pytest.skip(f"{name}: {why}")
        env = server.environment() | {"TMPDIR": str(scratch(tmp_path))}
        function = PEERS[name].start(512)
        pictures = {"BENCH_PICTURES": str(server.folder / "photos")}
        return emulated(replace(function, env={**function.env, **pictures, **env}))

    return begin


def unavailable(name: str) -> str:
    """The reason why the peer cannot run here, or ""."""
    try:
        PEERS[name].start(512)
    except NotInstalled as error:
        return str(error)
    return ""


def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir(exist_ok=True)
    return folder


def event(*keys: str) -> object:
    return s3_event(*(s3_record(key, 1, "e") for key in keys))


@pytest.mark.parametrize("name", WRITING)
def test_cold_and_warm_calls_make_thumbnails_and_leave_no_files(
    start: Callable[[str], Emulator], server: S3Server, tmp_path: Path, name: str
) -> None:
    function = start(name)
    for _ in range(2):
        since = time.time()
        assert function.invoke(event(*KEYS)).value == {"statusCode": 200}
        for key in KEYS:
            check_thumbnail(server.folder / "photos-resized" / key, server.folder / "photos" / key, since)
    assert function.starts == 1
    assert not list(scratch(tmp_path).iterdir())


def test_the_floor_decodes_every_picture(start: Callable[[str], Emulator]) -> None:
    function = start("floor")
    assert function.invoke(event(*KEYS)).value == {"statusCode": 200, "decoded": 2}
    assert function.invoke(event("rocket.jpg")).value == {"statusCode": 200, "decoded": 1}


@pytest.mark.parametrize("name", PEERS)
def test_a_missing_object_is_an_error_and_the_next_call_works(start: Callable[[str], Emulator], name: str) -> None:
    function = start(name)
    assert function.invoke(event("none.jpg")).error == MISSING[name]
    assert function.invoke(event("rocket.jpg")).value["statusCode"] == 200
    assert function.starts == 1


@pytest.mark.parametrize("name", PYTHON)
def test_a_handler_imports_nothing_of_the_bench(name: str) -> None:
    ours = "print({module.partition('.')[0] for module in sys.modules} & {'bench', 'thumbnailer', 'handler'})"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys, {name}; {ours}"],
        cwd=HERE,
        env={"AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "set()\n"


# --- the floor ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "decoded"),
    [
        ((640, 427), (160, 107)),  # two eighths
        ((1024, 1024), (128, 128)),  # one eighth, which is the thumbnail
        ((1023, 682), (128, 86)),  # one eighth, rounded up
        ((4000, 3000), (500, 375)),  # there is no less than one eighth
        ((300, 1000), (75, 250)),
        ((100, 50), (100, 50)),  # less than a thumbnail: as it is
    ],
)
def test_the_floor_decodes_at_the_smallest_sufficient_scale(source: tuple[int, int], decoded: tuple[int, int]) -> None:
    pytest.importorskip("simplejpeg")
    from bench.peers import floor

    out = BytesIO()
    Image.new("RGB", source).save(out, "JPEG")
    assert floor.decoded(out.getvalue()).shape == (decoded[1], decoded[0], 3)


# --- the client of the runtime API for Node.js --------------------------------------------------------------------


@pytest.fixture
def on_node(emulated: Callable[[Function], Emulator], tmp_path: Path) -> Callable[[str], Emulator]:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")

    def begin(handler: str) -> Emulator:
        root = tmp_path / "function"
        root.mkdir()
        shutil.copy(HERE / "sharp" / "runtime.mjs", root)
        (root / "index.mjs").write_text(handler)
        return emulated(Function(command=(node, "runtime.mjs"), root=root))

    return begin


def test_the_client_hands_over_events_answers_and_errors(on_node: Callable[[str], Emulator]) -> None:
    function = on_node("""
        export async function handler(event, context) {
            if (event.wrong) throw new TypeError(event.wrong);
            if (event.silent) return;
            return { event, id: context.awsRequestId.length, timely: context.getRemainingTimeInMillis() > 0 };
        }
    """)
    assert function.invoke({"key": "ü"}).value == {"event": {"key": "ü"}, "id": 36, "timely": True}
    answer = function.invoke({"wrong": "no such thing"})
    assert (answer.error, answer.value["errorMessage"]) == ("TypeError", "no such thing")
    assert function.invoke({"silent": True}).value is None
    assert function.starts == 1


def test_a_handler_that_cannot_be_imported_is_an_error(on_node: Callable[[str], Emulator]) -> None:
    function = on_node("throw new RangeError('broken');")
    with pytest.raises(HTTPError) as refused:  # as the emulator answers for AWS's own clients too
        function.invoke({})
    with refused.value as answer:
        said = json.load(answer)
    assert (said["errorType"], said["errorMessage"]) == ("RangeError", "broken")


# --- what must be installed ---------------------------------------------------------------------------------------


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Stand-ins for node and npm, as shell scripts; there are no others, and the cache is empty."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def put(**scripts: str) -> None:
        for name, script in scripts.items():
            (folder / name).write_text(f"#!/bin/sh\n{script}\n")
            (folder / name).chmod(0o755)

    return put


def test_the_peers_are_in_order_and_the_floor_reads_jpeg_only() -> None:
    assert list(PEERS) == ["textbook", "sharp", "tutorial", "floor"]
    assert {name: peer.reads for name, peer in PEERS.items() if peer.reads} == {"floor": {".jpg", ".jpeg"}}


def test_a_missing_program_is_named(programs: Callable[..., None]) -> None:
    assert unavailable("sharp") == "node is not installed"
    programs(node="exit 0")
    assert unavailable("sharp") == "npm is not installed"


@pytest.mark.parametrize("failing", ["npm", "node"])
def test_a_failing_install_is_quoted_and_leaves_nothing(
    programs: Callable[..., None], tmp_path: Path, failing: str
) -> None:
    programs(**{"npm": "exit 0", "node": "exit 0", failing: "echo no network >&2; exit 7"})
    assert unavailable("sharp") == f"{failing} fails with exit code 7: no network"
    assert not list((tmp_path / "cache" / "thumbnailer-bench").iterdir())


def test_a_slow_install_is_reported(programs: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.peers.SECONDS", 0.2)
    programs(node="exit 0", npm="exec /bin/sleep 60")
    assert unavailable("sharp").startswith("npm does not end within")


def test_packages_are_installed_once_for_the_same_files(programs: Callable[..., None], tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    programs(node="exit 0", npm=f'echo "$*" >> {calls}; echo package > installed')
    sources, cache = tmp_path / "sources", tmp_path / "own"
    sources.mkdir()
    (sources / "index.mjs").write_text("one")
    first = node_packages(sources, cache)
    assert node_packages(sources, cache) == first
    assert calls.read_text() == "ci --omit=dev --ignore-scripts --no-audit --no-fund\n"
    assert sorted(path.name for path in first.iterdir()) == ["index.mjs", "installed"]
    (sources / "index.mjs").write_text("two")
    second = node_packages(sources, cache)
    assert [(folder / "index.mjs").read_text() for folder in (first, second)] == ["one", "two"]
    assert set(cache.iterdir()) == {first, second}


def test_two_processes_may_install_at_once(programs: Callable[..., None], tmp_path: Path) -> None:
    theirs = 'there="../../${PWD##*/}"; /bin/mkdir "$there"; echo first > "$there/theirs"'
    programs(node="exit 0", npm=theirs)
    installed = node_packages(HERE / "sharp", tmp_path / "own")
    assert (installed / "theirs").read_text() == "first\n"
    assert list((tmp_path / "own").iterdir()) == [installed]


def test_node_gets_the_heap_options_of_lambda(programs: Callable[..., None], tmp_path: Path) -> None:
    programs(node="exit 0", npm="exit 0")
    function = PEERS["sharp"].start(1000)
    assert list(function.command[1:]) == ["--max-semi-space-size=50", "--max-old-space-size=900", "runtime.mjs"]

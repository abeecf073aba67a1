"""Modules that a cold start imports, and the command that measures them. Tests count modules, never times."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import features

from tests.tools.imports import Measured, measure, one_picture, parse, part_of, parts

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "handler" / "demo" / "samples"
NEVER = {
    *("boto3", "botocore", "aioboto3", "aiobotocore", "aiohttp", "yarl", "multidict", "s3transfer", "jmespath"),
    *("numpy", "prometheus_client", "rich", "typer", "click", "jinja2", "moto", "werkzeug", "thumbhash", "pylibjxl"),
    *("unittest", "pydoc", "doctest", "multiprocessing", "sqlite3", "xml", "xmlrpc", "curses", "tkinter", "yaml"),
}
"""Packages that no picture needs."""
PILLOWS_OWN = {"BmpImagePlugin", "GifImagePlugin", "JpegImagePlugin", "PngImagePlugin", "PpmImagePlugin"}
EXIF = {"TiffImagePlugin"}  # it contains the EXIF reader
LIBVIPS = {"pyvips", "_libvips", "_cffi_backend"}


@pytest.fixture(scope="module", params=["rocket.jpg", "chelsea.png", "china.webp", "flower.avif", "retina.heic"])
def measured(request: pytest.FixtureRequest) -> Iterator[tuple[str, Measured]]:
    """A process that has handled one event for this picture."""
    with one_picture(SAMPLES / request.param) as endpoint:
        yield request.param, measure(SAMPLES / request.param, endpoint)


LIBVIPS_FIRST = {"chelsea.png"} | (set() if features.check("avif") else {"flower.avif"})
"""Pillow-SIMD has no AVIF."""


def packages(modules: frozenset[str]) -> set[str]:
    return {module.partition(".")[0] for module in modules}


def plugins(modules: frozenset[str]) -> set[str]:
    return {module.removeprefix("PIL.") for module in modules if module.endswith("Plugin")}


def test_first_event_imports_only_what_its_picture_needs(measured: tuple[str, Measured]) -> None:
    name, run = measured
    loaded = packages(run.modules)
    assert not loaded & NEVER
    by_libvips = name in LIBVIPS_FIRST
    assert (loaded & LIBVIPS == LIBVIPS) == by_libvips
    assert ("PIL.Image" in run.modules) != by_libvips
    assert ("pillow_heif" in loaded) == (name == "retina.heic")
    own = (
        set()
        if by_libvips
        else {"china.webp": {"WebPImagePlugin"}, "flower.avif": {"AvifImagePlugin"}}.get(name, set())
    )
    assert own <= plugins(run.modules) <= PILLOWS_OWN | EXIF | own


def test_the_handler_itself_imports_no_engine_and_no_store(measured: tuple[str, Measured]) -> None:
    _, run = measured
    before, door, event = map(set, run.stages)
    assert "handler.aws_lambda" in door
    assert not {"PIL", "pyvips", "obstore", "pillow_heif"} & packages(frozenset(before | door))
    assert "obstore" in packages(frozenset(event))


LOG = """\
import time: self [us] | cumulative | imported package
import time:       100 |        100 |   zlib
import time:        20 |         20 |       PIL._version
import time:        30 |         50 |     PIL
import time:       400 |        450 |   PIL.Image
import time:      1000 |       1550 | handler.aws_lambda
something else
import time:         7 |          7 | PIL.ImageCms
"""


def test_parts_sum_the_times_of_their_modules() -> None:
    assert parse(LOG) == {
        "zlib": 0.1,
        "PIL._version": 0.02,
        "PIL": 0.03,
        "PIL.Image": 0.4,
        "handler.aws_lambda": 1.0,
        "PIL.ImageCms": 0.007,
    }
    found = parts([parse(LOG.replace("400", text)) for text in ("400", "9000", "500")])
    assert [(name, modules, round(ms, 3)) for name, modules, ms in found] == [
        ("handler.aws_lambda", 1, 1.0),
        ("PIL", 4, 0.557),
        ("zlib", 1, 0.1),
    ]
    assert (part_of("thumbnailer.formats.jpeg"), part_of("asyncio.locks")) == ("thumbnailer.formats", "asyncio")


def test_the_command_prints_a_table_for_each_stage() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.tools", "imports", "--runs", "1", "--rows", "3"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=100,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    for expected in ("interpreter and runtime client", "the handler", "the first event", "smaller ones", "rocket.jpg"):
        assert expected in done.stdout

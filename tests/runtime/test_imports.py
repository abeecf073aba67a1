"""Modules that a cold start imports, and the command that measures them. Tests count modules, never times."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import features

from tests.tools.imports import OURS, Measured, measure, one_picture, parse, part_of, parts
from thumbnailer.formats import FORMATS

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "handler" / "demo" / "samples"
NEVER = {
    *("boto3", "botocore", "aioboto3", "aiobotocore", "aiohttp", "yarl", "multidict", "s3transfer", "jmespath"),
    *("numpy", "prometheus_client", "rich", "typer", "click", "jinja2", "moto", "werkzeug", "thumbhash", "pylibjxl"),
    *("unittest", "pydoc", "doctest", "multiprocessing", "sqlite3", "xml", "xmlrpc", "curses", "tkinter", "yaml"),
}
"""Packages that no picture needs."""
LIBVIPS = {"pyvips", "_libvips", "_cffi_backend"}
READERS = set(FORMATS) - {"jpeg"} | {"av1", "boxes", "foreign", "heif_items"}
"""Modules of `formats` that a JPEG does not need."""
HEIF = {"png", "gif", "webp", "tiff", "heif", "heif_items", "boxes", "av1"}
FIRST: dict[str, tuple[set[str], set[str]]] = {
    "rocket.jpg": (set(), set()),
    "chelsea.png": ({*LIBVIPS, "thumbnailer"}, {"png"}),
    "china.webp": ({"PIL", "thumbnailer"}, {"png", "gif", "webp"}),
    "flower.avif": ({*({"PIL"} if features.check("avif") else ()), *LIBVIPS, "thumbnailer"}, HEIF),
    "retina.heic": ({"thumbnailer", "pillow_heif", "_pillow_heif"}, HEIF),
}
"""Packages that the first picture of a format imports after the init, and the readers among them."""


@pytest.fixture(scope="module", params=FIRST)
def measured(request: pytest.FixtureRequest) -> Iterator[tuple[str, Measured]]:
    """A process that has handled one event for this picture."""
    with one_picture(SAMPLES / request.param) as endpoint:
        yield request.param, measure(SAMPLES / request.param, endpoint)


def packages(modules: frozenset[str]) -> set[str]:
    return {module.partition(".")[0] for module in modules}


def readers(modules: frozenset[str]) -> set[str]:
    return READERS & {module.removeprefix("thumbnailer.formats.") for module in modules}


def test_the_init_imports_what_the_first_jpeg_needs(measured: tuple[str, Measured]) -> None:
    _, run = measured
    assert {"PIL.JpegImagePlugin", "PIL.ImageCms", "obstore", "uvloop", "handler.aws_lambda"} <= run.after_init
    assert not packages(run.after_init) & {*NEVER, *LIBVIPS, "pillow_heif"}
    assert not readers(run.after_init)
    assert sum(module.partition(".")[0] in OURS for module in run.after_init) <= 62


def test_the_first_picture_of_a_format_imports_only_what_it_needs(measured: tuple[str, Measured]) -> None:
    name, run = measured
    added = run.after_event - run.after_init
    assert not packages(run.after_event) & NEVER
    assert (packages(added), readers(added)) == FIRST[name]


def test_outside_lambda_the_handler_imports_no_engine_and_no_store() -> None:
    code = "import sys, handler.aws_lambda; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, env={})
    loaded = frozenset(done.stdout.split())
    assert "thumbnailer.pipeline" in loaded
    assert not packages(loaded) & {"PIL", "obstore", "pillow_heif", *LIBVIPS, *NEVER}


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
    for expected in ("interpreter and runtime client", "the init", "the first event", "smaller ones", "rocket.jpg"):
        assert expected in done.stdout

"""The decoders that uploaded bytes can reach, and their versions."""

from __future__ import annotations

import ast
import json
import struct
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, features

from tests.bombs import deflated_zeros, tiff, webp
from tests.support.pictures import gradient, saved
from tests.support.processing import planned, process
from thumbnailer.engine import installed_engines, load_engine, versions
from thumbnailer.engine.pillow_formats import LOADERS as PILLOW_LOADERS
from thumbnailer.errors import Corrupt, UnsupportedFormat
from thumbnailer.model import EngineName, Format, Status
from thumbnailer.planning.plan import Plan

ROOT = Path(__file__).parents[1]

LOADERS = """
import json
import pyvips
from thumbnailer.engine import load_engine
from thumbnailer.engine.vips_formats import LOADERS
from thumbnailer.planning.capabilities import INPUTS
from thumbnailer.model import EngineName

load_engine(EngineName.VIPS)
BLOCKED = 32  # VIPS_OPERATION_BLOCKED of operation.h


def below(kind):
    found = [kind]
    pyvips.type_map(kind, lambda child, *_: found.extend(below(child)) or pyvips.ffi.NULL)
    return found


def concrete(name):
    names = {}
    for kind in below(pyvips.type_from_name(name)):
        nickname = pyvips.vips_lib.vips_nickname_find(kind)
        operation = pyvips.ffi.string(nickname).decode() if nickname != pyvips.ffi.NULL else ""
        try:
            names[pyvips.type_name(kind)] = pyvips.Operation.new_from_name(operation)
        except pyvips.Error:
            pass  # abstract
    return names


def is_open(operation):
    return not pyvips.vips_lib.vips_operation_get_flags(operation.pointer) & BLOCKED


every = concrete("VipsForeignLoad")
open_ = [name for name, operation in every.items() if is_open(operation)]
wanted = [name for format_, loader in LOADERS.items() if not INPUTS[format_].opt_in for name in concrete(loader.kind)]
print(json.dumps({"every": sorted(every), "open": sorted(open_), "wanted": sorted(wanted)}))
"""


@pytest.fixture(scope="module")
def loaders() -> dict[str, list[str]]:
    """The loaders of libvips in a fresh process: all, the unblocked, and those that should be unblocked."""
    ended = subprocess.run([sys.executable, "-c", LOADERS], cwd=ROOT, capture_output=True, text=True, check=True)
    found: dict[str, list[str]] = json.loads(ended.stdout)
    return found


@pytest.mark.matrix(14)
def test_libvips_unblocks_exactly_the_loaders_in_use(loaders: dict[str, list[str]]) -> None:
    assert {"VipsForeignLoadJpegFile", "VipsForeignLoadSvgFile", "VipsForeignLoadRaw"} <= set(loaders["every"])
    assert loaders["open"] == loaders["wanted"]
    assert not [
        name
        for name in loaders["open"]
        if any(word in name for word in ("Svg", "Pdf", "Magick", "Csv", "Matrix", "Raw"))
    ]


def calls_of_open() -> list[tuple[str, ast.Call]]:
    found = []
    for path in [*ROOT.glob("thumbnailer/**/*.py"), *ROOT.glob("handler/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("Image.open", "PIL.Image.open"):
                found.append((f"{path.name}:{node.lineno}", node))
    return found


@pytest.mark.matrix(14)
def test_every_call_of_image_open_names_the_formats() -> None:
    assert calls_of_open()
    assert not [where for where, call in calls_of_open() if "formats" not in {word.arg for word in call.keywords}]
    assert {loader.name for loader in PILLOW_LOADERS.values()} == {
        "JPEG",
        "PNG",
        "GIF",
        "WEBP",
        "AVIF",
        "HEIF",
        "TIFF",
        "BMP",
        "ICO",
        "JXL",
    }


SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="100" height="100"><rect width="50" height="50"/></svg>'
PSD = b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 100, 100, 8, 3) + bytes(12) + b"\0\0" + bytes(30_000)
FITS = (
    b"".join(
        line.ljust(80)
        for line in (
            b"SIMPLE  =                    T",
            b"BITPIX  =                    8",
            b"NAXIS   =                    2",
        )
    )
    + b"".join(
        line.ljust(80) for line in (b"NAXIS1  =                  100", b"NAXIS2  =                  100", b"END")
    ).ljust(2880 - 240)
    + bytes(10_000)
)
PDF = b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj 2 0 obj<</Type/Pages/Kids[]/Count 0>>endobj\n"
JP2_HEAD = b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(100)
MSL = b'<?xml version="1.0"?><image><read filename="/etc/passwd"/><write filename="/tmp/out.png"/></image>'
MVG = b"push graphic-context\nviewbox 0 0 640 480\nimage over 0,0 0,0 'https://127.0.0.1/x.png'\npop graphic-context\n"

FOREIGN: dict[str, Callable[[], bytes]] = {
    "SVG": lambda: SVG,
    "PDF": lambda: PDF,
    "EPS": lambda: saved(gradient(), "EPS"),
    "PSD": lambda: PSD,
    "FITS": lambda: FITS,
    "ImageMagick MSL": lambda: MSL,
    "ImageMagick MVG": lambda: MVG,
    "JPEG 2000": lambda: saved(gradient(), "JPEG2000") if features.check("jpg_2000") else JP2_HEAD,
    "PPM": lambda: saved(gradient(), "PPM"),
    "DDS": lambda: saved(gradient(), "DDS"),
    "SGI": lambda: saved(gradient(), "SGI"),
    "ICNS": lambda: saved(gradient(), "ICNS"),
    "XBM": lambda: saved(gradient().convert("1"), "XBM"),
    "a matrix of libvips": lambda: b"2 2\n1 2\n3 4\n",
    "VIPS": lambda: b"\xb6\xa6\xf2\x08" + struct.pack("<6I", 100, 100, 3, 8, 0, 0) + bytes(30_100),
    "Radiance": lambda: b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 100 +X 100\n" + bytes(40_000),
    "OpenEXR": lambda: b"\x76\x2f\x31\x01" + bytes(1000),
    "CSV": lambda: b"1,2,3\n4,5,6\n",
}
NO_PICTURES = {"XBM", "a matrix of libvips", "CSV"}
"""Texts, which have no signature."""


@pytest.fixture
def no_program_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **_: Any) -> None:
        raise AssertionError(f"the test started a program: {arguments}")

    for name in ("Popen", "run", "check_call", "check_output"):
        monkeypatch.setattr(subprocess, name, refuse)
    monkeypatch.setattr("os.system", refuse)


@pytest.mark.matrix(14)
@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_format_is_refused_by_its_signature(name: str, engine: EngineName, no_program_runs: None) -> None:
    outcome = process(FOREIGN[name](), ENGINE=engine).outcome
    if name == "JPEG 2000" and Format.JP2 in installed_engines()[EngineName.VIPS].reads:
        pytest.skip("this libvips reads JPEG 2000")
    expected = "not-an-image" if name in NO_PICTURES else "unsupported-format"
    assert (outcome.status, outcome.reason) == (Status.REJECTED, expected)


FORMATS: dict[Format, Callable[[], bytes]] = {
    Format.JPEG: lambda: saved(gradient(), "JPEG"),
    Format.PNG: lambda: saved(gradient(), "PNG"),
    Format.GIF: lambda: saved(gradient(), "GIF"),
    Format.WEBP: lambda: saved(gradient(), "WEBP"),
    Format.TIFF: lambda: saved(gradient(), "TIFF"),
    Format.BMP: lambda: saved(gradient(), "BMP"),
    Format.ICO: lambda: saved(gradient(), "ICO"),
    **({Format.AVIF: lambda: saved(gradient(), "AVIF")} if features.check("avif") else {}),
}


@pytest.mark.matrix(14)
@pytest.mark.parametrize("name", FOREIGN)
def test_no_engine_decodes_a_foreign_format_with_the_plan_of_another_picture(
    name: str, tmp_path: Path, no_program_runs: None, subtests: pytest.Subtests
) -> None:
    """The plan is forged: it belongs to an ordinary picture, and the file is replaced."""
    path = tmp_path / "source"
    path.write_bytes(FOREIGN[name]())
    for plan in ordinary_plans():
        with (
            subtests.test(engine=plan.engine, planned=plan.info.format),
            pytest.raises((Corrupt, UnsupportedFormat)),
        ):
            load_engine(plan.engine).render(str(path), plan)


@cache
def ordinary_plans() -> list[Plan]:
    """A plan for every format of every engine."""
    readers = [(engine, kind) for engine, can in installed_engines().items() for kind in FORMATS if kind in can.reads]
    plans = [planned(FORMATS[kind](), engine) for engine, kind in readers]
    assert [plan.engine for plan in plans] == [engine for engine, _ in readers]
    return plans


# --- known vulnerabilities (row 15) --------------------------------------------------------------------------------


HOLES: dict[str, tuple[Callable[[], bytes], tuple[str, ...]]] = {
    "the tables of a WebP": (lambda: webp.with_large_tables(webp.COMPLETE), ("stored",)),
    "CVE-2023-4863, one of them incomplete": (lambda: webp.with_large_tables(webp.INCOMPLETE), ("corrupt",)),
    "CVE-2023-4863, one of them overfull": (lambda: webp.with_large_tables(webp.OVERFULL), ("corrupt",)),
    "CVE-2026-25990, a PSD": (lambda: PSD, ("unsupported-format",)),
    "CVE-2026-40192, a FITS of GZIP": (
        lambda: FITS[:2880] + b"\x1f\x8b\x08" + bytes(7) + deflated_zeros(1 << 30)[2:],
        ("unsupported-format",),
    ),
    "CVE-2026-69242, a TIFF of many bands": (lambda: tiff.tiled(64, 64, (64, 64), 60_000), ("unsupported-format",)),
    "CVE-2025-29769, a TIFF of four bands": (lambda: tiff.tiled(64, 64, (64, 64), 4), ("stored",)),
}


@pytest.mark.matrix(15)
@pytest.mark.parametrize("name", HOLES)
def test_input_of_a_known_vulnerability_is_refused_or_harmless(name: str, engine: EngineName) -> None:
    make, ends = HOLES[name]
    outcome = process(make(), ENGINE=engine, RENDITIONS="a=32x32:avif,b=32x32:webp").outcome
    assert (outcome.reason or outcome.status) in ends, outcome.detail


@pytest.mark.matrix(15)
def test_installed_libraries_are_not_outdated() -> None:
    found = list(versions.installed())
    assert {minimum.library for minimum, _ in found} >= {"libvips", "Pillow"}
    assert all(versions.is_enough(minimum, version) for minimum, version in found), found


@pytest.mark.matrix(15)
@pytest.mark.parametrize(
    ("library", "version", "enough"),
    [
        ("libvips", "8.16.0", False),
        ("libvips", "8.16.1", True),
        ("libvips", "8.9.10", False),
        ("Pillow", "12.1.1.post0", True),
        ("Pillow", "12.1.0", False),
        ("libwebp", "1.3.1", False),
        ("libheif", "1.23.10", True),
        ("libheif", "1.19.8", False),
    ],
)
def test_an_outdated_library_is_refused_with_the_reason(
    library: str, version: str, enough: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(versions, "installed_version", lambda _: version)
    if enough:
        versions.require(library)
        return
    with pytest.raises(versions.OutdatedLibrary, match=rf"{library} {version} is older than .* \(CVE-"):
        versions.require(library)


OLD = """
import pyvips, PIL
from PIL import features
pyvips.version = lambda part: (8, 15, 9)[part]
PIL.__version__ = "11.0.0"
from thumbnailer.engine import load_engine
from thumbnailer.planning.capabilities import BOTH_ENGINES
for name in BOTH_ENGINES:
    try:
        load_engine(name)
    except ImportError as error:
        print(type(error).__name__, error)
"""


@pytest.mark.matrix(15)
def test_no_engine_starts_with_an_outdated_library() -> None:
    ended = subprocess.run([sys.executable, "-c", OLD], cwd=ROOT, capture_output=True, text=True, check=True)
    lines = ended.stdout.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("OutdatedLibrary") for line in lines), ended.stdout
    assert "libvips 8.15.9 is older than 8.16.1" in ended.stdout
    assert "Pillow 11.0.0 is older than 12.1.1" in ended.stdout


def test_pillow_has_plugins_that_the_allow_list_leaves_out() -> None:
    Image.init()
    assert {"EPS", "PSD", "FITS", "JPEG2000", "PDF"} & (set(Image.OPEN) | set(Image.SAVE))
    assert not {"EPS", "PSD", "FITS", "JPEG2000", "PDF"} & {loader.name for loader in PILLOW_LOADERS.values()}

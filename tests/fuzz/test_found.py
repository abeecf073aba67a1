"""Bugs found by fuzzing, each with the smallest input that shows it."""

from __future__ import annotations

import platform
import struct
import subprocess
import sys
import weakref
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

from tests.bombs.png import GREY, chunk, of_one_colour
from tests.support.measured import measured
from tests.support.pictures import SAMPLE_FOLDER, opened, saved
from tests.support.processing import planned, process
from tests.support.rendering import render
from thumbnailer.engine import Rendering, load_engine
from thumbnailer.errors import Corrupt
from thumbnailer.formats import probe
from thumbnailer.model import EngineName, Status
from thumbnailer.planning.plan import Plan
from thumbnailer.planning.targets import scaled_size
from thumbnailer.renditions import MAX_SIDE, parse_renditions


def encoded(format_: str, size: tuple[int, int] = (64, 48), **options: Any) -> bytes:
    return saved(Image.linear_gradient("L").resize(size).convert("RGB"), format_, **options)


def test_an_error_message_that_is_not_utf_8_makes_a_picture_corrupt(tmp_path: Path) -> None:
    """libvips quotes the name of an unknown property, and pyvips decodes every message as UTF-8."""
    broken, cut = tmp_path / "broken.avif", tmp_path / "cut.png"
    broken.write_bytes((SAMPLE_FOLDER / "flower.avif").read_bytes().replace(b"av1C", b"av\x80C", 1))
    cut.write_bytes((SAMPLE_FOLDER / "chelsea.png").read_bytes()[:9999])
    engine = load_engine(EngineName.VIPS)
    for path in (broken, cut):
        with pytest.raises(Corrupt, match="libvips"):
            engine.render(str(path), planned(path.read_bytes(), EngineName.VIPS))


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("decoding of colour planes failed")])
def test_any_decoder_error_makes_a_picture_corrupt(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception
) -> None:
    """A PNG chunk that claims 4 GB can raise MemoryError; AVIF and HEIC raise RuntimeError."""

    def load_end(_: object) -> None:
        raise error

    path = tmp_path / "x.png"
    path.write_bytes(encoded("PNG"))
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load_end", load_end)
    with pytest.raises(Corrupt):
        load_engine(EngineName.PILLOW).render(str(path), planned(path.read_bytes(), EngineName.PILLOW))


def test_an_animation_without_a_loop_keeps_the_frames_beyond_its_head() -> None:
    """A head with one frame and no loop extension may still be an animation."""
    noise = [Image.effect_noise((400, 400), 90 + number).convert("P") for number in range(3)]
    out = BytesIO()
    noise[0].save(out, "GIF", save_all=True, append_images=noise[1:])
    data = out.getvalue()
    assert b"NETSCAPE" not in data
    assert not probe(data[:65_536], len(data)).complete
    assert Image.open(BytesIO(process(data).thumbnails[0])).n_frames == 3  # type: ignore[attr-defined]


def png(*chunks: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 9, 9, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND", b"")


PIXELS = chunk(b"IDAT", zlib.compress(bytes(9 * 28)))

JPEG_WITHOUT_SCAN = encoded("JPEG").partition(b"\xff\xda")[0] + b"\xff\xd9"


@pytest.mark.parametrize("data", [png(), JPEG_WITHOUT_SCAN], ids=["png", "jpeg"])
def test_a_picture_without_pixels_is_corrupt(data: bytes, engine: EngineName) -> None:
    outcome = process(data, ENGINE=engine).outcome
    assert (outcome.status, outcome.reason) == (Status.REJECTED, "corrupt")


TEXTS = {
    "tEXt": (b"tEXt", b"key\0"),
    "iTXt": (b"iTXt", b"key\0\0\0\0\0"),
}


@pytest.mark.matrix(8)
@pytest.mark.parametrize("text", TEXTS)
def test_png_texts_count_as_memory(text: str) -> None:
    """A PNG of 24 MB with 490 packed ones took libvips 30 s of CPU and 14 GB; those are hidden from it."""
    kind, start = TEXTS[text]

    def with_text(size: int) -> bytes:
        return png(chunk(kind, start + bytes(size)), PIXELS)

    ordinary, large = with_text(1 << 20), with_text((16 << 20) + 1)
    assert (1 << 20) <= probe(ordinary, len(ordinary)).details.held < (3 << 20)
    with pytest.raises(Corrupt, match="text"):
        probe(large, len(large))
    behind = png(PIXELS, chunk(kind, start + bytes(17 << 20)))
    assert probe(behind, len(behind)).details.held == 0


def test_small_png_texts_add_up() -> None:
    text = chunk(b"tEXt", b"key\0" + bytes(1 << 20))
    many = png(*[text] * 17, PIXELS)
    with pytest.raises(Corrupt, match="text"):
        probe(many, len(many))
    fewer = png(*[text] * 15, PIXELS)
    assert probe(fewer, len(fewer)).width == 9


def test_a_chunk_beyond_the_end_of_the_file_is_corrupt() -> None:
    """228 bytes that claim 16 MB of EXIF made libvips allocate 16 MB."""
    data = png(struct.pack(">I", 16 << 20) + b"eXIf" + bytes(40))
    with pytest.raises(Corrupt):
        probe(data, len(data))
    with pytest.raises(Corrupt):
        probe(data[:60], len(data))
    assert not probe(data, 32 << 20).complete


def test_a_derived_side_is_at_most_the_maximum() -> None:
    """A rendition of `200x` of 1 x 20,000 pixels would have 20,000 rows, too many for WebP."""
    made = process(encoded("PNG", (2, 20_000)), RENDITIONS="a=200x:webp,b=200x:png")
    assert [opened(data).size for data in made.thumbnails] == [(2, MAX_SIDE), (2, MAX_SIDE)]
    (rendition,) = parse_renditions("x40")
    assert scaled_size(rendition, 1_000_000, 40) == (MAX_SIDE, 1)


class Held:
    """Stands for decoded pixels."""


def test_the_first_engine_frees_its_memory_before_the_second_starts(tmp_path: Path) -> None:
    """The plan reserves the larger estimate of both engines, not their sum."""
    held: list[weakref.ref[Held]] = []

    class Failing:
        def render(self, path: str, plan: Plan) -> Rendering:
            pixels = Held()
            held.append(weakref.ref(pixels))
            try:
                raise ValueError("decoder")
            except ValueError as error:
                raise Corrupt("cannot read it") from error

    class Second:
        def render(self, path: str, plan: Plan) -> Rendering:
            assert held
            assert held[0]() is None
            return Rendering(EngineName.VIPS, (b"",), "", 0.0, 0.0)

    path = tmp_path / "x.jpeg"
    path.write_bytes(encoded("JPEG"))
    plan = planned(path.read_bytes(), EngineName.PILLOW)
    assert plan.fallback is EngineName.VIPS
    render(lambda name: Failing() if name is EngineName.PILLOW else Second(), str(path), plan)


HEAPS = """
import ctypes, threading
from thumbnailer.execution.malloc import tame_heap
if {shared}:
    tame_heap()
libc = ctypes.CDLL(None)
together = threading.Barrier(4)
def decode():
    together.wait()
    keep = [bytearray(9000) for _ in range(50)]
    together.wait()
threads = [threading.Thread(target=decode) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
libc.fopen.restype = ctypes.c_void_p
libc.fclose.argtypes = [ctypes.c_void_p]
libc.malloc_info.argtypes = [ctypes.c_int, ctypes.c_void_p]
file = libc.fopen({path!r}.encode(), b"w")
libc.malloc_info(0, file)
libc.fclose(file)
print(open({path!r}).read().count("<heap "))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library has other heaps")
def test_threads_share_one_heap(tmp_path: Path) -> None:
    """With one heap per thread, a process of 128 MB held 368 MB after 9,000 inputs."""

    def heaps(shared: bool) -> int:
        script = HEAPS.format(shared=shared, path=str(tmp_path / "info"))
        return int(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout)

    assert heaps(shared=False) > 1
    assert heaps(shared=True) == 1


def test_the_estimate_counts_the_address_of_each_row() -> None:
    """Pillow keeps them for each copy of a picture: 34 MB here, where 8 were planned."""
    data = of_one_colour(1, 1 << 21, 1, GREY)
    growth = measured(data, 3008, {"THUMBNAILER_ENGINE": "pillow"}).growth
    assert growth <= planned(data, EngineName.PILLOW).memory_estimate


@pytest.mark.parametrize("duration", [16_000_000, 500_000])
def test_frames_of_hours_fit_into_a_gif(duration: int) -> None:
    """GIF's field has 16 bits, and Pillow adds the durations of equal frames."""
    pictures = [Image.new("RGB", (64, 64), (shade, 0, 0)) for shade in (0, 1, 255)]
    data = saved(pictures[0], "WEBP", save_all=True, append_images=pictures[1:], duration=duration, lossless=True)
    outcome = process(data, ENGINE="pillow", RENDITIONS="32x32:inside:gif").outcome
    assert outcome.status is Status.STORED, outcome.detail

"""The compiled JPEG engine from Python: quality against Pillow, fallback decisions, files that change."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tests.tools.scoring import ssim

native = pytest.importorskip(
    "thumbnailer_jpeg", reason="the compiled JPEG engine is not built: see thumbnailer/native/README.md"
)

SAMPLES = Path(__file__).parents[2] / "handler" / "demo" / "samples"
CORPUS = Path(__file__).parents[3] / "shared" / "corpus"
SHARED = Path("/work/shared/corpus")
LEAST_SSIM = 0.997
SIDES = (64, 128, 320)
LIMIT = 256 << 20

# Files that this engine must leave to libjpeg. Every other JPEG of the corpus is a clean one.
FALLBACKS = {
    "codec-corpus-testorig12.jpg": "Unsupported",
    "imgproxy-test1.arith.jpg": "Unsupported",
    "jpeg-decoder-fuzz-id_000170-invalid-sos.jpg": "Doubtful",
    "metadata-extractor-Samsung_GT-I9000_invalid-sos-derived.jpg": "Doubtful",
    "pillow-hopper_bad_exif.jpg": "Doubtful",
    "pillow-jpeg_ff00_header.jpg": "Doubtful",
    "pillow-junk_jpeg_header.jpg": "Doubtful",
    "pillow-photoshop-200dpi-broken.jpg": "Doubtful",
    "pillow-pil_sample_cmyk.jpg": "Unsupported",
    "pillow-truncated_jpeg.jpg": "Doubtful",
    "recurser-README-as.jpg": "Unsupported",
    "sharp-Channel_digital_image_CMYK_color.jpg": "Unsupported",
    "sharp-Channel_digital_image_CMYK_color_no_profile.jpg": "Unsupported",
    "sharp-corrupt-header.jpg": "Doubtful",
    "sharp-truncated.jpg": "Doubtful",
    "thumbor-BlueSquare_truncated.jpg": "Doubtful",
    "thumbor-cmyk-icc.jpg": "Unsupported",
    "thumbor-image_invalid.jpg": "Unsupported",
    "twelvemonkeys-8_ls.jpg": "Unsupported",
    "twelvemonkeys-broken-sos-before-sof.jpg": "Doubtful",
}


def _corpus() -> Path:
    return CORPUS if CORPUS.is_dir() else SHARED


def _photos() -> list[Path]:
    files = [*SAMPLES.glob("*.jpg"), *_corpus().glob("*.jpg")]
    return sorted(file for file in files if file.name not in FALLBACKS)


def _fit(size: tuple[int, int], side: int) -> tuple[int, int]:
    scale = side / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _picture(rendered: tuple[int, int, int, bytes]) -> Image.Image:
    width, height, channels, pixels = rendered
    return Image.frombytes("L" if channels == 1 else "RGB", (width, height), pixels)


def _jpeg(size: tuple[int, int] = (160, 120), **options: object) -> bytes:
    rows, columns = np.mgrid[0 : size[1], 0 : size[0]]
    pixels = np.stack([rows, columns, rows + columns], axis=2) % 256
    file = BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, "JPEG", **options)
    return file.getvalue()


@pytest.mark.parametrize("file", _photos(), ids=lambda file: file.name)
def test_photos_look_like_a_whole_decode(file: Path) -> None:
    """Pixels against Pillow: whole decode, then Lanczos."""
    with Image.open(file) as opened:
        whole = opened.convert("L" if opened.mode == "L" else "RGB")
    sizes = [_fit(whole.size, side) for side in SIDES if side < max(whole.size)]
    for size in sizes:
        ours = _picture(native.render(file, [(*size, None)], max_bytes=LIMIT)[0][0])
        theirs = whole.resize(size, Image.Resampling.LANCZOS)
        score = ssim(*(np.asarray(picture.convert("RGB"), dtype=float) for picture in (ours, theirs)))
        assert score >= LEAST_SSIM, f"{size}: {score:.4f}"


def _screenshot(size: tuple[int, int], line: int) -> Image.Image:
    """Lines of coloured text on white."""
    picture = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(picture)
    colours = ("black", "blue", "red", "green", "magenta")
    for number, top in enumerate(range(4, size[1] - 12, line)):
        draw.text((10 + number % 3 * 30, top), "let value = result? + 0x3f; " * 8, fill=colours[number % 5])
    return picture


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("line", [13, 40])
@pytest.mark.parametrize(("quality", "subsampling"), [(75, 2), (75, 0), (95, 2)])
def test_coloured_text_is_as_good_as_in_pillow(line: int, quality: int, subsampling: int, progressive: bool) -> None:
    """Where Pillow reduces in the decoder: at most 0.0005 below Pillow. Elsewhere: 0.990 of a whole decode."""
    file = BytesIO()
    options = {"quality": quality, "subsampling": subsampling, "progressive": progressive}
    _screenshot((1280, 800), line).save(file, "JPEG", **options)
    whole = Image.open(file)
    whole.load()
    for side, drafted in ((64, True), (128, True), (320, True), (330, False), (480, False)):
        size = _fit(whole.size, side)
        reference = np.asarray(whole.resize(size, Image.Resampling.LANCZOS), dtype=float)
        ours = _picture(native.render(file.getvalue(), [(*size, None)])[0][0])
        score = ssim(reference, np.asarray(ours, dtype=float))
        limit = 0.99
        if drafted:
            theirs = Image.open(BytesIO(file.getvalue()))
            theirs.thumbnail(size, Image.Resampling.LANCZOS)
            limit = ssim(reference, np.asarray(theirs, dtype=float)) - 0.0005
        assert score >= limit, f"{side}: {score:.4f} < {limit:.4f}"


@pytest.mark.parametrize(
    "file", [file for file in _photos() if file.stat().st_size > 20_000], ids=lambda file: file.name
)
def test_photos_are_decoded_once(file: Path) -> None:
    data = file.read_bytes()
    with Image.open(file) as opened:
        size = _fit(opened.size, 64)
    planned = next(
        n
        for n in (1, 2, 3, 4, 5, 6, 8)
        if n == 8 or min(opened.width / size[0], opened.height / size[1]) * n >= 8 * 1.95
    )
    assert native.render(data, [(*size, None)])[1] == (*opened.size, planned)


@pytest.mark.parametrize(("name", "kind"), sorted(FALLBACKS.items()))
def test_other_files_fall_back(name: str, kind: str) -> None:
    file = _corpus() / name
    if not file.exists():
        pytest.skip(f"{name} is not in the corpus")
    with pytest.raises(native.Fallback) as caught:
        native.render(file, [(64, 64, None)], max_bytes=LIMIT)
    assert type(caught.value).__name__ == kind


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 2}], ids=str)
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("size", [(160, 120), (161, 119), (17, 3), (1, 1)], ids=str)
def test_full_scale_gives_pillows_pixels(size: tuple[int, int], subsampling: int, options: dict[str, object]) -> None:
    data = _jpeg(size, subsampling=subsampling, quality=90, **options)
    ours = np.asarray(_picture(native.render(data, [(*size, None)], scale=8)[0][0]), dtype=int)
    theirs = np.asarray(Image.open(BytesIO(data)), dtype=int)
    difference = np.abs(ours - theirs)
    assert difference.mean() <= 0.5
    assert difference.max() <= 4


def test_a_file_gives_the_pixels_of_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "picture.jpg"
    path.write_bytes(data := _jpeg())
    expected = native.render(data, [(40, 30, None)])
    assert native.render(path, [(40, 30, None)]) == expected
    assert native.render(str(path), [(40, 30, None)]) == expected
    with pytest.raises(FileNotFoundError):
        native.render(tmp_path / "missing.jpg", [(40, 30, None)])


def test_a_file_that_changes_meanwhile_is_safe(tmp_path: Path) -> None:
    """Changed bytes and cuts: a memory map would end the process with SIGBUS."""
    path = tmp_path / "picture.jpg"
    path.write_bytes(whole := _jpeg((1600, 1200), quality=95))

    def render() -> None:
        for _ in range(40):
            with suppress(native.Unsupported, native.Doubtful):
                native.render(path, [(100, 75, None)])

    chance = random.Random(1)
    with ThreadPoolExecutor(1) as pool, path.open("r+b") as file:
        work = pool.submit(render)
        while not work.done():
            file.seek(chance.randrange(len(whole)))
            file.write(chance.randbytes(1))
            file.truncate(chance.randrange(len(whole)))
            file.seek(0)
            file.write(whole)
            file.flush()
        work.result()


def test_orientation_turns_the_upright_sizes() -> None:
    data = _jpeg()
    [plain], _ = native.render(data, [(40, 30, None)])
    [turned], _ = native.render(data, [(30, 40, None)], orientation=6)
    expected = _picture(plain).transpose(Image.Transpose.ROTATE_270)
    assert _picture(turned).tobytes() == expected.tobytes()


def test_an_area_is_cut_from_the_upright_picture() -> None:
    data = _jpeg(quality=95)
    [cut], _ = native.render(data, [(20, 30, (30.0, 20.0, 40.0, 60.0))])
    with Image.open(BytesIO(data)) as opened:
        expected = opened.resize((20, 30), Image.Resampling.LANCZOS, box=(30, 20, 70, 80))
    difference = np.abs(np.asarray(_picture(cut), dtype=int) - np.asarray(expected, dtype=int))
    assert difference.mean() < 2


def test_the_limit_is_checked_before_the_decode() -> None:
    data = _jpeg((4000, 3000), progressive=True)
    with pytest.raises(native.TooLarge) as caught:
        native.render(data[:2000], [(128, 96, None)], max_bytes=1 << 20)
    assert caught.value.args[0] < 3 << 20


@pytest.mark.skipif(not hasattr(native, "panic"), reason="built without the feature `panics`")
def test_a_panic_raises_internal() -> None:
    with pytest.raises(native.Internal, match="for a test"):
        native.panic()


def test_the_module_names_its_instructions() -> None:
    assert native.simd() in {"avx2", "neon", "none"}
    assert native.version()

"""The compiled engine in the product: pixels of three engines, damage, memory, crops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.pictures import SAMPLE_FOLDER, opened, saved
from tests.support.pipelines import created, real_pipeline, run, store_with
from tests.support.processing import planned, process
from tests.tools.scoring import references, shown, ssim
from thumbnailer.engine import load_engine
from thumbnailer.errors import EngineBug
from thumbnailer.model import EngineName, Outcome, Status
from thumbnailer.planning.capabilities import BOTH_ENGINES, NATIVE, PILLOW

native = pytest.importorskip("thumbnailer_jpeg", reason="the compiled JPEG engine is not built: make native")

PHOTOS = ("rocket.jpg", "hubble-progressive.jpg", "coffee-rotated-by-exif.jpg")
SIDES = (64, 128, 320)
LEAST_SSIM = 0.997
MOST_LOSS = 0.0005
"""against Pillow where its decoder shrinks"""
SETS = (
    "128x128",
    "1024x1024",
    "a=320x320,b=768x768,c=1280x1280",
    "a=300x300:cover,b=64x64:smart",
    "a=600x,b=599x,c=598x",
)


def noise(width: int, height: int, **options: object) -> bytes:
    coarse = np.random.default_rng(5).integers(0, 256, (height // 50, width // 50, 3), dtype=np.uint8)
    return saved(Image.fromarray(coarse).resize((width, height)), "JPEG", **options)


def scores(data: bytes, path: Path, side: int) -> dict[EngineName, float]:
    """The SSIM of each engine's pixels, before encoding, to a whole decode with one Lanczos3."""
    found = {}
    for engine in (NATIVE, *BOTH_ENGINES):
        plan = planned(data, engine, f"{side}x{side}:png")
        assert plan.engine is engine
        pixels = shown(load_engine(engine).render(str(path), plan).pictures[0])
        found[engine] = ssim(pixels, references(data, plan.targets)[0])
    return found


def end_of(outcome: Outcome) -> tuple[object, ...]:
    return outcome.status, outcome.reason, outcome.detail, outcome.damaged, outcome.engine


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("name", PHOTOS)
def test_its_pixels_are_as_good_as_those_of_the_others(name: str, side: int) -> None:
    path = SAMPLE_FOLDER / name
    data = path.read_bytes()
    found = scores(data, path, side)
    shrinks = planned(data, PILLOW, f"{side}x{side}:png").shrink > 1
    assert found[NATIVE] >= (found[PILLOW] - MOST_LOSS if shrinks else LEAST_SSIM), found


@pytest.mark.parametrize(("width", "height", "subsampling"), [(6000, 4000, 2), (4000, 3000, 0)])
def test_a_large_progressive_jpeg_is_stored_on_the_smallest_tier(width: int, height: int, subsampling: int) -> None:
    data = noise(width, height, progressive=True, subsampling=subsampling)
    made = process(data, memory_mb=128)
    assert (made.outcome.status, made.outcome.engine) == (Status.STORED, NATIVE)
    assert process(data[: len(data) * 3 // 4], memory_mb=128).outcome.reason == "too-many-pixels"


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("share", [0.3, 0.8])
def test_a_damaged_file_ends_as_without_it(progressive: bool, share: float) -> None:
    data = noise(900, 600, progressive=progressive)
    cut = data[: int(len(data) * share)]
    ours, others = process(cut), process(cut, ENGINE="pillow")
    assert ours.thumbnails == others.thumbnails
    assert end_of(ours.outcome) == end_of(others.outcome)


@pytest.mark.matrix(62)
def test_a_panic_is_an_engine_bug_and_the_picture_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    def panic(*_: object, **__: object) -> None:
        raise native.Internal("index out of bounds")

    monkeypatch.setattr(native, "render", panic)
    made = process(noise(900, 600))
    assert (made.outcome.status, made.outcome.engine) == (Status.STORED, PILLOW)
    assert made.outcome.engine_bug == "Internal: index out of bounds"
    with pytest.raises(EngineBug):
        load_engine(NATIVE).render(str(SAMPLE_FOLDER / PHOTOS[0]), planned(noise(900, 600)))


def test_the_crate_gets_the_memory_of_the_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[int] = []
    render = native.render

    def limited(*args: object, max_bytes: int) -> object:
        limits.append(max_bytes)
        return render(*args, max_bytes=1 << 16)

    monkeypatch.setattr(native, "render", limited)
    data = noise(900, 600)
    assert process(data).outcome.engine is PILLOW  # TooLarge
    plan = planned(data)
    assert limits == [plan.memory_estimate]


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"progressive": True, "subsampling": 0}], ids=str)
def test_the_estimate_covers_the_crate_s_own_plan(mode: str, options: dict[str, object]) -> None:
    for size in ((1500, 1000), (300, 5000), (9000, 600)):
        data = saved(Image.new(mode, size, "teal"), "JPEG", **options)
        for renditions in SETS:
            plan = planned(data, NATIVE, renditions)
            if plan.engine is NATIVE:
                with pytest.raises(native.TooLarge) as caught:
                    native.render(data, [(*target.scaled, None) for target in plan.targets], max_bytes=0)
                assert caught.value.args[0] <= plan.memory_estimate, (size, renditions)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_crop_shows_the_same_part_as_pillow(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = noise(901, 603, exif=exif, quality=95)
    for rendition in ("100x100:cover:png", "77x150:cover:png", "90x90:smart:png"):
        ours, theirs = (process(data, ENGINE=engine, RENDITIONS=rendition) for engine in (NATIVE, PILLOW))
        assert (ours.outcome.engine, theirs.outcome.engine) == (NATIVE, PILLOW)
        one, other = (np.asarray(opened(made.thumbnails[0]).convert("RGB"), int) for made in (ours, theirs))
        assert one.shape == other.shape
        assert np.abs(one - other).mean() < 1.5, rendition


def test_a_redelivered_picture_is_decoded_by_it_in_a_child() -> None:
    async def work() -> Outcome:
        pipeline = real_pipeline(await store_with({"x": noise(900, 600)}), None)
        outcome = await pipeline.process(created("x"), isolated=True)
        await pipeline.aclose()
        return outcome

    outcome = run(work())
    assert (outcome.status, outcome.engine) == (Status.STORED, NATIVE)

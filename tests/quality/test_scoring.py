from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageCms

from tests.support.pictures import saved
from tests.tools.quality import SAMPLES, plan_for
from tests.tools.scoring import Pixels, Score, frame_count, references, score, shown, shown_frames, ssim


def patterns(height: int, width: int) -> tuple[Pixels, Pixels]:
    """Two similar pictures made by arithmetic."""
    y, x = np.mgrid[0:height, 0:width]
    one = np.stack([(x * 7 + y * 3) % 256, (x * x + y) % 256, (y * y * 3 + x * 5) % 256], axis=2).astype(float)
    other = one.copy()
    other[..., 0] = (x * 7 + y * 3 + x * y % 11) % 256
    other[..., 1] *= 0.9
    return one, other


@pytest.mark.parametrize(("size", "by_scikit_image"), [((40, 31), 0.9682867147664126), ((7, 7), 0.988520330595577)])
def test_structural_similarity_agrees_with_scikit_image(size: tuple[int, int], by_scikit_image: float) -> None:
    """scikit-image 0.26: structural_similarity(one, other, channel_axis=2, data_range=255)."""
    assert ssim(*patterns(*size)) == pytest.approx(by_scikit_image, abs=1e-12)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (3, 5), (6, 64)])
def test_a_picture_smaller_than_a_window_has_a_score(size: tuple[int, int]) -> None:
    one = patterns(*size)[0]
    assert ssim(one, one) == pytest.approx(1)
    assert ssim(one, 255 - one) < 0.9


def test_the_mean_is_of_absolute_differences() -> None:
    flat = np.full((9, 9, 3), 100.0)
    assert score(flat, flat - 3).mean == 3
    assert score(flat, flat) == Score(0, 1)


def test_pictures_of_different_size_have_no_score() -> None:
    with pytest.raises(ValueError, match="cannot be compared"):
        score(*(np.zeros((9, width, 3)) for width in (9, 10)))


@pytest.mark.parametrize(
    ("scored", "good"), [(Score(2, 0.97), True), (Score(2.01, 1), False), (Score(0, 0.969), False)]
)
def test_both_bounds_must_hold(scored: Score, good: bool) -> None:
    assert scored.within() is good


def test_shown_pixels_are_upright_and_on_white() -> None:
    clear = Image.new("RGBA", (20, 10), (0, 0, 0, 0))
    clear.paste((255, 0, 0, 255), (0, 0, 10, 10))
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise
    seen = shown(saved(clear, exif=exif))
    assert seen.shape == (20, 10, 3)
    assert seen[0, 5].tolist() == [255, 0, 0]
    assert seen[19, 5].tolist() == [255, 255, 255]


def test_shown_pixels_have_8_bits() -> None:
    grey = Image.fromarray(np.full((8, 8), 0x8080, np.uint16))
    assert shown(saved(grey))[0, 0].tolist() == [128, 128, 128]
    assert shown(saved(Image.new("1", (8, 8), 1)))[0, 0].tolist() == [255, 255, 255]


def test_three_frames_of_an_animation_are_shown() -> None:
    frames = [Image.new("RGB", (9, 9), (50 * number, 0, 0)) for number in range(5)]
    data = saved(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    assert frame_count(data) == 5
    assert [frame[0, 0, 0] for frame in shown_frames(data)] == [0, 100, 200]


def reference(data: bytes, rendition: str) -> Pixels:
    return references(data, plan_for(data, None, rendition).targets)[0]


def test_the_reference_of_a_picture_that_fits_is_the_picture() -> None:
    one = patterns(40, 31)[0]
    data = saved(Image.fromarray(one.astype(np.uint8)))
    assert np.abs(reference(data, "128x128") - one).max() < 0.001


def test_the_reference_is_cropped_from_the_middle() -> None:
    image = Image.new("RGB", (300, 100), (255, 0, 0))
    image.paste((0, 0, 255), (100, 0, 200, 100))
    cropped = reference(saved(image), "50x50:cover")
    assert cropped.shape == (50, 50, 3)
    assert np.abs(cropped[:, 1:-1] - [0, 0, 255]).max() < 40  # allows for ringing at the edge
    assert cropped[25, 25].tolist() == pytest.approx([0, 0, 255], abs=1)


def test_the_reference_has_no_fringe_at_an_alpha_edge() -> None:
    """White beside transparent black is white on white; Lanczos ringing must stay within alpha."""
    image = Image.new("RGBA", (400, 400), (0, 0, 0, 0))
    image.paste((255, 255, 255, 255), (0, 0, 201, 400))
    assert reference(saved(image), "100x100").min() >= 254.9


def test_the_reference_is_in_srgb() -> None:
    """Adobe RGB encodes a colour by smaller numbers than sRGB. A profile for other pixels is ignored."""
    with Image.open(SAMPLES / "rocket.jpg") as image:
        adobe, plain = (saved(image, icc_profile=profile) for profile in (image.info["icc_profile"], None))
        lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
        wrong = saved(image, icc_profile=lab)
    assert np.abs(reference(adobe, "128x128") - reference(plain, "128x128")).mean() > 1
    assert np.array_equal(reference(wrong, "128x128"), reference(plain, "128x128"))


def test_every_target_has_a_reference() -> None:
    data = saved(Image.new("RGB", (300, 200)))
    plan = plan_for(data, None, "a=128x128,b=64x64:cover")
    assert [pixels.shape for pixels in references(data, plan.targets)] == [(85, 128, 3), (64, 64, 3)]

from __future__ import annotations

from io import BytesIO

import pytest
from PIL import Image, ImageCms

from tests.support.corpus import Row, needs_corpus, rows
from tests.support.profiles import ADOBE_RGB, P3, grey_profile, rgb_profile
from thumbnailer.formats.icc import CMYK, GREY, RGB, is_usable

PROFILE = rgb_profile(P3)
MODES = {b"RGB ": "RGB", b"GRAY": "L", b"CMYK": "CMYK"}


def test_a_profile_is_usable_only_for_its_own_colour_space() -> None:
    assert is_usable(rgb_profile(ADOBE_RGB), RGB)
    assert is_usable(grey_profile(), GREY)
    assert not any(is_usable(PROFILE, space) for space in (GREY, CMYK, None))


@pytest.mark.parametrize("at", [12, 16, 20, 36])
def test_a_profile_with_an_invalid_header_field_is_unusable(at: int) -> None:
    assert not is_usable(PROFILE[:at] + b"????" + PROFILE[at + 4 :], RGB)


def test_a_profile_with_a_missing_or_cut_tag_is_unusable() -> None:
    assert not is_usable(PROFILE.replace(b"gTRC", b"none", 1), RGB)
    assert not is_usable(PROFILE[:-1000], RGB)
    assert not is_usable(PROFILE.replace(b"XYZ \0\0\0\0", b"text\0\0\0\0"), RGB)


def test_a_cut_profile_is_unusable_and_raises_nothing() -> None:
    assert [is_usable(PROFILE[:end], RGB) for end in (*range(400), len(PROFILE))] == [False] * 400 + [True]


@needs_corpus
@pytest.mark.slow
def test_a_profile_of_the_corpus_is_usable_if_little_cms_can_use_it(subtests: pytest.Subtests) -> None:
    for row in rows():
        if profile := embedded_profile(row):
            with subtests.test(row.file):
                assert is_usable(profile, profile[16:20]) == little_cms_can_use(profile)


def embedded_profile(row: Row) -> bytes | None:
    try:
        with Image.open(BytesIO(row.read())) as image:
            return image.info.get("icc_profile")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None


def little_cms_can_use(profile: bytes) -> bool:
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), MODES.get(profile[16:20], "RGB"), "RGB")
    except (ImageCms.PyCMSError, OSError):
        return False
    return True

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageCms

from tests.support import profiles
from thumbnailer.formats.icc import (
    BT709_CURVE,
    BT2100_PRIMARIES,
    D65,
    DCI_GAMMA,
    DCI_WHITE,
    GREY,
    LINEAR,
    P3_PRIMARIES,
    RGB,
    SRGB,
    ColourSpace,
    hlg_light,
    is_usable,
    pq_light,
    profile_for,
)

SPACES = (
    SRGB,
    ColourSpace(primaries=P3_PRIMARIES),
    ColourSpace(DCI_WHITE, P3_PRIMARIES, DCI_GAMMA),
    ColourSpace(primaries=BT2100_PRIMARIES, curve=BT709_CURVE),
    ColourSpace(primaries=BT2100_PRIMARIES, curve=pq_light),
    ColourSpace(primaries=BT2100_PRIMARIES, curve=hlg_light),
    ColourSpace(curve=LINEAR),
)


def in_srgb(colour: tuple[int, int, int], space: ColourSpace) -> profiles.Array:
    said = ImageCms.ImageCmsProfile(io.BytesIO(profile_for(space)))
    shown = ImageCms.profileToProfile(Image.new("RGB", (1, 1), colour), said, ImageCms.createProfile("sRGB"))
    assert shown is not None
    return np.array(shown.getpixel((0, 0)), dtype=np.float64)


@pytest.mark.parametrize("space", SPACES)
def test_a_made_profile_is_usable(space: ColourSpace) -> None:
    assert is_usable(profile_for(space), RGB)
    assert is_usable(profile_for(replace(space, primaries=None)), GREY)


@pytest.mark.parametrize("space", SPACES)
def test_white_is_white_in_every_space(space: ColourSpace) -> None:
    assert np.abs(in_srgb((255, 255, 255), space) - 255).max() <= 1


@pytest.mark.parametrize("colour", [(150, 120, 90), (30, 60, 50), (120, 128, 200)])
def test_a_made_profile_agrees_with_the_formulas(colour: tuple[int, int, int]) -> None:
    assert np.abs(in_srgb(colour, SRGB) - colour).max() <= 1
    wanted = profiles.srgb(np.array(colour) / 255, profiles.P3) * 255
    assert np.abs(in_srgb(colour, ColourSpace(primaries=P3_PRIMARIES)) - wanted).max() <= 1


def test_srgb_needs_no_profile() -> None:
    assert SRGB.is_srgb
    assert ColourSpace(primaries=((0.6400, 0.3300), (0.3001, 0.6000), (0.1500, 0.0600))).is_srgb
    assert ColourSpace(white=DCI_WHITE, primaries=None).is_srgb
    assert not any(space.is_srgb for space in SPACES[1:])


@pytest.mark.parametrize(
    "space",
    [
        ColourSpace(primaries=((0.3, 0.3), (0.3, 0.3), (0.15, 0.06))),
        ColourSpace(primaries=((0.64, 0.0), (0.3, 0.6), (0.15, 0.06))),
        ColourSpace(white=(0.3, 0.0)),
        ColourSpace(white=D65, curve=(1e9,)),
    ],
)
def test_impossible_primaries_are_corrupt(space: ColourSpace) -> None:
    with pytest.raises(ValueError, match=r"a colour|primaries|a white|a number"):
        profile_for(space)

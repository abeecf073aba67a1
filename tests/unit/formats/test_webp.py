"""The chunks of a WebP."""

from __future__ import annotations

import pytest

from tests.bombs import webp
from tests.support.headers import animated, exif, saved, whole
from thumbnailer.errors import Corrupt
from thumbnailer.formats import probe


def test_all_layouts_of_webp_are_read() -> None:
    assert not whole(saved("WEBP", "RGB")).has_alpha
    assert not whole(saved("WEBP", "RGB", lossless=True)).has_alpha
    assert whole(saved("WEBP", "RGBA", color=(9, 9, 9, 9))).has_alpha
    assert whole(saved("WEBP", "RGBA", color=(9, 9, 9, 9), lossless=True)).has_alpha


def test_the_frames_of_a_webp_are_counted() -> None:
    data = animated("WEBP", 3)
    assert (whole(data).frames, whole(data).complete) == (3, True)
    assert not probe(data[: data.rindex(b"ANMF")], len(data)).complete


def test_a_webp_head_is_incomplete_before_its_exif() -> None:
    data = saved("WEBP", exif=exif(6))
    part = probe(data[: data.rindex(b"EXIF") + 20], len(data))
    assert (part.complete, part.orientation, part.width) == (False, 1, 40)


def test_a_webp_of_too_many_chunks_is_corrupt() -> None:
    assert whole(webp.with_chunks(250)).complete
    for flood in (webp.with_chunks(1000), webp.with_chunks_in_its_frame(1000)):
        with pytest.raises(Corrupt, match="chunks"):
            whole(flood)

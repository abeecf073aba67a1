"""No file makes its readers work longer than its budget allows, and no reader works without charging it."""

from __future__ import annotations

import re
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from tests.bombs import MB
from tests.bombs.floods import FLOODS, METADATA
from tests.support.headers import needs_avif
from tests.support.reading import readings, too_slow, with_hidden_metadata
from thumbnailer import formats
from thumbnailer.errors import NeedMoreBytes, TooMuchWork
from thumbnailer.formats import hide_metadata, probe, specs
from thumbnailer.formats.base import BYTES_PER_UNIT, LEAST_UNITS, MOST_UNITS, Head, units_for
from thumbnailer.model import Format

FOLDER = Path(formats.__file__).parent
LARGEST_CHARGE = 600
"""Units of one read: a MB that is copied."""


@pytest.mark.parametrize("name", FLOODS)
def test_every_reader_ends_within_its_budget(name: str) -> None:
    data = FLOODS[name](MB)
    for reading in readings(data):
        assert reading.units <= reading.allowed + LARGEST_CHARGE, reading
        assert (reading.units > reading.allowed) == (reading.ended == TooMuchWork.__name__), reading
    assert too_slow(data) == []


@pytest.mark.parametrize("name", ["empty deflated blocks", "empty deflated blocks in a text", "text"])
def test_what_a_png_packs_costs_its_readers_as_much_as_other_bytes(name: str) -> None:
    """Unpacking 15 MB of empty blocks took 1.2 s."""
    data = FLOODS[f"PNG: {name}"](15 * MB)
    assert max(reading.units for reading in readings(data)) <= len(data) // BYTES_PER_UNIT + 100


def test_there_are_floods_of_every_format() -> None:
    starts = [make(4096)[:512] for make in FLOODS.values()]
    assert [spec.label for spec in specs() if not any(map(spec.matches, starts))] == ["SVG"]  # it has no signature


def test_a_flood_costs_the_same_units_each_time() -> None:
    for name in ("GIF: frames", "AVIF: alphas of one extent", "TIFF: tiles"):
        data = FLOODS[name](MB)
        assert [r.units for r in readings(data)] == [r.units for r in readings(data)]


def test_the_budget_grows_with_the_file_up_to_a_limit() -> None:
    assert units_for(0) == units_for(MB) == LEAST_UNITS
    assert units_for(3 * MB) == 3 * LEAST_UNITS
    assert units_for(1 << 40) == MOST_UNITS


def test_a_head_that_uses_up_its_budget_asks_for_more_bytes() -> None:
    data = FLOODS["PNG: empty IDAT"](MB)
    with pytest.raises(NeedMoreBytes):
        probe(data, 8 * MB)
    with pytest.raises(TooMuchWork):
        probe(data, len(data))


def test_a_file_within_a_file_has_the_same_budget() -> None:
    head = Head(memoryview(bytes(100)), 100)
    head.within(b"abc", "inner").number(0)
    head.bits(0, 4, "big").flag()
    assert LEAST_UNITS - head.budget.left == 3


@pytest.mark.parametrize("name", ["JPEG: EXIF tags", "JPEG: tags of more pictures", "GIF: comment", "GIF: comments"])
def test_costly_metadata_is_hidden_from_decoders(name: str) -> None:
    """Of any version of Pillow; tests/test_bounds.py has the cost with the installed one."""
    data = METADATA[name](MB)
    format_ = probe(data, len(data)).format
    changed = with_hidden_metadata(data)
    image = Image.open(BytesIO(changed))
    assert changed != data
    assert image.info.keys().isdisjoint({"exif", "mp", "comment"})
    assert image.format == format_.upper()
    image.load()


@needs_avif
def test_a_costly_exif_item_gets_another_type() -> None:
    data = METADATA["AVIF: EXIF tags"](MB)
    ((at, patch),) = hide_metadata(data, Format.AVIF)
    changed = data[:at] + patch + data[at + 4 :]
    assert data[at : at + 4] == b"Exif"
    assert "exif" not in Image.open(BytesIO(changed)).info


def test_nothing_of_an_ordinary_picture_is_hidden(samples: dict[str, bytes]) -> None:
    kinds = {name: probe(data, len(data)).format for name, data in samples.items()}
    assert {name: found for name, kind in kinds.items() if (found := hide_metadata(samples[name], kind))} == {}


def test_readers_get_bytes_from_a_head_alone() -> None:
    """A view of the bytes could be read without a charge; the three modules begin one with a head."""
    for path in FOLDER.glob("*.py"):
        views = len(re.findall(r"memoryview\(|\._view\b", path.read_text()))
        allowed = {"__init__.py": 4, "gif.py": 1, "ico.py": 1}.get(path.name, 0)
        assert path.name == "base.py" or views <= allowed, path.name

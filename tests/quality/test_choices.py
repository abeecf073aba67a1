"""The commands that measure the choices of encoders and shrink factors."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.tools import choices
from tests.tools.quality import SAMPLES
from thumbnailer.model import Format


def numbers(line: str) -> list[float]:
    return [float(number) for number in re.findall(r"\d+(?:\.\d+)?", line)]


def test_higher_quality_means_more_bytes_and_likeness(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(choices, "QUALITIES", {Format.JPEG: (50, 95)})
    for name in ("rocket.jpg", "chelsea.png"):
        shutil.copy(SAMPLES / name, tmp_path)
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    choices.encoders(tmp_path, "96x96")
    printed = capsys.readouterr().out
    assert printed.startswith("2 pictures")
    low, high = (numbers(line) for line in printed.splitlines() if "jpeg" in line)
    assert (low[0], high[0]) == (50, 95)
    assert low[1] < high[1]  # bytes
    assert low[2] < high[2]  # median likeness


def test_shrinking_is_measured_for_every_decoder_that_does_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(choices, "PHOTOS", ("rocket.jpg",))
    monkeypatch.setattr(choices, "LEFT", (2.0,))
    monkeypatch.setattr(choices, "SHRINKS", (4,))
    choices.shrink(megapixels=0.5, rounds=3)
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    assert [re.findall(r"\w+", row)[:3] for row in rows] == [
        ["jpeg", "libvips", "4"],
        ["jpeg", "Pillow", "4"],
        ["webp", "libvips", "4"],
    ]
    assert all(numbers(row)[1] > 0.99 for row in rows)

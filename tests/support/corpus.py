"""The rows of the MANIFEST of shared/corpus, a set of real and broken pictures; none if it is not there."""

from __future__ import annotations

import builtins
import csv
import os
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

CORPUS = Path(os.environ.get("THUMBNAILER_CORPUS") or Path(__file__).parents[3] / "shared" / "corpus")
"""THUMBNAILER_CORPUS may name another directory of the same layout."""

TWINS = re.compile(r"recurser-(Landscape|Portrait)_[2-8]\.jpg")
"""Large photos that differ from another one in their orientation only."""

needs_corpus = pytest.mark.skipif(not (CORPUS / "MANIFEST.csv").is_file(), reason="needs the corpus (../shared/corpus)")


@dataclass(frozen=True, slots=True)
class Row:
    """One file and its expected outcome. README.md of the corpus says how the outcomes were determined."""

    file: str
    sha256: str
    bytes: int
    format: str
    width: int | None
    height: int | None
    mode_or_bands: str
    category: str
    expect: str
    notes: str
    source_repo: str
    source_path: str
    licence: str

    @property
    def path(self) -> Path:
        return CORPUS / self.file

    @property
    def frames(self) -> int | None:
        """The frames or pages in the notes."""
        return _noted(r"(\d+) frames or pages", self.notes)

    @property
    def orientation(self) -> int | None:
        """The EXIF or TIFF orientation in the notes."""
        return _noted(r"(?:EXIF|TIFF) orientation (\d)", self.notes)

    def read(self) -> builtins.bytes:
        return self.path.read_bytes()


def rows() -> list[Row]:
    """All rows of the MANIFEST; none without the corpus."""
    manifest = CORPUS / "MANIFEST.csv"
    if not manifest.is_file():
        return []
    with manifest.open(newline="", encoding="utf-8") as lines:
        return [_row(record) for record in csv.DictReader(lines)]


def _row(record: dict[str, str]) -> Row:
    numbers = {name: int(record[name]) if record[name] else None for name in ("width", "height")}
    texts = {name: text for name, text in record.items() if name not in (*numbers, "bytes")}
    return Row(bytes=int(record["bytes"]), width=numbers["width"], height=numbers["height"], **texts)


def _noted(pattern: str, notes: str) -> int | None:
    found = re.search(pattern, notes)
    return int(found[1]) if found else None

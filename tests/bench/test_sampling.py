"""Samples of pictures: what there is by format and size, headers alone, a few that stand for all, clear refusals."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from bench.cells.pictures import NoPictures
from bench.money.sampling import Header, Survey, pick, sampling_error, survey


def picture(width: int, height: int, kind: str = "JPEG") -> bytes:
    out = BytesIO()
    Image.new("RGB", (width, height), (90, 120, 30)).save(out, kind)
    return out.getvalue()


def with_long_header(jpeg: bytes) -> bytes:
    """Comments of more than is read at first, before anything that says the size."""
    comment = b"\xff\xfe\xff\xff" + bytes(65_533)
    return jpeg[:2] + 2 * comment + jpeg[2:]


def surveyed(
    counts: Mapping[tuple[str, float], int], *, looked: int | None = None, listed: int | None = None
) -> Survey:
    """So many pictures of a format and of so many megapixels."""
    headers = tuple(
        Header(format_, megapixels, Path(f"{format_}-{megapixels:g}-{number}"))
        for (format_, megapixels), count in counts.items()
        for number in range(count)
    )
    return Survey(tuple(sorted(headers)), looked or len(headers), listed or len(headers), {})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four JPEGs and a PNG of up to a megapixel, a WebP of two, and what is no picture."""
    files = {
        **{f"{number}.jpg": picture(400 + number, 300) for number in range(4)},
        "below/drawing.png": picture(500, 500, "PNG"),
        "below/large.webp": picture(2000, 1000, "WEBP"),
        "notes.txt": b"what I did on my holidays, and more of it than one would like to read",
        "manual.pdf": b"%PDF-1.7\n" + bytes(100),
        "broken.jpg": b"\xff\xd8\xff\xd9" + bytes(60),
        "empty.jpg": b"",
        ".hidden.jpg": picture(9, 9),
    }
    for name, data in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    return tmp_path


# --- what there is ------------------------------------------------------------------------------------------------


def test_folder_is_counted_by_format_and_megapixels(folder: Path) -> None:
    found = survey(folder)
    kinds = Counter((header.format, round(header.megapixels, 1)) for header in found.headers)
    assert kinds == {("jpeg", 0.1): 4, ("png", 0.2): 1, ("webp", 2.0): 1}
    assert (found.looked, found.listed) == (9, 9)


def test_unusable_files_are_counted_by_reason(folder: Path) -> None:
    found = survey(folder)
    assert sum(map(len, found.others.values())) == 3
    assert "broken.jpg" in found.others["corrupt"]
    assert {"corrupt", "not-an-image"} <= set(found.others)


def test_survey_size_is_limited_and_seeded(folder: Path) -> None:
    for number in range(40):
        (folder / f"more-{number}.jpg").write_bytes((folder / "0.jpg").read_bytes())
    one, again, other = (survey(folder, seed, most=10) for seed in (1, 1, 2))
    assert one == again
    assert one.looked == 10
    assert one.listed == 49
    assert {header.path for header in one.headers} != {header.path for header in other.headers}


def test_long_header_is_read_further(tmp_path: Path) -> None:
    (tmp_path / "long.jpg").write_bytes(with_long_header(picture(640, 480)))
    found = survey(tmp_path)
    assert [header.megapixels for header in found.headers] == [640 * 480 / 1e6]


def test_folder_without_pictures_is_refused_with_reasons(tmp_path: Path) -> None:
    for empty in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(NoPictures, match=str(empty)):
            survey(empty)
    (tmp_path / "notes.txt").write_bytes(b"what I did on my holidays, and more of it than one would like to read")
    with pytest.raises(NoPictures, match=r"none of 1 files .*'notes\.txt': 1 x not-an-image"):
        survey(tmp_path)


# --- a few that stand for it --------------------------------------------------------------------------------------


def kinds_of(headers: list[Header]) -> Counter[tuple[str, float]]:
    return Counter((header.format, header.megapixels) for header in headers)


def test_sample_is_proportional() -> None:
    found = surveyed({("jpeg", 3): 100, ("jpeg", 12): 50, ("png", 1): 50})
    assert kinds_of(pick(found, 12)) == {("jpeg", 3): 6, ("jpeg", 12): 3, ("png", 1): 3}


@pytest.mark.parametrize("seed", range(5))
def test_counts_of_a_format_are_proportional_within_one(seed: int) -> None:
    counts = {"jpeg": 46, "png": 33, "webp": 21}  # 4.6, 3.3 and 2.1 of ten
    found = surveyed({(format_, 3): count for format_, count in counts.items()})
    sample = Counter(header.format for header in pick(found, 10, seed))
    assert sample.total() == 10
    assert all(abs(sample[format_] - count / 10) < 1 for format_, count in counts.items())


def test_sample_size_is_limited() -> None:
    few = surveyed({("jpeg", 3): 2, ("png", 1): 1})
    assert set(pick(few, 12)) == set(few.headers)
    many = surveyed({(f"format{number}", 3): 10 for number in range(20)})
    assert len(set(pick(many, 12))) == 12


def test_sample_has_small_and_large_pictures() -> None:
    found = surveyed({("jpeg", 4.1 + number / 100): 1 for number in range(100)})
    sizes = [header.megapixels for header in pick(found, 10)]
    assert all(0.05 < later - earlier < 0.15 for earlier, later in itertools.pairwise(sizes))


def test_the_same_seed_picks_the_same() -> None:
    found = surveyed({("jpeg", 4.1 + number / 100): 1 for number in range(100)})
    assert pick(found, 10, seed=3) == pick(found, 10, seed=3)
    assert pick(found, 10, seed=3) != pick(found, 10, seed=4)


def test_complete_sample_has_no_error() -> None:
    found = surveyed({("jpeg", 3): 2, ("png", 1): 1})
    assert sampling_error(found, 12) == pytest.approx(0, abs=1e-12)


def test_error_shrinks_with_sample_and_survey_size() -> None:
    counts = {("jpeg", 1.1 + number): 1 for number in range(100)}
    found = surveyed(counts)
    few, many = (sampling_error(found, count) for count in (4, 40))
    assert 0 < many < few
    part = surveyed(counts, looked=100, listed=10_000)
    assert sampling_error(part, 40) > many


def test_error_is_the_deviation_of_all_possible_samples() -> None:
    found = surveyed({("jpeg", 2): 50, ("png", 20): 50})  # a single picture is 9 off the mean of 11
    assert sampling_error(found, 1) == pytest.approx(9 / 11)
    assert sampling_error(found, 2) == pytest.approx(0)

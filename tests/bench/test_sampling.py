"""Samples of pictures: what there is by format and size, headers alone, a few that stand for all, clear refusals."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from bench.cells.pictures import NoPictures, pictures_in
from bench.money import sampling, sources
from bench.money.sampling import (
    Header,
    Survey,
    download,
    megapixel_class,
    pick,
    sampling_error,
    survey,
)
from bench.money.sources import FolderSource, S3Source, SourceError, source_of
from tests.support.cloud import SOURCE, Cloud
from tests.support.servers import ScriptedServer, error

FIRST_READ = sampling.HEADER_BYTES[0]


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
        Header(f"{format_}-{megapixels:g}-{number}", 1000, format_, megapixels)
        for (format_, megapixels), count in counts.items()
        for number in range(count)
    )
    return Survey(headers, looked or len(headers), listed or len(headers), True, {})


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
    found = survey(FolderSource(folder))
    kinds = Counter(header.kind for header in found.headers)
    assert kinds == {("jpeg", "<=1"): 4, ("png", "<=1"): 1, ("webp", "<=4"): 1}
    assert (found.looked, found.listed, found.complete) == (9, 9, True)
    assert found.largest_megapixels == 2.0


def test_unusable_files_are_counted_by_reason(folder: Path) -> None:
    found = survey(FolderSource(folder))
    assert sum(found.others.values()) == 3
    assert {"corrupt", "not-an-image"} <= set(found.others)


@pytest.mark.parametrize(
    ("megapixels", "name"), [(0.01, "<=1"), (1, "<=1"), (1.1, "<=4"), (12, "<=12"), (24, "<=24"), (24.2, ">24")]
)
def test_megapixel_classes_include_their_upper_ends(megapixels: float, name: str) -> None:
    assert megapixel_class(megapixels) == name


def test_survey_size_is_limited_and_seeded(folder: Path) -> None:
    for number in range(40):
        (folder / f"more-{number}.jpg").write_bytes((folder / "0.jpg").read_bytes())
    one, again, other = (survey(FolderSource(folder), seed, most=10) for seed in (1, 1, 2))
    assert one == again
    assert one.looked == 10
    assert one.listed == 49
    assert {header.key for header in one.headers} != {header.key for header in other.headers}


def test_cut_listing_is_incomplete(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MOST_KEYS", 9)
    assert FolderSource(folder).keys().complete
    monkeypatch.setattr(sources, "MOST_KEYS", 8)
    listing = FolderSource(folder).keys()
    assert not listing.complete
    assert len(listing.keys) == 8
    assert not survey(FolderSource(folder)).complete


def test_long_header_is_read_further(tmp_path: Path) -> None:
    (tmp_path / "long.jpg").write_bytes(with_long_header(picture(640, 480)))
    found = survey(FolderSource(tmp_path))
    assert [header.megapixels for header in found.headers] == [640 * 480 / 1e6]


def test_folder_without_pictures_is_refused_with_reasons(tmp_path: Path) -> None:
    for empty in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(NoPictures, match=str(empty)):
            survey(FolderSource(empty))
    (tmp_path / "notes.txt").write_bytes(b"what I did on my holidays, and more of it than one would like to read")
    with pytest.raises(NoPictures, match=r"none of the 1 .*1 x not-an-image.*'notes\.txt'"):
        survey(FolderSource(tmp_path))


# --- a few that stand for it --------------------------------------------------------------------------------------


def kinds_of(headers: list[Header]) -> Counter[tuple[str, str]]:
    return Counter(header.kind for header in headers)


def test_sample_is_proportional() -> None:
    found = surveyed({("jpeg", 3): 100, ("jpeg", 12): 50, ("png", 1): 50})
    assert kinds_of(pick(found, 12)) == {("jpeg", "<=4"): 6, ("jpeg", "<=12"): 3, ("png", "<=1"): 3}


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


def test_download_makes_files_from_any_key(tmp_path: Path) -> None:
    class Odd:
        def read(self, key: str, count: int | None = None) -> bytes:
            return key.encode()

        keys = None

    keys = ["a/one.jpg", "b/one.jpg", "c/.hidden.jpg", "d/ü [x]\n.png", "e/" + "x" * 400 + ".jpg", "f/"]
    headers = [Header(key, 1, "jpeg", 1) for key in keys]
    download(Odd(), headers, tmp_path / "new")  # type: ignore[arg-type]
    assert [path.read_bytes().decode() for path in pictures_in(tmp_path / "new")] == keys


# --- S3 -----------------------------------------------------------------------------------------------------------


class Watched:
    """Counts what is asked of S3 by operation, and keeps the ranges."""

    def __init__(self, source: S3Source) -> None:
        self.calls: Counter[str] = Counter()
        self.ranges: list[str | None] = []
        self._lock = threading.Lock()
        source._client.meta.events.register("before-call.s3", self._called)

    def _called(self, model: Any, params: Any, **_: object) -> None:
        with self._lock:
            self.calls[model.name] += 1
            if model.name == "GetObject":
                self.ranges.append(params["headers"].get("Range"))


def test_only_the_sample_is_fetched_whole(aws: Cloud, tmp_path: Path) -> None:
    for number in range(12):
        aws.put(f"in/{number} +ü.jpg", picture(400 + number, 300) + bytes(200_000))
    aws.put("in/long.jpg", with_long_header(picture(640, 480)))
    aws.put("elsewhere/other.jpg", picture(10, 10))
    aws.put("in/folder/", b"")
    source = S3Source(f"s3://{SOURCE}/in/")
    watched = Watched(source)
    found = survey(source)
    assert (found.looked, len(found.headers)) == (13, 13)
    assert watched.calls == {"ListObjectsV2": 1, "GetObject": 14}
    assert watched.ranges.count(f"bytes=0-{FIRST_READ - 1}") == 13
    picked = pick(found, 5)
    download(source, picked, tmp_path)
    assert watched.calls["GetObject"] == 14 + 5
    assert watched.ranges[14:] == [None] * 5
    assert sorted(path.stat().st_size for path in pictures_in(tmp_path)) == sorted(header.size for header in picked)


def test_listing_of_a_prefix_is_bounded(aws: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        aws.put(f"{number}.jpg", picture(20, 20))
    monkeypatch.setattr(sources, "MOST_KEYS", 3)
    listing = S3Source(f"s3://{SOURCE}").keys()
    assert [key for key, _ in listing.keys] == ["0.jpg", "1.jpg", "2.jpg"]
    assert not listing.complete


def test_object_deleted_during_the_survey_is_counted(aws: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    aws.put("a.jpg", picture(20, 20))
    source = S3Source(f"s3://{SOURCE}")
    there = sources.Listing((("a.jpg", 700), ("gone.jpg", 700)), True)
    monkeypatch.setattr(source, "keys", lambda: there)
    found = survey(source)
    assert [header.key for header in found.headers] == ["a.jpg"]
    assert found.others == {"deleted during the survey": 1}
    with pytest.raises(SourceError, match=r"gone\.jpg.*try again"):
        download(source, [Header("gone.jpg", 700, "jpeg", 1)], Path("."))


def test_empty_prefix_is_refused_by_name(aws: Cloud) -> None:
    with pytest.raises(NoPictures, match=f"s3://{SOURCE}/none: is empty"):
        survey(S3Source(f"s3://{SOURCE}/none"))


def test_missing_bucket_is_reported(aws: Cloud) -> None:
    with pytest.raises(
        SourceError, match=r"s3://no-such-bucket/x.*NoSuchBucket.*check the bucket's name.*AWS_ENDPOINT_URL"
    ):
        survey(S3Source("s3://no-such-bucket/x"))


@pytest.mark.parametrize(
    ("status", "code", "hint"),
    [
        (403, "AccessDenied", "s3:ListBucket.*s3:GetObject"),
        (403, "InvalidAccessKeyId", "credentials"),
        (400, "ExpiredToken", "credentials"),
    ],
)
def test_refused_access_has_a_hint(
    aws: Cloud, scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch, status: int, code: str, hint: str
) -> None:
    scripted.play(error(status, code))
    monkeypatch.setenv("AWS_ENDPOINT_URL", scripted.url)
    with pytest.raises(SourceError, match=f"s3://{SOURCE}.*{code}.*{hint}"):
        S3Source(f"s3://{SOURCE}").keys()


def test_unreachable_endpoint_is_named(aws: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(SourceError, match=r"Could not connect.*127\.0\.0\.1:1.*AWS_ENDPOINT_URL"):
        S3Source(f"s3://{SOURCE}").keys()


def test_missing_credentials_have_a_hint(aws: Cloud, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    with pytest.raises(SourceError, match="AWS_PROFILE"):
        S3Source(f"s3://{SOURCE}").keys()


def test_invalid_endpoint_is_reported(aws: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "localhost")
    with pytest.raises(SourceError, match="Invalid endpoint: localhost"):
        S3Source(f"s3://{SOURCE}")


def test_images_are_a_folder_or_an_s3_url(aws: Cloud, tmp_path: Path) -> None:
    assert isinstance(source_of(str(tmp_path)), FolderSource)
    assert str(source_of("s3://photos/a/b")) == "s3://photos/a/b"
    with pytest.raises(SourceError, match="expected s3://bucket"):
        source_of("s3:///prefix")

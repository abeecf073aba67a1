"""The testbed: full batches, events like those of S3, and a core for each side."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.cells import testbed as testbed_
from bench.cells.pictures import SAMPLES, NoPictures, Pictures, folder_set, reference_pictures, reference_sets
from bench.cells.testbed import (
    Cores,
    batches,
    copies_needed,
    cores,
    keys_of_pass,
    s3_event,
    set_up_testbed,
    visible_cores,
)
from bench.rig.enclosures import Enclosure
from bench.rig.limits import NoLimits
from bench.rig.processes import listens
from thumbnailer.events import parse_event, parse_text
from thumbnailer.model import EventKind


def some(count: int) -> Pictures:
    folder = Path("/pictures")
    return Pictures("photos", folder, tuple(folder / f"{number}.jpg" for number in range(count)))


# --- a pass -------------------------------------------------------------------------------------------------------


@given(st.integers(1, 60), st.integers(1, 50))
def test_a_pass_has_all_pictures_equally_often(count: int, batch_size: int) -> None:
    pictures = some(count)
    keys = keys_of_pass(pictures, batch_size)
    assert len(set(keys)) == len(keys)  # so none is twice in a batch
    copies = copies_needed(count, batch_size)
    assert Counter(key.partition("/")[2] for key in keys) == dict.fromkeys(pictures.keys, copies)
    assert keys == keys_of_pass(pictures, batch_size)


@given(st.integers(1, 60), st.integers(1, 50))
def test_batches_are_full_if_ten_copies_suffice(count: int, batch_size: int) -> None:
    keys = keys_of_pass(some(count), batch_size)
    sizes = [len(batch) for batch in batches(keys, batch_size)]
    assert [key for batch in batches(keys, batch_size) for key in batch] == keys
    assert sizes[0] == batch_size
    if any(count * copies % batch_size == 0 for copies in range(1, 11)):
        assert set(sizes) == {batch_size}


def test_copies_fill_the_batches_exactly() -> None:
    assert [copies_needed(10, size) for size in (1, 2, 5, 10, 20)] == [1, 1, 1, 1, 2]
    assert copies_needed(3, 10) == 10
    assert copies_needed(7, 20) == 3  # 20 would fill all


# --- events -------------------------------------------------------------------------------------------------------

ODD = "00/a b+c/ü 100%.jpg"


def test_our_parser_reads_events_with_any_key() -> None:
    found = parse_event(s3_event(["00/one.jpg", ODD]))
    assert [(one.kind, one.bucket, one.key) for one in found] == [
        (EventKind.CREATED, "bench", "00/one.jpg"),
        (EventKind.CREATED, "bench", ODD),
    ]
    assert [one.key for one in parse_text(json.dumps(s3_event([ODD])))] == [ODD]


def test_an_event_has_the_fields_of_real_s3_events() -> None:
    """As in AWS's own, of the same version; size and tag are among what a handler can do without."""
    real = json.loads((Path(__file__).parents[1] / "events" / "s3_put.json").read_text())["Records"][0]
    ours = s3_event(["k"])["Records"][0]
    assert ours.keys() <= real.keys()
    assert ours["s3"].keys() <= real["s3"].keys()
    for part in ("bucket", "object"):
        assert ours["s3"][part].keys() <= real["s3"][part].keys()
    assert (ours["eventSource"], ours["eventVersion"].partition(".")[0]) == ("aws:s3", "2")


# --- cores --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("memory", "seen"),
    [(128, 2), (3008, 2), (3009, 3), (5307, 3), (5308, 4), (7076, 4), (8845, 5), (8846, 6), (10_240, 6)],
)
def test_visible_cores_match_aws(memory: int, seen: int) -> None:
    assert visible_cores(memory) == seen


def test_a_cell_gets_its_visible_cores() -> None:
    there = Cores((0, 1, 2, 3), 4)
    assert there.for_cell(0.25, 2) == (0, 1)
    assert there.for_cell(2.4, 1) == (0, 1, 2)
    assert there.for_cell(4.0, 6) == (0, 1, 2, 3)
    assert Cores((5,), 6).for_cell(1.0, 2) == (5,)


def test_a_share_above_the_available_cores_is_refused() -> None:
    with pytest.raises(NoLimits, match=r"1\.7 vCPUs cannot be given: of this machine's 2 cores one is for S3"):
        Cores((0,), 1).for_cell(1.7004, 2)


def test_s3_gets_the_last_core_and_one_core_is_too_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {7, 2, 4})
    assert cores() == Cores((2, 4), 7)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3})
    with pytest.raises(NoLimits, match="a cell and S3 need a core each, and there is one here"):
        cores()


# --- pictures -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("quick", "photos"), [(False, 10), (True, 5)])
def test_photos_are_jpegs_of_both_kinds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick: bool, photos: int
) -> None:
    def make(pictures: Iterable[object], folder: Path) -> None:
        for each in reference_pictures(quick):
            (folder / each.name).write_bytes(b"x")

    monkeypatch.setattr("bench.cells.pictures._make", make)
    sets = reference_sets(quick, tmp_path)
    sizes = {name: sets.pop(name).files for name in list(sets) if "-" in name}
    assert {path for files in sizes.values() for path in files} == {path for one in sets.values() for path in one.files}
    assert all(path.name.startswith(f"{name}-") for name, files in sizes.items() for path in files)
    assert set(sets) == {"photos", "baseline", "progressive", "rgb", "lossy"}
    assert len(sets["photos"].files) == photos
    assert {path.name.split("-")[1] for path in sets["photos"].files} == {"baseline", "progressive"}
    assert {name: sets[name].endings for name in ("baseline", "progressive", "rgb", "lossy")} == {
        "baseline": {".jpg"},
        "progressive": {".jpg"},
        "rgb": {".png"},
        "lossy": {".webp"},
    }
    assert all(len(set(pictures.keys)) == len(pictures.files) >= 2 for pictures in sets.values())


def test_a_user_folder_is_one_set_with_subfolders_in_keys(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.JPG").write_bytes(b"x")
    (tmp_path / "b.png").write_bytes(b"x")
    found = folder_set(tmp_path)
    assert found.keys == ["b.png", "in/a.JPG"]
    assert found.endings == {".png", ".jpg"}
    assert found.description().count == 2
    with pytest.raises(NoPictures, match="is no folder"):
        folder_set(tmp_path / "none")


# --- the bed itself -----------------------------------------------------------------------------------------------


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_the_bucket_has_all_copies_until_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(testbed_, "cache", lambda: tmp_path / "cache")
    mine = tmp_path / "mine"
    mine.mkdir()
    shutil.copy(SAMPLES / "rocket.jpg", mine / ODD.rpartition("/")[2])
    before = os.sched_getaffinity(0)
    sets = {"photos": folder_set(mine)}
    with set_up_testbed(sets, Enclosure("none"), copies=3) as there:
        copies = [there.pictures / f"0{copy}" / key for copy in range(3) for key in sets["photos"].keys]
        assert all(path.read_bytes() == (SAMPLES / "rocket.jpg").read_bytes() for path in copies)
        assert len({path.stat().st_ino for path in copies}) == 1  # no bytes of their own
        assert (there.s3.folder / "bench-resized").is_dir()
        assert os.sched_getaffinity(0) == {there.cores.support}
        assert there.environment("loopback")["AWS_ENDPOINT_URL"] == there.proxy("loopback").url
        assert there.proxy("loopback") is not there.proxy("near")
        port = there.s3.port
    assert os.sched_getaffinity(0) == before
    assert not listens(port)
    assert not list((tmp_path / "cache").iterdir())
    assert [path.name for path in mine.iterdir()] == [ODD.rpartition("/")[2]]

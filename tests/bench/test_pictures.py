"""The reference set: every size and kind, the same bytes each time, and a hash."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bench.cells import pictures
from bench.cells.pictures import KINDS, MEGAPIXELS, NoPictures, folder_set, reference_folder, reference_pictures
from thumbnailer.formats import probe
from thumbnailer.model import Format


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pictures of 1 MP."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "MEGAPIXELS", (1,))
        return reference_folder(folder=tmp_path_factory.mktemp("set"))


def test_every_size_and_kind_has_two_photos() -> None:
    full = reference_pictures()
    assert {(each.megapixels, each.kind) for each in full} == {(mp, kind) for mp in MEGAPIXELS for kind in KINDS}
    assert len({each.name for each in full}) == len(full) == 2 * len(MEGAPIXELS) * len(KINDS)
    assert all((pictures.SAMPLES / each.photo).exists() for each in full)


def test_the_quick_set_is_a_subset_with_every_kind() -> None:
    assert set(reference_pictures(quick=True)) < set(reference_pictures())
    assert {each.kind for each in reference_pictures(quick=True)} == set(KINDS)


def test_pictures_match_their_names(made: Path) -> None:
    kinds = {"baseline": Format.JPEG, "progressive": Format.JPEG, "rgb": Format.PNG, "lossy": Format.WEBP}
    assert len(folder_set(made).files) == 2 * len(KINDS)
    for path in folder_set(made).files:
        data = path.read_bytes()
        info = probe(data, len(data))
        assert info.format is kinds[path.name.split("-")[1]]
        assert info.progressive is ("progressive" in path.name)
        assert info.pixels == pytest.approx(1e6, rel=0.01)
        assert not info.icc


def test_the_same_set_is_made_each_time(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MEGAPIXELS", (1,))
    again = reference_folder(folder=tmp_path)
    assert folder_set(again).description() == folder_set(made).description()
    assert [path.name for path in tmp_path.iterdir()] == [again.name]


def test_a_set_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Path] = []

    def make(_: object, folder: Path) -> None:
        calls.append(folder)
        (folder / "one.jpg").write_bytes(b"x")

    monkeypatch.setattr(pictures, "_make", make)
    first = reference_folder(folder=tmp_path)
    assert reference_folder(folder=tmp_path) == first
    assert len(calls) == 1
    assert [path.name for path in folder_set(first).files] == ["one.jpg"]


def test_the_hash_covers_names_and_bytes_only(made: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(made, tmp_path / "copy"))
    before = folder_set(copy).description()
    assert before == folder_set(made).description()
    path = folder_set(copy).files[0]
    data = path.read_bytes()
    path.write_bytes(data[:-1] + b"!")
    assert folder_set(copy).description().hash != before.hash
    path.write_bytes(data)
    assert folder_set(copy).description() == before
    path.rename(path.with_name("zz.jpg"))
    assert folder_set(copy).description().hash != before.hash


def test_a_folder_without_pictures_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(NoPictures, match=str(folder)):
            folder_set(folder).description()

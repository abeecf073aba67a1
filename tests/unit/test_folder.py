"""A folder as an object store."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.pipelines import read, run
from thumbnailer.errors import BucketMissing, ObjectMissing, StoreDenied, StoreUnavailable
from thumbnailer.store.base import PutHeaders
from thumbnailer.store.folder import FolderStore


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with files, and things around it that no key may reach."""
    folder = tmp_path / "pictures"
    (folder / "a b").mkdir(parents=True)
    (folder / "a b" / "ü+%.jpg").write_bytes(b"x" * 3_000_000)
    (tmp_path / "secret").write_bytes(b"secret")
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "out").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe")
    return folder


def test_a_file_is_an_object(root: Path) -> None:
    store = FolderStore(str(root), "folder")
    key = "a b/ü+%.jpg"
    assert run(read(store, key, "folder")) == b"x" * 3_000_000
    first = run(store.head("folder", key))
    (root / key).write_bytes(b"y")
    assert first is not None
    assert run(store.head("folder", key)) not in (first, None)
    run(store.aclose())


@pytest.mark.parametrize(
    "key",
    [
        "none",
        "link",
        "out/secret",
        "../secret",
        "a b/../../secret",
        "/a b",
        "a b",
        "a b/",
        "pipe",
        "x\0",
        "",
        "a" * 999,
    ],
)
def test_no_key_leads_out_of_the_folder(root: Path, key: str) -> None:
    store = FolderStore(str(root), "folder")
    with pytest.raises(ObjectMissing):
        run(read(store, key, "folder"))
    assert run(store.head("folder", key)) is None
    run(store.aclose())


def test_the_folder_is_the_only_bucket_and_read_only(root: Path) -> None:
    store = FolderStore(str(root), "folder")
    with pytest.raises(BucketMissing):
        run(read(store, "a b/ü+%.jpg", "other"))
    with pytest.raises(StoreDenied):
        run(store.put("folder", "new", b"", PutHeaders("image/jpeg")))
    with pytest.raises(StoreDenied):
        run(store.delete("folder", "a b/ü+%.jpg"))
    run(store.aclose())
    assert sorted(path.name for path in root.iterdir()) == ["a b", "link", "out", "pipe"]


def test_a_file_that_shrinks_while_it_is_read_is_tried_again(root: Path) -> None:
    async def work() -> None:
        store = FolderStore(str(root), "folder")
        async with store.open("folder", "a b/ü+%.jpg") as body:
            (root / "a b/ü+%.jpg").write_bytes(b"")
            with pytest.raises(StoreUnavailable):
                [chunk async for chunk in body.chunks()]
        await store.aclose()

    run(work())


def test_files_are_closed(root: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    store = FolderStore(str(root), "folder")
    for key in ("a b/ü+%.jpg", "none", "out/secret", "pipe"):
        run(store.head("folder", key))
    run(store.aclose())
    assert len(os.listdir("/proc/self/fd")) == before

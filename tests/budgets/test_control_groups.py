"""The whole pipeline under a real memory limit: the kernel kills whatever takes more, and it must have nothing to kill.

What is in the group is one process, as in a Lambda: interpreter, store, both engines, and whatever is in work.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.rig.limits import Group, NoLimits
from bench.rig.limits import limited as in_group
from tests.support.corpus import CORPUS, needs_corpus, rows
from tests.tools import ladder

MB = 1 << 20
MEMORY_MB = (128, 256, 512, 1024)
ONE_BY_ONE, MIXED, ISOLATED = "0", "1", "isolated"
THREE = "s=128x128:jpeg,m=1024x1024:jpeg,c=512x512:cover:jpeg"
LADDER = {
    1.0: ("alpha-interlaced.png", "rgb.avif", "frames.gif", "rgb.heic"),
    5.0: ("alpha.png", "16bit-interlaced.png", "lossless.webp", "444.avif", "lossless.jxl"),
    12.0: ("rgb.jpg", "rgb-progressive.jpg", "rgb.webp", "one-strip.tif"),
    24.0: ("444-progressive.jpg", "rgb.png", "tiles1024.tif"),
}
"""Of each kind some that fit into 128 MB and some that do not."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process went that worked on a folder."""

    statuses: dict[str, list[str]]
    reasons: set[str | None]
    kills: int
    returncode: int
    stderr: str


def worked(group: Group, folder: Path, memory_mb: int, renditions: str, *how: str) -> Ended:
    """The process joins the group before it becomes Python, so that all it ever takes counts."""
    program = [sys.executable, "-m", "tests.budgets.limited", str(folder), str(memory_mb), renditions, *how]
    command = group.joining(program)
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    statuses: dict[str, list[str]] = {}
    reasons: set[str | None] = set()
    for key, status, reason, _ in map(json.loads, done.stdout.splitlines()):
        statuses.setdefault(key, []).append(status)
        reasons.add(reason)
    return Ended(statuses, reasons, group.kills, done.returncode, done.stderr[-2000:])


def limited(folder: Path, memory_mb: int, renditions: str, *how: str) -> Ended:
    try:
        with in_group(memory_mb * MB) as group:
            return worked(group, folder, memory_mb, renditions, *how)
    except NoLimits as reason:
        pytest.skip(f"no memory limit can be set: {reason}")


def assert_nothing_was_killed(ended: Ended, files: int, rounds: int) -> None:
    assert (ended.kills, ended.returncode) == (0, 0), ended.stderr
    assert "engine-crash" not in ended.reasons
    assert len(ended.statuses) == files
    assert {len(statuses) for statuses in ended.statuses.values()} == {rounds}
    assert {status for statuses in ended.statuses.values() for status in statuses} <= {"stored", "rejected"}


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("ladder")
    for megapixels, kinds in LADDER.items():
        image = ladder.picture(megapixels)
        for kind in kinds:
            ladder.write(folder, megapixels, kind, image)
    yield folder
    shutil.rmtree(folder)


def test_a_limit_is_really_a_limit(tmp_path: Path) -> None:
    """Else none of the others could fail."""
    hog = [sys.executable, "-c", f"bytearray({100 * MB})"]
    try:
        with in_group(32 * MB) as group:
            killed = subprocess.run(group.joining(hog), check=False)
            assert killed.returncode == -9
            assert group.kills == 1
    except NoLimits as reason:
        pytest.skip(f"no memory limit can be set: {reason}")


@pytest.mark.parametrize("renditions", ["128x128", THREE], ids=["one thumbnail", "three"])
@pytest.mark.parametrize("memory_mb", MEMORY_MB)
def test_no_large_picture_nor_any_mix_of_them_gets_the_process_killed(
    pictures: Path, memory_mb: int, renditions: str
) -> None:
    files = len(list(pictures.iterdir()))
    ended = limited(pictures, memory_mb, renditions, f"{ONE_BY_ONE},{MIXED}")
    assert_nothing_was_killed(ended, files, rounds=2)
    assert any("stored" in statuses for statuses in ended.statuses.values())


@pytest.mark.skipif(ladder.CJXL is None, reason="cjxl (Debian: libjxl-tools) is not installed")
@pytest.mark.parametrize("memory_mb", [256, 512])
def test_no_jpeg_xl_as_it_is_published_gets_the_process_killed(memory_mb: int, tmp_path: Path) -> None:
    """With alpha, or of squeezed planes, libjxl takes five times the memory that it takes else."""
    image = ladder.picture(12.0)
    for kind in ("photo.jxl", "alpha.jxl", "modular.jxl"):
        ladder.write(tmp_path, 12.0, kind, image)
    ended = limited(tmp_path, memory_mb, "128x128", f"{ONE_BY_ONE},{MIXED}")
    assert_nothing_was_killed(ended, 3, rounds=2)
    assert "stored" in ended.statuses["12-photo.jxl"]


@needs_corpus
@pytest.mark.parametrize("memory_mb", MEMORY_MB)
def test_no_file_of_the_corpus_nor_any_mix_of_them_gets_the_process_killed(memory_mb: int, tmp_path: Path) -> None:
    for row in rows():
        (tmp_path / row.file).symlink_to(CORPUS / row.file)
    ended = limited(tmp_path, memory_mb, "128x128", f"{ONE_BY_ONE},{MIXED}")
    assert_nothing_was_killed(ended, len(rows()), rounds=2)
    stored = sum("stored" in statuses for statuses in ended.statuses.values())
    assert stored > len(rows()) // 2


@needs_corpus
@pytest.mark.parametrize("memory_mb", [128, 512])
def test_children_beside_the_process_get_nothing_killed_either(memory_mb: int, tmp_path: Path, pictures: Path) -> None:
    """As many as there are workers, or as fit; every file of the corpus, and the large pictures."""
    files = [CORPUS / row.file for row in rows()] + list(pictures.iterdir())
    for file in files:
        (tmp_path / file.name).symlink_to(file)
    ended = limited(tmp_path, memory_mb, "128x128", MIXED, ISOLATED)
    assert_nothing_was_killed(ended, len(files), rounds=1)

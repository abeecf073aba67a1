"""The pipeline under a memory limit: the kernel kills a process that exceeds it, and it must not kill any.

The control group holds one process, as in a Lambda: interpreter, store, both engines and all pictures in work.
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

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]

MB = 1 << 20
MEMORY_MB = (128, 256, 512, 1024)
ONE_BY_ONE, MIXED = "0", "1"
THREE = "s=128x128:jpeg,m=1024x1024:jpeg,c=512x512:cover:jpeg"
LADDER = {
    1.0: ("alpha-interlaced.png", "rgb.avif", "frames.gif", "rgb.heic"),
    5.0: ("alpha.png", "16bit-interlaced.png", "lossless.webp", "444.avif", "lossless.jxl"),
    12.0: ("rgb.jpg", "rgb-progressive.jpg", "rgb.webp", "one-strip.tif"),
    24.0: ("444-progressive.jpg", "rgb.png", "tiles1024.tif"),
}
"""By megapixels: kinds that fit into 128 MB and kinds that do not."""


@dataclass(frozen=True, slots=True)
class Run:
    """The results of a process that worked through a folder."""

    statuses: dict[str, list[str]]
    reasons: set[str | None]
    kills: int
    returncode: int
    stderr: str


def process_folder(group: Group, folder: Path, memory_mb: int, renditions: str, *how: str) -> Run:
    """The process joins the group before it starts Python, so the group counts all of its memory."""
    program = [sys.executable, "-m", "tests.budgets.limited", str(folder), str(memory_mb), renditions, *how]
    command = group.command(program)
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    statuses: dict[str, list[str]] = {}
    reasons: set[str | None] = set()
    for key, status, reason, _ in map(json.loads, done.stdout.splitlines()):
        statuses.setdefault(key, []).append(status)
        reasons.add(reason)
    return Run(statuses, reasons, group.kills, done.returncode, done.stderr[-2000:])


def limited(folder: Path, memory_mb: int, renditions: str, *how: str) -> Run:
    try:
        with in_group(memory_mb * MB) as group:
            return process_folder(group, folder, memory_mb, renditions, *how)
    except NoLimits as reason:
        pytest.skip(f"no memory limit can be set: {reason}")


def assert_no_process_was_killed(run: Run, files: int, rounds: int) -> None:
    assert (run.kills, run.returncode) == (0, 0), run.stderr
    assert "engine-crash" not in run.reasons
    assert len(run.statuses) == files
    assert {len(statuses) for statuses in run.statuses.values()} == {rounds}
    assert {status for statuses in run.statuses.values() for status in statuses} <= {"stored", "rejected"}


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("ladder")
    for megapixels, kinds in LADDER.items():
        image = ladder.picture(megapixels)
        for kind in kinds:
            ladder.write(folder, megapixels, kind, image)
    yield folder
    shutil.rmtree(folder)


def test_the_kernel_enforces_the_limit(tmp_path: Path) -> None:
    """Without a working limit no other test here could fail."""
    hog = [sys.executable, "-c", f"bytearray({100 * MB})"]
    try:
        with in_group(32 * MB) as group:
            killed = subprocess.run(group.command(hog), check=False)
            assert killed.returncode == -9
            assert group.kills == 1
    except NoLimits as reason:
        pytest.skip(f"no memory limit can be set: {reason}")


@pytest.mark.parametrize("renditions", ["128x128", THREE], ids=["one thumbnail", "three"])
@pytest.mark.parametrize("memory_mb", MEMORY_MB)
def test_large_pictures_one_by_one_and_mixed_stay_within_the_limit(
    pictures: Path, memory_mb: int, renditions: str
) -> None:
    files = len(list(pictures.iterdir()))
    run = limited(pictures, memory_mb, renditions, f"{ONE_BY_ONE},{MIXED}")
    assert_no_process_was_killed(run, files, rounds=2)
    assert any("stored" in statuses for statuses in run.statuses.values())


@pytest.mark.skipif(ladder.CJXL is None, reason="cjxl (Debian: libjxl-tools) is not installed")
@pytest.mark.parametrize("memory_mb", [256, 512])
def test_published_kinds_of_jpeg_xl_stay_within_the_limit(memory_mb: int, tmp_path: Path) -> None:
    """libjxl takes five times the memory for alpha or for squeezed planes."""
    image = ladder.picture(12.0)
    for kind in ("photo.jxl", "alpha.jxl", "modular.jxl"):
        ladder.write(tmp_path, 12.0, kind, image)
    run = limited(tmp_path, memory_mb, "128x128", f"{ONE_BY_ONE},{MIXED}")
    assert_no_process_was_killed(run, 3, rounds=2)
    assert "stored" in run.statuses["12-photo.jxl"]


@needs_corpus
@pytest.mark.parametrize("memory_mb", MEMORY_MB)
def test_corpus_files_one_by_one_and_mixed_stay_within_the_limit(memory_mb: int, tmp_path: Path) -> None:
    for row in rows():
        (tmp_path / row.file).symlink_to(CORPUS / row.file)
    run = limited(tmp_path, memory_mb, "128x128", f"{ONE_BY_ONE},{MIXED}")
    assert_no_process_was_killed(run, len(rows()), rounds=2)
    stored = sum("stored" in statuses for statuses in run.statuses.values())
    assert stored > len(rows()) // 2


@needs_corpus
@pytest.mark.parametrize("isolation", ["redelivered", "always"])
@pytest.mark.parametrize("memory_mb", [128, 512])
def test_child_processes_stay_within_the_limit(memory_mb: int, isolation: str, tmp_path: Path, pictures: Path) -> None:
    """As many children as there are workers or as fit, for the corpus and the large pictures."""
    files = [CORPUS / row.file for row in rows()] + list(pictures.iterdir())
    for file in files:
        (tmp_path / file.name).symlink_to(file)
    run = limited(tmp_path, memory_mb, "128x128", MIXED, isolation)
    assert_no_process_was_killed(run, len(files), rounds=1)

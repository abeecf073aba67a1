"""`thumbnailer resize` as a child process: what it writes, what it refuses, and what is left after Ctrl-C."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from handler.tables import outcome_table
from tests.support.commands import thumbnailer
from tests.support.pictures import SAMPLE_FOLDER, opened
from thumbnailer.model import EventKind, ObjectEvent, Outcome, Status

ROCKET = SAMPLE_FOLDER / "rocket.jpg"
LATIN_1 = os.fsdecode(b"caf\xe9.jpg")
MOST_MEMORY_KB = 400 * 1024
MEASURED = r"""
import re
from handler.cli import main
try:
    main()
finally:
    print(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1])
"""
"""In KB, of this process only: `ru_maxrss` would include its parent before the exec."""


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder that is the working directory of no test: two photos, a folder in it, and a text."""
    folder = tmp_path / "my photos"
    (folder / "holidays" / "2024").mkdir(parents=True)
    for name in ("a.jpg", "b.jpg", "holidays/2024/c d.jpg"):
        shutil.copy(ROCKET, folder / name)
    (folder / "notes.txt").write_text("no picture")
    (folder / ".hidden.jpg").write_bytes(ROCKET.read_bytes())
    return folder


def files(folder: Path) -> dict[str, str]:
    """Hashes by name below the folder."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.md5(path.read_bytes()).hexdigest() for path in found}


# --- row 55: no source is replaced, nothing is written outside the folder ---------------------------------------------


def refused(folder: Path, *arguments: str | Path, says: str, **env: str) -> None:
    """With and without --overwrite: exit code 2, a sentence, and no file is changed or made below `folder`."""
    before = files(folder)
    for more in ((), ("--overwrite",)):
        ended = thumbnailer("resize", *arguments, *more, **env)
        assert ended.returncode == 2, ended.stdout + ended.stderr
        assert says in ended.stderr, ended.stderr
        assert "Traceback" not in ended.stderr
        assert files(folder) == before


@pytest.mark.matrix(55)
@pytest.mark.parametrize("name", ["same", "link to the folder", "other/.."])
def test_a_source_is_never_replaced(photos: Path, name: str) -> None:
    (photos.parent / "link to the folder").symlink_to(photos)
    (photos / "other").mkdir()
    out = {"same": photos, "other/..": photos / "other" / ".."}.get(name, photos.parent / name)
    refused(photos.parent, photos / "a.jpg", photos / "b.jpg", "-o", out, says="would replace the source")


@pytest.mark.matrix(55)
@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_a_source_is_never_replaced_under_another_name(photos: Path, link: object) -> None:
    out = photos.parent / "out"
    out.mkdir()
    assert callable(link)
    link(photos / "b.jpg", out / "a.jpg")
    refused(photos.parent, photos / "a.jpg", photos / "b.jpg", "-o", out, says="would replace the source")


@pytest.mark.matrix(55)
def test_a_link_in_the_folder_is_not_written_through(photos: Path) -> None:
    out = photos.parent / "out"
    out.mkdir()
    (out / "a.jpg").symlink_to(photos / "b.jpg")
    before = files(photos)
    assert thumbnailer("resize", photos / "a.jpg", "-o", out, "--overwrite").returncode == 0
    assert files(photos) == before
    assert not (out / "a.jpg").is_symlink()


@pytest.mark.matrix(55)
@pytest.mark.parametrize("names", [("x.heic", "x.heic.jpg"), ("a.jpg", "A.jpg"), ("a.jpg", "folder/a.jpg")])
def test_two_sources_of_one_thumbnail_are_refused(tmp_path: Path, names: tuple[str, str]) -> None:
    (tmp_path / "folder").mkdir()
    for name in names:
        shutil.copy(SAMPLE_FOLDER / "retina.heic" if name.endswith(".heic") else ROCKET, tmp_path / name)
    refused(tmp_path, *(tmp_path / name for name in names), "-o", tmp_path / "out", says="two folders")


@pytest.mark.matrix(55)
@pytest.mark.parametrize("template", ["../{stem}-{name}.{ext}", "/{key}", "x/../../{key}"])
def test_nothing_is_written_outside_the_folder(photos: Path, template: str) -> None:
    out = photos.parent / "out"
    refused(photos.parent, photos / "a.jpg", "-o", out, says="outside", THUMBNAILER_KEY=template)


@pytest.mark.matrix(55)
def test_a_link_leads_out_of_the_folder_no_more(photos: Path) -> None:
    out, elsewhere = photos.parent / "out", photos.parent / "elsewhere"
    out.mkdir()
    elsewhere.mkdir()
    (out / "holidays").symlink_to(elsewhere)
    refused(photos.parent, photos, "-r", "-o", out, says="outside")


@pytest.mark.matrix(55)
def test_an_empty_dir_in_the_template_leaves_no_slash(photos: Path) -> None:
    out = photos.parent / "out"
    ended = thumbnailer("resize", photos, "-r", "-o", out, THUMBNAILER_KEY="{dir}/{stem}-{name}.{ext}")
    assert ended.returncode == 0, ended.stderr
    assert set(files(out)) == {"a-128x128.jpg", "b-128x128.jpg", "holidays/2024/c d-128x128.jpg"}


# --- folders and options ----------------------------------------------------------------------------------------------


def test_a_folder_gives_the_thumbnails_that_the_options_ask_for(photos: Path) -> None:
    out = photos / "small"
    options = ("--size", "90x60", "--fit", "cover", "--format", "webp", "--quality", "80")
    for recursive, expected in (((), {"a.jpg.webp", "b.jpg.webp"}), (("--recursive",), {"holidays/2024/c d.jpg.webp"})):
        ended = thumbnailer("resize", photos, "-o", out, *options, *recursive)
        assert ended.returncode == 0, ended.stderr
        assert expected <= set(files(out))
        assert "notes.txt" in ended.stdout
    assert "2 of 3 pictures have a thumbnail already" in ended.stdout
    assert len(files(out)) == 3
    made = opened((out / "a.jpg.webp").read_bytes())
    assert (made.format, made.size) == ("WEBP", (90, 60))


def test_renditions_give_several_thumbnails_of_a_picture(photos: Path) -> None:
    out = photos.parent / "out"
    ended = thumbnailer("resize", photos / "a.jpg", "-o", out, "--renditions", "s=16x16,l=64x64:webp")
    assert ended.returncode == 0, ended.stderr
    assert set(files(out)) == {"a.jpg/s.jpg", "a.jpg/l.webp"}


def test_existing_files_stay_without_overwrite(photos: Path) -> None:
    out = photos.parent / "out"
    out.mkdir()
    (out / "a.jpg").write_text("mine")
    assert thumbnailer("resize", photos / "a.jpg", "-o", out).returncode == 0
    assert (out / "a.jpg").read_text() == "mine"
    assert thumbnailer("resize", photos / "a.jpg", "-o", out, "--overwrite").returncode == 0
    assert opened((out / "a.jpg").read_bytes()).size == (128, 85)


def test_settings_about_buckets_have_no_effect_on_files(photos: Path) -> None:
    env = {"SOURCES": "photos", "DESTINATION": "files", "FAILED_PREFIX": "a"}
    ended = thumbnailer(
        "resize", photos / "a.jpg", "-o", photos.parent / "out", **{f"THUMBNAILER_{k}": v for k, v in env.items()}
    )
    assert ended.returncode == 0, ended.stdout
    assert set(files(photos.parent / "out")) == {"a.jpg"}


def test_names_that_are_not_utf_8_work(photos: Path) -> None:
    shutil.copy(ROCKET, photos / LATIN_1)
    (photos / LATIN_1.replace("caf", "bad")).write_text("no picture")
    bad = photos / LATIN_1.replace("caf", "bad")
    ended = thumbnailer("resize", photos / LATIN_1, bad, photos / "b.jpg", "-o", photos / "out")
    assert ended.returncode == 1, ended.stderr
    assert set(files(photos / "out")) == {LATIN_1, "b.jpg"}
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("a.jpg", "--size", "9x9:covr"), "the nearest is 'cover'"),
        (("a.jpg", "--size", "9x9", "--format", "jpg"), "the nearest is 'jpeg'"),
        (("a.jpg", "--size", "9"), "[name=]WxH"),
        (("a.jpg", "--format", "webp"), "go with --size"),
        (("holidays",), "--recursive"),
        (("/dev/null",), "neither a file nor a folder"),
        (("missing.jpg",), "does not exist"),
    ],
)
def test_wrong_usage_gives_exit_code_2_and_a_sentence(photos: Path, arguments: tuple[str, ...], says: str) -> None:
    first, *rest = arguments
    ended = thumbnailer("resize", photos / first, *rest, "-o", photos / "out")
    assert ended.returncode == 2
    assert says in ended.stderr, ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (photos / "out").exists()


def test_a_file_in_the_place_of_a_folder_is_a_clear_error(photos: Path) -> None:
    out = photos.parent / "out"
    assert thumbnailer("resize", photos / "a.jpg", "-o", out).returncode == 0
    ended = thumbnailer("resize", photos / "a.jpg", "-o", out, "--renditions", "s=16x16,l=64x64")
    assert ended.returncode == 2
    assert "a.jpg is a file" in ended.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_unreadable_sources_are_named(photos: Path) -> None:
    (photos / "a.jpg").chmod(0)
    ended = thumbnailer("resize", photos, "-o", photos / "out")
    assert (ended.returncode, set(files(photos / "out"))) == (1, {"b.jpg"})
    assert "a.jpg: Permission denied" in ended.stdout
    (photos / "holidays").chmod(0)
    ended = thumbnailer("resize", photos, "-r", "-o", photos / "out")
    (photos / "holidays").chmod(0o700)
    assert ended.returncode == 2
    assert "Permission denied" in ended.stderr


def test_a_folder_that_cannot_be_made_gives_exit_code_2(photos: Path) -> None:
    ended = thumbnailer("resize", photos / "a.jpg", "-o", photos / "b.jpg" / "out")
    assert ended.returncode == 2
    assert "Not a directory" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_version_is_printed() -> None:
    assert thumbnailer("--version").stdout.startswith("thumbnailer 0.")


@pytest.mark.parametrize("length", [3, 40, 50])
def test_a_narrow_table_keeps_names_whole(photos: Path, length: int) -> None:
    name = "n" * length + ".jpg"
    (photos / "a.jpg").rename(photos / name)
    (photos / "b.jpg").write_bytes(ROCKET.read_bytes()[:9000])
    ended = thumbnailer("resize", photos / name, photos / "b.jpg", "-o", photos / "out", COLUMNS="80")
    assert max(map(len, ended.stdout.splitlines())) <= 80
    assert name in ended.stdout
    assert "rejected:corrupt" in ended.stdout
    assert "of its 427 rows" in ended.stdout


def test_an_outcome_without_details_fits_every_terminal() -> None:
    outcome = Outcome(ObjectEvent(EventKind.CREATED, "b", "k"), Status.SKIPPED)
    assert outcome_table([outcome], 10)


# --- memory and Ctrl-C ------------------------------------------------------------------------------------------------


def large_picture(path: Path) -> None:
    """A JPEG with 22 MB of data behind its end: its bytes are read, its pixels cost little."""
    path.write_bytes(ROCKET.read_bytes() + bytes(22_000_000))


def test_a_hundred_large_sources_take_the_memory_of_a_few(photos: Path) -> None:
    large_picture(photos / "a.jpg")
    for number in range(100):
        (photos / f"large-{number}.jpg").hardlink_to(photos / "a.jpg")
    command = [
        sys.executable,
        "-c",
        MEASURED,
        "resize",
        *map(str, photos.glob("large-*.jpg")),
        "-o",
        str(photos / "out"),
    ]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    assert int(ended.stdout.splitlines()[-1]) < MOST_MEMORY_KB
    assert len(files(photos / "out")) == 100


def test_ctrl_c_keeps_finished_thumbnails(photos: Path) -> None:
    out = photos / "out"
    for number in range(300):
        (photos / f"{number}.jpg").hardlink_to(photos / "a.jpg")
    command = [sys.executable, "-m", "handler.cli", "resize", str(photos), "-o", str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not (out.is_dir() and any(out.glob("*.jpg"))):
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 130, stdout + stderr
    assert "Stopped." in stdout
    assert "Traceback" not in stderr
    assert 0 < len(files(out)) < 302
    assert all(opened((out / name).read_bytes()).size == (128, 85) for name in files(out))
    ended = thumbnailer("resize", photos, "-o", out, "--overwrite")
    assert (ended.returncode, ended.stdout) == (0, "302 pictures are stored.\nLeft out, no pictures: notes.txt\n")
    assert len(files(out)) == 302

"""The Python API: the documented examples, the pipeline's bytes and errors, and a light import."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import thumbnailer
from tests.support.pictures import SAMPLE_FOLDER, opened
from tests.support.processing import process
from thumbnailer import rendering
from thumbnailer.errors import AccessDenied, Corrupt, Gone, NotAnImage

ROOT = Path(__file__).parents[1]
ROCKET = SAMPLE_FOLDER / "rocket.jpg"
IMPORTED = "import typing, sys; before = set(sys.modules); import thumbnailer; print(*set(sys.modules) - before)"


@pytest.mark.parametrize("document", ["README.md", "docs/library.md"])
def test_documented_examples_run(document: str, tmp_path: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / document).read_text(), re.MULTILINE | re.DOTALL)
    assert blocks
    (tmp_path / "photo.jpg").write_bytes(ROCKET.read_bytes())
    command = [sys.executable, "-W", "error", "-c", "\n".join(blocks)]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_import_loads_one_module() -> None:
    ended = subprocess.run([sys.executable, "-c", IMPORTED], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["thumbnailer"]


def test_unknown_names_are_no_attributes() -> None:
    with pytest.raises(AttributeError, match="no attribute 'thumbnial'"):
        thumbnailer.thumbnial  # noqa: B018


@pytest.mark.parametrize("name", ["rocket.jpg", "chelsea.png", "china.webp", "flower.avif", "retina.heic"])
def test_bytes_and_files_give_the_thumbnail_of_the_pipeline(name: str) -> None:
    path = SAMPLE_FOLDER / name
    stored = process(path.read_bytes(), RENDITIONS="100x80:cover")
    for source in (path, str(path), path.read_bytes()):
        made = thumbnailer.thumbnail(source, "100x80:cover")
        assert (made.data,) == stored.thumbnails
        assert (made.width, made.height) == opened(made.data).size == (100, 80)


def test_several_thumbnails_come_in_order_and_may_have_one_size() -> None:
    made = thumbnailer.thumbnails(ROCKET, "64x64:webp", "32x32,64x64:png")
    assert [(one.width, one.format) for one in made] == [(64, "webp"), (32, "jpeg"), (64, "png")]


def test_errors_are_those_of_records(tmp_path: Path) -> None:
    cut = ROCKET.read_bytes()[:9000]
    for source, kind in ((b"", NotAnImage), (cut, Corrupt), (tmp_path / "none.jpg", Gone), (tmp_path, Exception)):
        with pytest.raises(kind) as caught:
            thumbnailer.thumbnail(source, "64x64")
        assert isinstance(caught.value, thumbnailer.RecordError)
    with pytest.raises(ValueError, match="the nearest is 'webp'"):
        thumbnailer.thumbnail(ROCKET, "64x64:webbp")
    with pytest.raises(ValueError, match="the list is empty"):
        thumbnailer.thumbnails(ROCKET)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_unreadable_files_are_denied(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch(mode=0)
    with pytest.raises(AccessDenied):
        thumbnailer.thumbnail(tmp_path / "a.jpg", "64x64")


def test_damaged_pictures_are_shown_and_marked() -> None:
    assert not thumbnailer.thumbnail(ROCKET, "64x64").damaged
    assert thumbnailer.thumbnail(ROCKET.read_bytes()[:90_000], "64x64").damaged


def test_bugs_of_engines_are_record_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(rendering, "probe", fail)
    with pytest.raises(thumbnailer.RecordError, match="a bug") as caught:
        thumbnailer.thumbnail(ROCKET, "64x64")
    assert caught.value.reason == "engine-crash"


def test_calls_of_many_threads_and_loops_share_one_budget() -> None:
    made: list[thumbnailer.Thumbnail] = []

    async def several() -> None:
        made.extend(await asyncio.gather(*(thumbnailer.thumbnail_async(ROCKET, "64x64") for _ in range(10))))

    threads = [threading.Thread(target=asyncio.run, args=(several(),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({one.data for one in made}) == 1
    assert len(made) == 30


def test_cancelled_calls_end_and_leave_the_library_usable() -> None:
    async def cancel() -> None:
        task = asyncio.create_task(thumbnailer.thumbnail_async(ROCKET, "64x64"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert thumbnailer.thumbnail(ROCKET, "64x64").width == 64


@pytest.mark.parametrize("isolation", ["redelivered", "always"])
def test_forked_children_use_the_library(isolation: str) -> None:
    """Servers import an application, and perhaps use it, before they fork their workers."""
    code = (
        "import os, sys, thumbnailer; first = thumbnailer.thumbnail(sys.argv[1], '64x64')\n"
        "if os.fork() == 0:\n    os._exit(thumbnailer.thumbnail(sys.argv[1], '64x64') != first)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))"
    )
    env = os.environ | {"THUMBNAILER_ISOLATION": isolation}
    command = [sys.executable, "-c", code, str(ROCKET)]
    ended = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")

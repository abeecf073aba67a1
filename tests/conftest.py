"""What all tests share: an S3 with queues in the process, the environment that points to it, and a watch for leaks."""

from __future__ import annotations

import gc
import multiprocessing.util
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from handler import aws_lambda
from tests.support.cloud import Cloud
from tests.support.matrix import Matrix
from tests.support.servers import ScriptedServer, scripted_server
from thumbnailer.scratch import Scratch


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--matrix", action="store_true", help="print which rows of the bad-input matrix were shown")


def pytest_configure(config: pytest.Config) -> None:
    multiprocessing.util.get_temp_dir()  # its own, which it removes after all else: not in ours, which is gone by then
    # A /tmp of our own: what another process has in work there must not be taken for a leak of ours.
    tempfile.tempdir = os.environ["TMPDIR"] = tempfile.mkdtemp(prefix="tests-")
    config.add_cleanup(lambda: shutil.rmtree(os.environ["TMPDIR"], ignore_errors=True))
    if config.getoption("--matrix"):
        config.pluginmanager.register(Matrix(), "matrix")


def scratch_files() -> set[str]:
    """The sources in work, by path; none may be left open by anybody. On Linux they have no name to be found by."""
    return {each.path for each in gc.get_objects() if type(each) is Scratch and not each.closed}


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    """No scratch file and no open file more than before, whatever the tests did."""
    before = scratch_files()
    yield
    assert scratch_files() <= before


@pytest.fixture(scope="session")
def cloud() -> Iterator[Cloud]:
    with Cloud() as started:
        yield started


@pytest.fixture
def aws(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """The process's environment points to an empty cloud with `photos` and `photos-resized`; the door is new."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "THUMBNAILER_"))]:
        monkeypatch.delenv(name)
    for name, value in cloud.env.items():
        monkeypatch.setenv(name, value)
    cloud.reset()
    yield cloud
    aws_lambda.close()


@pytest.fixture(scope="session")
def _scripted() -> Iterator[ScriptedServer]:
    with scripted_server() as server:
        yield server


@pytest.fixture
def scripted(_scripted: ScriptedServer) -> ScriptedServer:
    """A server that answers as told and counts what it was asked."""
    _scripted.play()
    return _scripted


@pytest.fixture
def samples() -> dict[str, bytes]:
    folder = Path(__file__).parents[1] / "handler" / "demo" / "samples"
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix != ".md"}


class Context:
    """Lambda's context, as far as the door uses it."""

    aws_request_id = "11111111-2222-3333-4444-555555555555"

    def __init__(self, milliseconds: int = 60_000) -> None:
        self._milliseconds = milliseconds

    def get_remaining_time_in_millis(self) -> int:
        return self._milliseconds


@pytest.fixture
def context() -> Any:
    return Context()

"""Fixtures that all tests share: an S3 with queues in this process, the environment that points to it, a leak check."""

from __future__ import annotations

import gc
import multiprocessing.util
import os
import shutil
import tempfile
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any

import botocore.loaders
import botocore.session
import hypothesis
import pytest
from xdist.scheduler import LoadScopeScheduling

from bench.rig.processes import NotInstalled
from handler import aws_lambda
from tests.support.cloud import Cloud
from tests.support.matrix import ROW, Matrix
from tests.support.ministack import MiniStack, running_ministack
from tests.support.pictures import SAMPLES
from tests.support.servers import ScriptedServer, scripted_server
from thumbnailer.engine import installed_engines
from thumbnailer.model import EngineName
from thumbnailer.planning.capabilities import BOTH_ENGINES
from thumbnailer.scratch import Scratch

TESTS = Path(__file__).parent
hypothesis.settings.register_profile("busy", deadline=None)  # tests must pass on a busy machine
hypothesis.settings.load_profile("busy")
# One loader for all sessions: each would parse the same megabytes of JSON again.
botocore.session.create_loader = cache(botocore.loaders.create_loader)
GROUPS = {
    "limits": ("budgets/*", "bench/test_limits.py", "bench/test_enclosures.py"),
    "zip": ("deploy/test_zip.py",),
    "emulator": ("runtime/test_emulator.py",),
}
"""Test modules by the resource that they need for themselves: control groups, .venv, ports.

pytest-xdist runs the tests of one group in one process, one after the other.
"""


class GroupScheduling(LoadScopeScheduling):  # type: ignore[misc]
    """xdist's own groups (`--dist loadgroup`) do nothing: pytest 9.2 ignores the names that xdist gives to tests."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(TESTS.parent / nodeid.partition("::")[0]) or nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> GroupScheduling:
    return GroupScheduling(config, log)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--matrix", metavar="FILE", help="write to FILE which rows of the bad-input matrix the tests show")


def pytest_configure(config: pytest.Config) -> None:
    # multiprocessing removes its directory after everything else, so it must not be inside ours.
    multiprocessing.util.get_temp_dir()
    # Scratch files of other processes are not in our /tmp, so they are not mistaken for leaks.
    tempfile.tempdir = os.environ["TMPDIR"] = tempfile.mkdtemp(prefix="tests-")
    config.add_cleanup(lambda: shutil.rmtree(os.environ["TMPDIR"], ignore_errors=True))
    file = config.getoption("--matrix")
    if file and "PYTEST_XDIST_WORKER" not in os.environ:
        config.pluginmanager.register(Matrix(Path(file)), "matrix")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.user_properties += [(ROW, row) for mark in item.iter_markers("matrix") for row in mark.args]


@cache
def group_of(path: Path) -> str | None:
    """The exclusive resource of a test module, or the module itself if its tests share a fixture."""
    name = path.relative_to(TESTS).as_posix()
    shares_fixture = 'scope="module"' in path.read_text(encoding="utf-8")
    groups = (group for group, files in GROUPS.items() if any(fnmatch(name, file) for file in files))
    return next(groups, name if shares_fixture else None)


def scratch_files() -> set[str]:
    """Paths of scratch files that are not closed. On Linux they have no name, so the file system cannot list them."""
    return {each.path for each in gc.get_objects() if type(each) is Scratch and not each.closed}


@pytest.fixture(scope="session", autouse=True)
def no_scratch_file_leaks() -> Iterator[None]:
    before = scratch_files()
    yield
    assert scratch_files() <= before


@pytest.fixture(scope="session")
def cloud() -> Iterator[Cloud]:
    with Cloud() as started:
        yield started


@pytest.fixture
def aws(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """An empty cloud with `photos` and `photos-resized`. The environment points to it; the Lambda handler is fresh."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "THUMBNAILER_"))]:
        monkeypatch.delenv(name)
    for name, value in cloud.env.items():
        monkeypatch.setenv(name, value)
    cloud.reset()
    yield cloud
    aws_lambda.close()


@pytest.fixture(scope="session")
def _ministack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MiniStack]:
    try:
        with running_ministack(tmp_path_factory.mktemp("ministack")) as started:
            yield started
    except NotInstalled as missing:
        pytest.skip(str(missing))


@pytest.fixture
def ministack(_ministack: MiniStack) -> MiniStack:
    """An empty AWS that runs templates, state machines and functions."""
    _ministack.reset()
    return _ministack


@pytest.fixture(scope="session")
def _scripted() -> Iterator[ScriptedServer]:
    with scripted_server() as server:
        yield server


@pytest.fixture
def scripted(_scripted: ScriptedServer) -> ScriptedServer:
    """A server that plays back answers and counts requests."""
    _scripted.play()
    return _scripted


@pytest.fixture(params=BOTH_ENGINES)
def engine(request: pytest.FixtureRequest) -> EngineName:
    """Each full engine in turn; with EVERY_ENGINE also the compiled one, where it is built."""
    if request.param not in installed_engines():
        pytest.skip(f"the engine {request.param} is not installed: make native")
    return EngineName(request.param)


@pytest.fixture
def samples() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in SAMPLES}


class Context:
    """The part of Lambda's context that the handler uses."""

    aws_request_id = "11111111-2222-3333-4444-555555555555"

    def __init__(self, milliseconds: int = 60_000) -> None:
        self._milliseconds = milliseconds

    def get_remaining_time_in_millis(self) -> int:
        return self._milliseconds


@pytest.fixture
def context() -> Any:
    return Context()

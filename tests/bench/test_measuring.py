"""The commands that measure: small real runs, Ctrl-C, a dying S3, and wrong options."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bench import measuring
from bench.cells.pictures import SAMPLES, Pictures
from bench.commands import app
from bench.measuring import STOPPED, WrongOption, memories, usable
from bench.questions import EXPERIMENTS, Options, ours
from bench.result import Result, read_result
from bench.rig.emulator import find_binary
from bench.rig.limits import GROUPS, NoLimits, kind_of_limits
from bench.rig.processes import NotInstalled, NotStarted
from bench.rig.s3 import rclone
from tests.bench.results import synthetic_result

ROOT = Path(__file__).parents[2]
TWO = {"rocket.jpg": "rocket.jpg", "coffee-rotated-by-exif.jpg": "odd + name 100%.jpg"}
"""Samples, and what a user has called them."""
SMALL = ("tiers", "--quick", "--memory", "512", "--seconds", "0", "--latency", "loopback")
HANDLERS = {"ours", "textbook", "floor"}


# --- for real -----------------------------------------------------------------------------------------------------


def why_not() -> str:
    if len(os.sched_getaffinity(0)) < 2:
        return "needs two cores"
    try:
        kind_of_limits()
        find_binary()
        rclone()
    except (NoLimits, NotInstalled, NotStarted) as error:
        return str(error)
    return ""


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for sample, name in TWO.items():
        shutil.copy(SAMPLES / sample, folder / name)
    return folder


class Bench:
    """`python -m bench` on two cores; all that it starts has the folder's name in its environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.output = folder / "result.json"
        self.pid = 0
        self._scratch = folder / "scratch"
        self._scratch.mkdir()
        self._processes: list[subprocess.Popen[str]] = []

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        own = {"TMPDIR": str(self._scratch), "XDG_CACHE_HOME": str(self.folder / "cache"), "TERM": "dumb"}
        cores = ",".join(map(str, sorted(os.sched_getaffinity(0))[:2]))
        process = subprocess.Popen(
            ["taskset", "-c", cores, sys.executable, "-m", "bench", *arguments, "-o", str(self.output)],
            cwd=ROOT,
            env=os.environ | own,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.pid = process.pid
        self._processes.append(process)
        return process

    def run(self, *arguments: str) -> tuple[int, str, str]:
        return self.ended(self.start(*arguments))

    def ended(self, process: subprocess.Popen[str]) -> tuple[int, str, str]:
        """Its exit code, and what it wrote to standard output and standard error."""
        out, err = process.communicate(timeout=90)
        return process.returncode, out, err

    def wait_for_rounds(self, process: subprocess.Popen[str], count: int) -> None:
        while not self.output.exists() or len(self.result().cells[0].repetitions) < count:
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)

    def wait_for_cell(self, process: subprocess.Popen[str]) -> None:
        """Until one is being started."""
        while not list(self._scratch.glob("*/bench-cell-*")):
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)

    def result(self) -> Result:
        return read_result(self.output)

    def rclone(self) -> int:
        """Its S3: a child of it."""
        tasks = Path(f"/proc/{self.pid}/task").glob("*/children")
        children = [pid for path in tasks for pid in path.read_text().split()]
        return next(int(pid) for pid in children if b"rclone\0serve\0s3" in Path(f"/proc/{pid}/cmdline").read_bytes())

    def left_over(self) -> list[object]:
        """Processes, control groups and files that are still there."""
        files = [*self._scratch.iterdir(), *(self.folder / "cache" / "thumbnailer-bench").iterdir()]
        return [*self._processes_left(), *self._groups(), *files]

    def _processes_left(self) -> Iterator[int]:
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if str(self._scratch).encode() in (process / "environ").read_bytes() and self._is_alive(process):
                    yield int(process.name)
            except OSError:  # it has ended meanwhile
                continue

    @staticmethod
    def _is_alive(process: Path) -> bool:
        return (process / "stat").read_text().rpartition(")")[2].split()[0] != "Z"

    def _groups(self) -> list[Path]:
        names = {f"thumbnailer-{process.pid}-" for process in self._processes}
        return [path for path in GROUPS.rglob("thumbnailer-*") if any(path.name.startswith(name) for name in names)]

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
        for pid in list(self._processes_left()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    if why := why_not():
        pytest.skip(why)
    made = Bench(tmp_path)
    yield made
    made.close()


def test_a_small_run_measures_writes_and_prints(bench: Bench, pictures: Path) -> None:
    code, out, err = bench.run(*SMALL, "--memory", "512,10240", "--repetitions", "1", "--images", str(pictures))
    assert code == 0, err
    cells = {(cell.key.handler, cell.key.memory_mb): cell for cell in bench.result().cells}
    assert {key for key, cell in cells.items() if cell.repetitions} == {(handler, 512) for handler in HANDLERS}
    assert {key for key, cell in cells.items() if cell.refused} == {(handler, 10_240) for handler in HANDLERS}
    for handler in HANDLERS:
        (one,) = cells[handler, 512].repetitions
        assert (one.records, one.invocations, one.oom_kills) == (10, 2, 0)  # two pictures, five times; batches of five
        assert sum(one.outcomes.values()) == 10
        assert one.cold_start_ms
        assert one.peak_rss_bytes > 10 * 1024 * 1024
        assert one.bytes_in > 0 or handler == "floor"
    mine = cells["ours", 512].repetitions[0]
    assert dict(mine.outcomes) == {"stored": 10}
    assert (mine.requests["get"], mine.requests["put"]) == (1, 1)
    assert {"decode", "total"} <= mine.stages_ms.keys()
    assert 10 * sum(path.stat().st_size for path in pictures.iterdir()) / 2 == mine.bytes_in
    assert bench.result().settings["seconds"] == "0"
    assert EXPERIMENTS["tiers"].question in out
    assert [" ".join(line.split()) for line in out.splitlines() if "10,240 MB " in line][:3] == [
        f"10,240 MB {handler} refused" for handler in ("ours", "textbook", "floor")
    ]
    assert "refused: 5.8 vCPUs cannot be given" in out
    assert f"python -m bench report {bench.output}" in out
    assert bench.left_over() == []


def test_ctrl_c_keeps_results_and_resume_continues(bench: Bench, pictures: Path) -> None:
    wanted = (*SMALL, "--repetitions", "6", "--images", str(pictures))
    process = bench.start(*wanted)
    bench.wait_for_rounds(process, 1)
    process.send_signal(signal.SIGINT)
    code, out, err = bench.ended(process)
    assert code == STOPPED, err
    assert f"Stopped. What is done is in {bench.output}; continue with --resume." in out
    first = bench.result()
    assert {cell.key.handler for cell in first.cells} == HANDLERS
    assert all(1 <= len(cell.repetitions) <= 6 for cell in first.cells)
    assert any(len(cell.repetitions) < 6 for cell in first.cells)
    assert bench.left_over() == []
    code, out, err = bench.run(*wanted, "--resume")
    assert code == 0, err
    whole = bench.result()
    assert whole.made == first.made
    for before, after in zip(first.cells, whole.cells, strict=True):
        assert before.key == after.key
        assert len(after.repetitions) == 6
        assert after.repetitions[: len(before.repetitions)] == before.repetitions
    code, out, err = bench.run(*SMALL, "--repetitions", "7", "--images", str(pictures), "--resume")
    assert code == 2
    assert "comes from another settings: measure again, without --resume" in err
    assert bench.result() == whole


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_programs_leaves_none(bench: Bench, pictures: Path, number: int) -> None:
    """As Ctrl-C at a terminal does."""
    process = bench.start(*SMALL, "--repetitions", "1", "--images", str(pictures))
    bench.wait_for_cell(process)
    os.killpg(process.pid, number)
    code, out, err = bench.ended(process)
    assert code == STOPPED, err
    assert out == "Stopped. Nothing is done yet.\n"
    assert not bench.output.exists()
    assert bench.left_over() == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "start", "platforms"),
    [("fargate", "warm", {"lambda", "fargate"}), ("coldstart", "cold", {"lambda"})],
)
def test_tasks_and_cold_starts_are_measured(
    bench: Bench, pictures: Path, name: str, start: str, platforms: set[str]
) -> None:
    few = ("--quick", "--seconds", "0", "--repetitions", "1", "--latency", "loopback", "--images", str(pictures))
    code, out, err = bench.run(name, *few)
    assert code == 0, err
    cells = bench.result().cells
    assert not [cell.refused for cell in cells if cell.refused]
    assert {cell.key.platform for cell in cells} == platforms
    assert {cell.key.start for cell in cells} == {start}
    for cell in cells:
        (one,) = cell.repetitions
        assert one.records == (1 if start == "cold" else 10)
        assert (one.cold_start_ms is None) is (cell.key.platform == "fargate")
        assert one.cpu_seconds > 0
    assert EXPERIMENTS[name].question in out
    assert bench.left_over() == []


def test_a_dying_s3_ends_the_run_and_keeps_results(bench: Bench, pictures: Path) -> None:
    process = bench.start(*SMALL, "--repetitions", "8", "--images", str(pictures))
    bench.wait_for_rounds(process, 2)  # back and forth: ours is the next, and gives up sooner than the others
    os.kill(bench.rclone(), signal.SIGKILL)
    code, _, err = bench.ended(process)
    assert code == 2
    assert "does not answer any more; --resume continues with what is done" in err
    assert "Traceback" not in err
    cells = bench.result().cells
    assert {cell.key.handler for cell in cells} == HANDLERS
    assert not any(cell.refused for cell in cells)  # it is not their fault
    assert bench.left_over() == []


def needs_repository() -> None:
    """A revision is one of the repository that this is a checkout of."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    if subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, check=False).returncode:
        pytest.skip("this is no checkout of a repository")


@pytest.mark.slow
def test_two_revisions_are_compared(bench: Bench, pictures: Path) -> None:
    needs_repository()
    few = ("--repetitions", "3", "--seconds", "0", "--images", str(pictures))
    code, out, err = bench.run("compare", "HEAD", "HEAD", *few)
    assert code in (0, 1), err
    cells = bench.result().cells
    assert [(cell.key.handler, len(cell.repetitions)) for cell in cells] == [("base", 3), ("new", 3)]
    assert cells[0].key.place() == cells[1].key.place()
    assert out
    assert bench.left_over() == []


# --- mistakes -----------------------------------------------------------------------------------------------------


@pytest.fixture
def nothing_is_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def start(*_: object) -> None:
        pytest.fail("it begins to measure")

    for name in ("set_up_testbed", "find_enclosure", "reference_sets"):
        monkeypatch.setattr(measuring, name, start)
    monkeypatch.chdir(tmp_path)


def said(*arguments: str) -> str:
    """What a command says that ends with 2."""
    ended = CliRunner().invoke(app, arguments)
    assert ended.exit_code == 2, ended.output
    return " ".join(ended.stderr.replace("│", " ").split())


@pytest.mark.usefixtures("nothing_is_measured")
@pytest.mark.parametrize("command", [*EXPERIMENTS, "compare HEAD HEAD"])
def test_a_folder_without_pictures_is_named(tmp_path: Path, command: str) -> None:
    if command.startswith("compare"):
        needs_repository()
    (tmp_path / "empty").mkdir()
    assert said(*command.split(), "--images", "empty") == "empty: has no pictures in it"
    assert said(*command.split(), "--images", "none") == "none: is no folder"


@pytest.mark.usefixtures("nothing_is_measured")
def test_wrong_prices_are_named(tmp_path: Path) -> None:
    assert said("tiers", "--prices", "none.toml") == "none.toml: cannot be read: No such file or directory"
    (tmp_path / "x.toml").write_text("[lambda_reqest]\nusd = 1\n")
    assert (
        said("tiers", "--prices", "x.toml") == "x.toml: lambda_reqest: no such price; the nearest is 'lambda_request'"
    )
    (tmp_path / "x.toml").write_bytes(b"\xff")
    assert "x.toml: is not TOML" in said("tiers", "--prices", "x.toml")


@pytest.mark.usefixtures("nothing_is_measured")
@pytest.mark.parametrize("command", [*EXPERIMENTS, "advise --images ."])
def test_an_unknown_latency_is_answered_with_the_known_ones(command: str) -> None:
    told = said(*command.split(), "--latency", "far")
    assert "'far' is not one of 'loopback', 'near', 'near-tail', 'published'" in told


@pytest.mark.usefixtures("nothing_is_measured")
@pytest.mark.parametrize("memory", ["much", "127", "10241", "512;1024", "-512", "5e2", "512,64"])
def test_an_impossible_memory_is_answered_with_the_range(memory: str) -> None:
    assert said("tiers", f"--memory={memory}") == f"--memory {memory}: expected MB from 128 to 10240, e.g. 512,1024"


@pytest.mark.usefixtures("nothing_is_measured")
def test_formats_needs_the_reference_set(pictures: Path) -> None:
    told = said("formats", "--images", str(pictures))
    assert told == "formats is about the reference set's pictures: ask without --images"


@pytest.mark.usefixtures("nothing_is_measured")
def test_an_unwritable_output_is_reported_first(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    told = said("tiers", "--images", str(pictures), "-o", "file/x.json")
    assert told.startswith("file/x.json: no file can be written there")


@pytest.mark.usefixtures("nothing_is_measured")
@pytest.mark.parametrize("options", ["--repetitions 0", "--seconds -1", "--period 13", "--repetitions x", "-o ."])
def test_impossible_numbers_name_their_option(options: str) -> None:
    assert options.split(maxsplit=1)[0].strip("-") in said("tiers", *options.split())


def test_a_machine_without_limits_measures_nothing_and_says_why(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: str | None) -> None:
        raise NoLimits("run as root")

    monkeypatch.setattr(measuring, "find_enclosure", refused)
    monkeypatch.setattr(measuring, "PEERS", {})
    monkeypatch.setattr(measuring, "usable", lambda keys, sets: keys)
    output = tmp_path / "x.json"
    assert said("tiers", "--images", str(pictures), "-o", str(output)) == "run as root"
    assert not output.exists()


# --- what is asked for --------------------------------------------------------------------------------------------


class Asked:
    """In place of the measuring: keeps what it was asked, and answers with a result that is made up."""

    def __init__(self, result: Result, stopped: bool = False) -> None:
        self.answer = (result, stopped)
        self.options: Options | None = None

    def __call__(self, slots: object, sets: object, options: Options, prices: object) -> tuple[Result, bool]:
        self.options = options
        return self.answer


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    made = Asked(synthetic_result((512,)))
    monkeypatch.setattr(measuring, "measure", made)
    return made


@pytest.mark.parametrize(
    ("options", "repetitions", "seconds"),
    [
        ("", 7, 2.0),
        ("--quick", 7, 0.4),
        ("--seconds 0", 7, 0.0),
        ("--quick --seconds 0 --repetitions 1", 1, 0.0),
    ],
)
def test_effort_is_as_requested_or_the_default(
    asked: Asked, pictures: Path, options: str, repetitions: int, seconds: float
) -> None:
    assert CliRunner().invoke(app, ["tiers", "--images", str(pictures), *options.split()]).exit_code == 0
    assert asked.options is not None
    assert (asked.options.repetitions, asked.options.seconds) == (repetitions, seconds)
    assert asked.options.output == Path("bench-tiers.json")


def test_a_run_stopped_at_once_says_so(asked: Asked, pictures: Path) -> None:
    asked.answer = (replace(synthetic_result((512,)), cells=()), True)
    ended = CliRunner().invoke(app, ["tiers", "--images", str(pictures)])
    assert ended.exit_code == STOPPED
    assert ended.stdout == "Stopped. Nothing is done yet.\n"


def test_a_file_name_with_markup_is_printed_unchanged(asked: Asked, pictures: Path, tmp_path: Path) -> None:
    output = tmp_path / "[red]x[/].json"
    ended = CliRunner().invoke(app, ["tiers", "--images", str(pictures), "-o", str(output)])
    assert f"{output}: python -m bench report {output}" in ended.stdout


def test_settings_distinguish_runs_that_cannot_resume() -> None:
    one = Options()
    others: list[dict[str, Any]] = [
        {"quick": True},
        {"latency": "published"},
        {"repetitions": 8},
        {"seconds": 0.5},
        {"period_ms": 100},
        {"container": "thumbnailer"},
    ]
    settings = [one.settings(), *(replace(one, **other).settings() for other in others)]
    assert len({tuple(each.items()) for each in settings}) == len(settings)


def test_the_floor_is_measured_if_all_pictures_are_jpegs(tmp_path: Path) -> None:
    keys = EXPERIMENTS["tiers"].keys(Options(memories=(512,)))
    jpegs = Pictures("photos", tmp_path, (tmp_path / "a.jpg", tmp_path / "b.JPEG"))
    mixed = replace(jpegs, files=(*jpegs.files, tmp_path / "c.png"))
    assert [key.handler for key in usable(keys, {"photos": jpegs})] == ["ours", "textbook", "floor"]
    assert [key.handler for key in usable(keys, {"photos": mixed})] == ["ours", "textbook"]
    assert usable([replace(ours(Options()), pictures="rgb")], {"photos": jpegs}) == []


def test_memories_are_parsed() -> None:
    assert memories("") == ()
    assert memories("512,1024") == memories("512, 1024,") == (512, 1024)
    with pytest.raises(WrongOption):
        memories("512,none")

"""A run: turns back and forth, refusals with reasons, saving and resuming."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, cast

import pytest

from bench.cells import runs
from bench.cells.base import CellFailed, Repeat, S3Gone
from bench.cells.outputs import WrongOutput
from bench.cells.pictures import Pictures
from bench.cells.runs import Run, Slot, in_blocks
from bench.cells.testbed import Testbed
from bench.questions import EXPERIMENTS, FLOOR, TEXTBOOK, Options, ours, peer
from bench.result import CellKey, Repetition, Result, ResultError, read_result, write_result
from bench.rig.limits import NoLimits
from tests.bench.results import PRICES, lambda_cell

SCOPE = Options()
A = ours(SCOPE, 512)
B, C = peer(TEXTBOOK, A), peer(FLOOR, A)
NUMBERS = lambda_cell(512, "auto").repetitions[1]
OPTIONS = Options(repetitions=3)


@pytest.fixture
def testbed(tmp_path: Path) -> Testbed:
    """As much of one as a run looks at."""
    picture = tmp_path / "one.jpg"
    picture.write_bytes(b"x")
    sets = {"photos": Pictures("photos", tmp_path, (picture,))}
    return cast("Testbed", SimpleNamespace(sets=sets, enclosure=SimpleNamespace(name="cgroup v2")))


class Stage:
    """What is started in place of cells, and what happened, in order.

    `fails` is by handler: the number of the repetition, or "start", and what is raised then.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch = monkeypatch
        self.happened: list[str] = []
        self.fails: dict[tuple[str, int | str], BaseException] = {}
        self.saved: list[dict[str, int]] = []
        self.slots: list[Slot] = []
        self.steps: list[str] = []
        self.expected = 0

    def start(self, slot: Slot, testbed: Testbed, options: Options, stack: ExitStack) -> Repeat:
        key = slot.key
        self.happened.append(f"start {key.handler}")
        self.maybe_fail(key, "start")
        stack.callback(self.happened.append, f"close {key.handler}")
        return Actor(self, key).repeat

    def maybe_fail(self, key: CellKey, when: int | str) -> None:
        if error := self.fails.get((key.handler, when)):
            raise error

    def save(self) -> None:
        self.happened.append("save")
        self.saved.append({slot.key.handler: len(slot.repetitions) for slot in self.slots})

    def show(self, what: str, steps: int) -> None:
        self.steps += [what] * steps

    def run(self, testbed: Testbed, slots: list[Slot], repetitions: int = 3) -> None:
        self.slots = slots
        run = Run(testbed, slots, Options(repetitions=repetitions), PRICES, self.show)
        self.monkeypatch.setattr(run, "save", self.save)
        self.expected = run.steps
        run.measure()

    @property
    def measured(self) -> str:
        """Who had a turn; a blank where it was saved."""
        turns = (one.removeprefix("measure ")[0] if one.startswith("measure") else one for one in self.happened)
        return "".join({"save": " "}.get(one, one) for one in turns if not one.startswith(("start", "close"))).strip()


class Actor:
    def __init__(self, stage: Stage, key: CellKey) -> None:
        self._stage, self._key = stage, key
        self._count = 0

    def repeat(self) -> Repetition:
        self._count += 1
        self._stage.happened.append(f"measure {self._key.handler}")
        self._stage.maybe_fail(self._key, self._count)
        return replace(NUMBERS, records=self._count)


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    made = Stage(monkeypatch)
    monkeypatch.setattr(runs, "start", made.start)
    return made


def slots_of(*keys: CellKey) -> list[Slot]:
    return [Slot(key) for key in keys]


# --- turns --------------------------------------------------------------------------------------------------------


def test_turns_go_back_and_forth_and_are_saved(stage: Stage, testbed: Testbed) -> None:
    slots = slots_of(A, B, C)
    stage.run(testbed, slots)
    assert stage.measured == "otf fto otf"
    assert stage.happened[:4] == ["start ours", "start textbook", "start floor", "save"]
    assert stage.saved[:4] == [{"ours": done, "textbook": done, "floor": done} for done in range(4)]
    assert [one.records for one in slots[0].repetitions] == [1, 2, 3]
    assert sorted(stage.happened[-4:-1]) == ["close floor", "close ours", "close textbook"]


def test_progress_has_a_step_for_each_start_and_each_turn(stage: Stage, testbed: Testbed) -> None:
    stage.run(testbed, slots_of(A, B), repetitions=2)
    assert stage.expected == len(stage.steps) == 2 + 2 * 2
    assert stage.steps[0] == "starting ours (auto), lambda 512 MB, photos x 10, near"
    assert stage.steps[2] == "1 of 2: ours (auto), lambda 512 MB, photos x 10, near"


def test_progress_skips_the_turns_of_a_refused_cell(stage: Stage, testbed: Testbed) -> None:
    stage.fails["textbook", "start"] = CellFailed("no")
    stage.run(testbed, slots_of(A, B), repetitions=3)
    assert stage.expected == len(stage.steps) == 2 + 2 * 3
    assert sum(step.startswith("refused") for step in stage.steps) == 3


ROOM: Final = 200
"""MB of memory a cell: three quarters of it are given."""


def test_all_cells_take_turns_with_enough_memory() -> None:
    slots = slots_of(*EXPERIMENTS["all"].keys(Options()))
    assert len(list(in_blocks(slots, ROOM * len(slots)))) == 1


def test_with_less_memory_questions_follow_each_other() -> None:
    slots = slots_of(*EXPERIMENTS["all"].keys(Options()))
    first = EXPERIMENTS["tiers"].keys(Options())
    block = next(in_blocks(slots, ROOM * (len(first) + 40)))
    assert set(first) <= {slot.key for slot in block}


def test_cells_of_one_place_start_together(stage: Stage, testbed: Testbed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "memory_mb", lambda: 3 * ROOM)
    other = ours(SCOPE, 1769)
    slots = slots_of(A, other, B, peer(TEXTBOOK, other))
    blocks = [[slot.key for slot in block] for block in in_blocks(slots)]
    assert sorted(map(len, blocks)) == [2, 2]
    assert all(len({key.place() for key in block}) == 1 for block in blocks)
    stage.run(testbed, slots, repetitions=1)
    starts = [one for one in stage.happened if one.startswith(("start", "close"))]
    assert [one.split()[0] for one in starts] == ["start", "start", "close", "close"] * 2


def test_a_place_stays_in_one_block_without_room() -> None:
    small = ours(SCOPE, 128)
    blocks = list(in_blocks(slots_of(A, B, C, small), 2 * ROOM))
    assert sorted([slot.key.memory_mb for slot in block] for block in blocks) == [[128], [512, 512, 512]]
    assert list(in_blocks([])) == []


def test_a_machine_with_little_memory_starts_fewer_at_once() -> None:
    slots = slots_of(*(ours(SCOPE, memory) for memory in (128, 256, 512, 1024)))
    assert [len(block) for block in in_blocks(slots, 2 * ROOM)] == [2, 2]
    assert [len(block) for block in in_blocks(slots, 100)] == [1, 1, 1, 1]


# --- what goes wrong ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [CellFailed("it crashed"), NoLimits("no such share"), WrongOutput("no thumbnail")])
def test_a_cell_that_does_not_start_is_refused_and_the_others_go_on(
    stage: Stage, testbed: Testbed, error: Exception
) -> None:
    stage.fails["textbook", "start"] = error
    slots = slots_of(A, B, C)
    stage.run(testbed, slots)
    assert [(slot.refused, len(slot.repetitions)) for slot in slots] == [("", 3), (str(error), 0), ("", 3)]
    assert stage.measured == "of fo of"


@pytest.mark.parametrize("error", [CellFailed("it was killed"), NoLimits("no such share"), WrongOutput("none")])
def test_a_cell_that_breaks_later_has_no_numbers(stage: Stage, testbed: Testbed, error: Exception) -> None:
    stage.fails["textbook", 2] = error
    slots = slots_of(A, B, C)
    stage.run(testbed, slots)
    assert [(slot.refused, len(slot.repetitions)) for slot in slots] == [("", 3), (str(error), 0), ("", 3)]
    assert stage.measured == "otf fto of"


@pytest.mark.parametrize("error", [S3Gone("S3 is gone"), KeyboardInterrupt()])
def test_an_ending_run_closes_all_cells_and_keeps_results(stage: Stage, testbed: Testbed, error: BaseException) -> None:
    stage.fails["textbook", 2] = error
    slots = slots_of(A, B)
    with pytest.raises(type(error)):
        stage.run(testbed, slots)
    assert [(slot.refused, len(slot.repetitions)) for slot in slots] == [("", 1), ("", 1)]
    assert stage.saved[-1] == {"ours": 1, "textbook": 1}
    assert sorted(stage.happened[-3:]) == ["close ours", "close textbook", "save"]


def test_an_s3_failure_during_start_closes_the_started_cells(stage: Stage, testbed: Testbed) -> None:
    stage.fails["textbook", "start"] = S3Gone("S3 is gone")
    with pytest.raises(S3Gone):
        stage.run(testbed, slots_of(A, B, C))
    assert stage.happened == ["start ours", "start textbook", "close ours", "save"]


# --- the file -----------------------------------------------------------------------------------------------------


def done(key: CellKey, count: int = 3) -> Slot:
    return Slot(key, repetitions=[NUMBERS] * count)


def run_of(testbed: Testbed, path: Path, *slots: Slot) -> Run:
    return Run(testbed, list(slots), replace(OPTIONS, output=path), PRICES)


def test_a_result_has_measured_and_refused_cells(testbed: Testbed, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    run_of(testbed, path, done(A), done(C), Slot(B, refused="no"), Slot(ours(SCOPE, 128))).save()
    found = read_result(path)
    assert [cell.key for cell in found.cells] == [A, C, B]
    assert [pictures.name for pictures in found.picture_sets] == ["photos"]
    assert (found.machine.limits, found.settings) == ("cgroup v2", OPTIONS.settings())


def test_nothing_is_written_before_the_first_cell(testbed: Testbed, tmp_path: Path) -> None:
    run_of(testbed, tmp_path / "x.json", Slot(A)).save()
    assert not list(tmp_path.glob("x.json*"))


@pytest.mark.parametrize(
    ("key", "name"),
    [
        (A, "ours (auto), lambda 512 MB, photos x 10, near"),
        (replace(A, in_flight=4), "ours (auto), lambda 512 MB, photos x 10, 4 in flight, near"),
        (replace(A, transport="aioboto3"), "ours (auto), lambda 512 MB, photos x 10, aioboto3, near"),
        (replace(B, start="cold", memory_mb=10_240), "textbook, lambda 10,240 MB, photos x 10, near, cold"),
    ],
)
def test_a_title_names_the_differences_of_a_cell(key: CellKey, name: str) -> None:
    assert key.title == name


# --- going on -----------------------------------------------------------------------------------------------------


def test_a_resumed_run_measures_only_missing_repetitions(stage: Stage, testbed: Testbed, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    before = run_of(testbed, path, done(A, 3), done(B, 1), Slot(C, refused="no"))
    write_result(replace(before.result(), made="2026-01-02T03:04:05Z"), path)
    run = run_of(testbed, path, *slots_of(A, B, C))
    run.resume()
    assert run.made == "2026-01-02T03:04:05Z"
    stage.run(testbed, run.slots)
    assert stage.happened[:2] == ["start textbook", "start floor"]
    assert stage.measured == "tf ft f"
    assert [len(slot.repetitions) for slot in run.slots] == [3, 3, 3]


def test_a_complete_run_starts_nothing(stage: Stage, testbed: Testbed) -> None:
    stage.run(testbed, [done(A), Slot(B, refused="no")])
    assert stage.happened == ["save"]
    assert stage.expected == 0


OTHERS: dict[str, Callable[[Result], Result]] = {
    "machine": lambda one: replace(one, machine=replace(one.machine, cpu="another")),
    "software": lambda one: replace(one, software=replace(one.software, commit="0" * 40)),
    "software and settings": lambda one: replace(
        one, software=replace(one.software, versions={"pillow": "1.0"}), settings={"repetitions": "4"}
    ),
    "settings": lambda one: replace(one, settings={"repetitions": "4"}),
    "pictures": lambda one: replace(
        one, picture_sets=tuple(replace(each, hash="ab" * 32) for each in one.picture_sets)
    ),
}


@pytest.mark.parametrize("what", OTHERS)
def test_a_different_run_is_not_resumed(testbed: Testbed, tmp_path: Path, what: str) -> None:
    path = tmp_path / "x.json"
    write_result(OTHERS[what](run_of(testbed, path, done(A)).result()), path)
    run = run_of(testbed, path, Slot(A))
    with pytest.raises(ResultError, match=rf"x\.json: comes from another {what}: measure again, without --resume"):
        run.resume()
    assert not run.slots[0].repetitions


def test_a_run_that_would_lose_cells_is_not_resumed(testbed: Testbed, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    run_of(testbed, path, done(A), done(B)).save()
    with pytest.raises(ResultError, match=r"would lose its cells that are not asked for now \(1\)"):
        run_of(testbed, path, *slots_of(A, C)).resume()


def test_refused_cells_are_tried_again(testbed: Testbed, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    run_of(testbed, path, done(A), Slot(B, refused="no"), Slot(C, refused="no")).save()
    run = run_of(testbed, path, *slots_of(A, B))
    run.resume()
    assert [(slot.refused, len(slot.repetitions)) for slot in run.slots] == [("", 3), ("", 0)]


def test_a_broken_file_is_not_resumed(testbed: Testbed, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(ResultError, match="is not JSON"):
        run_of(testbed, tmp_path / "x.json", Slot(A)).resume()


# --- which kind of cell -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        (A, "start_warm"),
        (replace(A, start="cold"), "start_cold"),
        (replace(A, platform="fargate"), "WorkerCell"),
    ],
)
def test_the_key_decides_the_kind_of_cell(
    testbed: Testbed, monkeypatch: pytest.MonkeyPatch, key: CellKey, kind: str
) -> None:
    for name in ("start_warm", "start_cold"):
        monkeypatch.setattr(runs, name, lambda *arguments, name=name: (name, arguments[0]))
    monkeypatch.setattr(runs, "WorkerCell", lambda *arguments: SimpleNamespace(repeat=("WorkerCell", arguments[0])))
    started: Any = runs.start(Slot(key), testbed, Options(), ExitStack())
    assert started == (kind, key)


@pytest.mark.parametrize(("seconds", "passes"), [(0.0, 1), (1.0, 4), (1.01, 5), (1e6, 100)])
def test_a_repetition_has_enough_passes(seconds: float, passes: int) -> None:
    assert Options(seconds=seconds).passes(0.25) == passes

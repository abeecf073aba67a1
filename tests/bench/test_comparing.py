"""Whether a build that is slower is seen, and one that is not is left in peace: with noise as machines make it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from rich.console import Console

from bench.compare.command import run, sentence
from bench.compare.intervals import ratio_interval
from bench.compare.trees import Side, checked_out, side_of
from bench.compare.verdicts import (
    JUDGED,
    LEAST_BETWEEN_RUNS,
    SHOWN,
    CompareError,
    Comparison,
    Row,
    Verdict,
)
from bench.compare.verdicts import compare as compare_runs
from bench.result import Cell, CellKey, Repetition, Result, write_result
from tests.bench.results import synthetic_result

TRIALS: Final = 300
ALLOWED: Final = 0.02 * TRIALS
PAIRS: Final = 12
KEY: Final = CellKey("lambda", 1769, 1.0, "auto", "obstore", "reference", 10)
SAME: Final = (0.0, 0.0)
SLEEP: Final = (3.0, 0.0)
"""Milliseconds an image of wall time and of CPU that NEW takes more."""
WORK: Final = (3.0, 3.0)


# --- noise --------------------------------------------------------------------------------------------------------


def repetition(wall_ms: float, cpu_ms: float, p50_ms: float) -> Repetition:
    return Repetition(
        records=1000,
        invocations=100,
        wall_seconds=wall_ms,
        cpu_seconds=cpu_ms,
        billed_ms=1000 * wall_ms,
        peak_rss_bytes=200 * 1024 * 1024,
        latencies_ms=(p50_ms,),
        bytes_in=1,
        bytes_out=1,
        outcomes={"stored": 1000},
        requests={"get": 1},
    )


def noisy(
    chance: np.random.Generator,
    more: tuple[float, float],
    speed: Sequence[float],
    noise: float = 0.03,
    bursts: float = 0.02,
) -> tuple[Repetition, ...]:
    """25 ms billed and 12 ms CPU an image, and `more`; `speed`: how slow the machine is at each of them.

    Half of the noise's variance is a repetition's, the other half each metric's own; a burst makes all 30 % slower.
    """
    wall, cpu = 25 + more[0], 12 + more[1]
    made = []
    for slow in speed:
        shared = slow * chance.lognormal(0, noise / 2**0.5) * (1.3 if chance.random() < bursts else 1)
        own = shared * chance.lognormal(0, noise / 2**0.5, 3)
        made.append(repetition(wall * own[0], cpu * own[1], 10 * wall * own[2]))
    return tuple(made)


def drifting(chance: np.random.Generator, count: int) -> list[float]:
    """A machine whose speed goes slowly up and down by a tenth."""
    return [float(value) for value in 1 + 0.1 * np.sin(np.linspace(0, 5, count) + 6 * chance.random())]


def in_turns(
    chance: np.random.Generator, more: tuple[float, float], pairs: int = PAIRS, key: CellKey = KEY
) -> tuple[Cell, Cell]:
    speed = drifting(chance, 2 * pairs)
    base, new = noisy(chance, SAME, speed[::2]), noisy(chance, more, speed[1::2])
    return Cell(replace(key, handler="base"), base), Cell(replace(key, handler="new"), new)


def one_pair(seed: int, more: tuple[float, float], pairs: int = PAIRS) -> Comparison:
    base, new = in_turns(np.random.default_rng(seed), more, pairs)
    return compare([base], [new], paired=True)


def compare(base: Sequence[Cell], new: Sequence[Cell], paired: bool) -> Comparison:
    """The comparison of cells of one run."""
    return compare_runs(_run_of(base), _run_of(new), paired)


def _run_of(cells: Sequence[Cell]) -> Result:
    return result(*(replace(cell, key=replace(cell.key, handler="ours")) for cell in cells))


def compare_results(base: Result, new: Result) -> Comparison:
    return compare_runs(base, new, paired=False)


def exact(times: float, count: int = 8, handler: str = "ours", key: CellKey = KEY) -> Cell:
    """No noise: every repetition takes so many times as long."""
    return Cell(replace(key, handler=handler), (repetition(25 * times, 12 * times, 250 * times),) * count)


def row_of(comparison: Comparison, metric: str) -> Row:
    return next(row for row in comparison.rows if row.metric == metric)


# --- in turns -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [SLEEP, WORK])
def test_three_milliseconds_more_an_image_are_seen(more: tuple[float, float]) -> None:
    found = [one_pair(seed, more).verdict for seed in range(TRIALS)]
    assert TRIALS - found.count(Verdict.REGRESSION) < ALLOWED


def test_equal_builds_show_no_difference() -> None:
    found = [one_pair(seed, SAME).verdict for seed in range(TRIALS)]
    assert found.count(Verdict.REGRESSION) < ALLOWED
    assert found.count(Verdict.IMPROVEMENT) < ALLOWED
    assert found.count(Verdict.NO_DIFFERENCE) > TRIALS / 2


def test_more_cells_do_not_raise_false_alarms() -> None:
    keys = [replace(KEY, memory_mb=128 * number) for number in range(1, 7)]
    found = []
    for seed in range(TRIALS // 3):
        chance = np.random.default_rng(seed)
        cells = [in_turns(chance, SAME, key=key) for key in keys]
        found.append(compare([base for base, _ in cells], [new for _, new in cells], paired=True))
    assert sum(each.verdict is Verdict.REGRESSION for each in found) < 0.02 * len(found) + 1
    assert {len(each.judged) for each in found} == {len(keys) * len(JUDGED)}


def test_sleep_raises_billed_time_and_work_raises_cpu_too() -> None:
    sleep, work = one_pair(1, SLEEP, 20), one_pair(1, WORK, 20)
    assert row_of(sleep, "billed_ms_per_image").verdict is Verdict.REGRESSION
    assert row_of(sleep, "cpu_ms_per_image").verdict is Verdict.NO_DIFFERENCE
    assert row_of(work, "cpu_ms_per_image").verdict is Verdict.REGRESSION
    assert row_of(work, "cpu_ms_per_image").interval.ratio == pytest.approx(15 / 12, rel=0.05)


def slowing_down(seed: int, by: float) -> tuple[Repetition, ...]:
    """Equal builds on a machine that gets steadily slower."""
    speed = [float(value) for value in np.linspace(1, 1 + by, 2 * PAIRS)]
    return noisy(np.random.default_rng(seed), SAME, speed, noise=0.01, bursts=0)


def test_taking_turns_hides_a_slowing_machine() -> None:
    for seed in range(20):
        everything = slowing_down(seed, by=0.15)
        base, new = Cell(KEY, everything[::2]), Cell(KEY, everything[1::2])
        assert compare([base], [new], paired=True).verdict is Verdict.NO_DIFFERENCE
        first, then = Cell(KEY, everything[:PAIRS]), Cell(KEY, everything[PAIRS:])
        assert compare([first], [then], paired=True).verdict is Verdict.REGRESSION


def test_alternating_order_hides_a_fast_slowing_machine() -> None:
    for seed in range(20):
        turns = [slowing_down(seed, by=0.6)[start : start + 2] for start in range(0, 2 * PAIRS, 2)]
        base, new = zip(*(turn[:: -1 if number % 2 else 1] for number, turn in enumerate(turns)), strict=True)
        assert compare([Cell(KEY, base)], [Cell(KEY, new)], paired=True).verdict is Verdict.NO_DIFFERENCE


def test_less_time_is_an_improvement() -> None:
    comparison = one_pair(3, (-4.0, -3.0))
    assert comparison.verdict is Verdict.IMPROVEMENT
    assert comparison.exit_code == 0


def test_certain_but_tiny_difference_is_no_verdict() -> None:
    for times in (1.015, 1 / 1.015):
        comparison = compare([exact(1)], [exact(times)], paired=True)
        assert comparison.verdict is Verdict.NO_DIFFERENCE
        assert row_of(comparison, "p50_ms").visible == pytest.approx(0.02)
    assert compare([exact(1)], [exact(1.025)], paired=True).verdict is Verdict.REGRESSION
    assert compare([exact(1)], [exact(1 / 1.025)], paired=True).verdict is Verdict.IMPROVEMENT


def test_no_difference_reports_the_visible_difference() -> None:
    comparison = one_pair(5, SAME)
    assert comparison.verdict is Verdict.NO_DIFFERENCE
    for row in comparison.judged:
        assert row.visible == pytest.approx(max(0.02, row.interval.upper / row.interval.ratio - 1))
        assert row.interval.lower < row.interval.ratio < row.interval.upper
    widest = max(row.visible for row in comparison.judged)
    assert f"a difference below {widest:.1%} would not be visible" in sentence(comparison)


def test_few_pairs_are_too_noisy() -> None:
    for pairs in (1, 3):
        comparison = one_pair(2, SAME, pairs)
        assert comparison.verdict is Verdict.TOO_NOISY
        assert comparison.exit_code == 0
        assert "more repetitions" in sentence(comparison)
    assert (
        row_of(one_pair(2, WORK, 1), "p50_ms").interval.lower,
        row_of(one_pair(2, WORK, 1), "p50_ms").interval.upper,
    ) == (0, np.inf)


def test_regression_counts_despite_an_improvement_elsewhere() -> None:
    small = replace(KEY, memory_mb=512)
    comparison = compare([exact(1), exact(1, key=small)], [exact(0.5), exact(1.5, key=small)], paired=True)
    assert (comparison.verdict, comparison.exit_code) == (Verdict.REGRESSION, 1)
    assert "512 MB" in sentence(comparison)
    assert "1769 MB" not in sentence(comparison)


def test_memory_cold_starts_and_throughput_are_shown_and_not_judged() -> None:
    cells = [exact(1), exact(1)]
    heavier = [replace(one, peak_rss_bytes=2 * one.peak_rss_bytes) for one in cells[1].repetitions]
    heavier[0] = replace(heavier[0], cold_start_ms=900.0)
    cold = (replace(cells[0].repetitions[0], cold_start_ms=300.0), *cells[0].repetitions[1:])
    comparison = compare([Cell(KEY, cold)], [Cell(KEY, tuple(heavier))], paired=True)
    assert comparison.verdict is Verdict.NO_DIFFERENCE
    assert [row.metric for row in comparison.rows] == [*JUDGED, *SHOWN]
    assert row_of(comparison, "peak_rss_mb").interval.ratio == pytest.approx(2)
    start = row_of(comparison, "cold_start_ms")
    assert start.verdict is Verdict.NOT_JUDGED
    assert start.interval.ratio == pytest.approx(3)


def test_crashed_build_is_incomparable() -> None:
    comparison = compare([exact(1)], [Cell(KEY, refused="it crashed")], paired=True)
    assert comparison.exit_code == 2
    assert "new has none" in comparison.uncompared[0]


def test_different_outcomes_are_not_the_same_work() -> None:
    failing = [replace(one, outcomes={"stored": 900, "failed": 100}) for one in exact(0.5).repetitions]
    comparison = compare([exact(1)], [Cell(KEY, tuple(failing))], paired=True)
    assert comparison.exit_code == 2
    assert "100.0% stored in base, 10.0% failed, 90.0% stored in new" in comparison.uncompared[0]


def test_zero_times_are_not_compared() -> None:
    idle = tuple(replace(one, cpu_seconds=0.0) for one in exact(1).repetitions)
    comparison = compare([exact(1)], [Cell(KEY, idle)], paired=True)
    assert comparison.exit_code == 2
    assert "has no cpu_ms_per_image on both sides" in comparison.uncompared[0]


def test_a_turn_without_a_time_leaves_the_other_turns_in_pairs() -> None:
    machine = [1.0, 2.0, 1.0, 2.0, 1.0, 2.0, 1.0, 2.0]
    base, new = ([repetition(25 * slow, 12 * slow, 250 * slow) for slow in machine] for _ in range(2))
    base[0] = replace(base[0], cpu_seconds=0.0)
    comparison = compare([Cell(KEY, tuple(base))], [Cell(KEY, tuple(new))], paired=True)
    assert row_of(comparison, "cpu_ms_per_image").interval.ratio == pytest.approx(1)


def test_no_common_cell_lists_both_sides() -> None:
    comparison = compare([exact(1)], [exact(1, key=replace(KEY, memory_mb=512))], paired=False)
    assert (comparison.verdict, comparison.exit_code) == (Verdict.INCOMPARABLE, 2)
    assert "base has ours (auto), lambda 1,769 MB" in comparison.uncompared[0]
    assert "new has ours (auto), lambda 512 MB" in comparison.uncompared[0]
    assert "new has none" in compare([exact(1)], [], paired=True).uncompared[0]


# --- the interval -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "student"), [(3, 9.925), (4, 5.841)])
def test_untrimmed_interval_equals_students_t(count: int, student: float) -> None:
    """Two-sided 99 % of Student's t with 2 and 3 degrees of freedom, from its table."""
    ratios = np.random.default_rng(1).lognormal(0.1, 0.02, count)
    logs = np.log(ratios)
    interval = ratio_interval([float(ratio) for ratio in ratios], [], 0.005)
    assert np.log(interval.ratio) == pytest.approx(logs.mean())
    assert np.log(interval.upper / interval.ratio) == pytest.approx(student * logs.std(ddof=1) / count**0.5, rel=0.04)


def test_outlier_moves_the_interval_no_more_than_a_high_value() -> None:
    calm = [1.0, 1.01, 1.02, 1.03, 1.04, 1.05, 1.06, 1.07, 1.08, 1.09]
    wild = [*calm[:-1], 50.0]
    assert ratio_interval(wild, [], 0.005) == ratio_interval(calm, [], 0.005)


def test_two_distant_values_give_an_unbounded_interval() -> None:
    assert ratio_interval([1.0, 1e9], [], 0.001).upper == np.inf
    assert ratio_interval([1.0, 1e9], [], 0.001).lower == 0


@pytest.mark.parametrize("sizes", [(5, 0), (12, 0), (8, 8), (5, 12)])
def test_interval_misses_the_truth_at_the_promised_rate(sizes: tuple[int, int]) -> None:
    """At a risk of 5 % to each side, so that 1000 trials tell: 50 are promised, and 25 to 80 would happen by chance."""
    chance = np.random.default_rng(7)
    above = 0
    for _ in range(1000):
        over, under = ([float(value) for value in chance.lognormal(1, 0.05, size)] for size in sizes)
        above += ratio_interval(over, under, 0.05).lower > np.exp(0 if under else 1)
    assert 25 < above < 80


def test_promised_rate_holds_with_one_noisy_sample() -> None:
    chance = np.random.default_rng(7)
    above = 0
    for _ in range(1000):
        over, under = ([float(value) for value in chance.lognormal(1, noise, 7)] for noise in (0.05, 0.002))
        above += ratio_interval(over, under, 0.02).lower > 1
    assert above < 34


# --- files of results ---------------------------------------------------------------------------------------------


def result(*cells: Cell, cpu: str = "made up") -> Result:
    whole = synthetic_result()
    return replace(whole, cells=cells, machine=replace(whole.machine, cpu=cpu))


def test_files_need_a_larger_difference_than_turns() -> None:
    base = result(exact(3), exact(2, handler="textbook"))
    for times, verdict in (
        (1.04, Verdict.NO_DIFFERENCE),
        (1.06, Verdict.REGRESSION),
        (1 / 1.04, Verdict.NO_DIFFERENCE),
        (1 / 1.06, Verdict.IMPROVEMENT),
    ):
        comparison = compare_results(base, result(exact(3 * times), exact(9, handler="textbook")))
        assert comparison.verdict is verdict
        assert row_of(comparison, "p50_ms").interval.ratio == pytest.approx(times)
        assert row_of(comparison, "p50_ms").visible == LEAST_BETWEEN_RUNS


def test_different_machines_and_pictures_are_not_compared() -> None:
    base = result(exact(1))
    with pytest.raises(CompareError, match="on made up and on another: measure both on one machine"):
        compare_results(base, result(exact(1), cpu="another"))
    pictures = (replace(base.picture_sets[0], hash="cd" * 32),)
    with pytest.raises(CompareError, match="the pictures differ"):
        compare_results(base, replace(base, picture_sets=pictures))


def test_different_cells_and_settings_are_notes() -> None:
    base = result(exact(1), exact(1, key=replace(KEY, memory_mb=512)))
    comparison = compare_results(base, replace(result(exact(1)), settings={"period_ms": "20"}))
    assert comparison.verdict is Verdict.NO_DIFFERENCE
    said = "\n".join(comparison.notes)
    assert "512 MB" in said
    assert "only in base" in said
    assert "repetitions is 5 in base and not set in new" in said


# --- what BASE and NEW are ----------------------------------------------------------------------------------------


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A checkout of two commits; the first is tagged `old`."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    folder = tmp_path / "repository"
    package = folder / "thumbnailer"
    package.mkdir(parents=True)
    git(folder, "init", "--quiet")
    for content, tag in (("old", "old"), ("new", "latest")):
        (package / "__init__.py").write_text(content)
        git(folder, "add", ".")
        git(folder, "commit", "--quiet", "-m", content)
        git(folder, "tag", tag)
    return folder


def git(folder: Path, *arguments: str) -> str:
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false")
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout


def worktrees(repository: Path) -> int:
    return git(repository, "worktree", "list", "--porcelain").count("worktree ")


def test_argument_is_a_file_a_checkout_or_a_revision(repository: Path) -> None:
    file = repository / "result.json"
    file.write_text("{}")
    assert side_of(str(file), repository) == Side(str(file), file.resolve())
    assert side_of(str(repository), repository) == Side(str(repository), repository.resolve())
    commit = git(repository, "rev-parse", "HEAD~1").strip()
    for name in ("old", "HEAD~1", commit, commit[:8]):
        assert side_of(name, repository) == Side(name, commit=commit)


@pytest.mark.parametrize("name", ["none", "-h", "--since=2020-01-01", "", "none.json", "old:thumbnailer"])
def test_other_arguments_are_refused(name: str, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (repository.parent / "elsewhere").mkdir()
    monkeypatch.chdir(repository.parent / "elsewhere")
    with pytest.raises(CompareError, match="not a file of results"):
        side_of(name, repository)


def test_other_folder_is_refused_unless_a_revision_has_its_name(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repository)
    (repository / "docs").mkdir()
    (repository / "old").mkdir()
    with pytest.raises(CompareError, match="docs: not a file of results, a folder with a checkout of this project"):
        side_of("docs", repository)
    assert side_of("old", repository).commit


def test_revision_without_git_is_refused_with_a_hint(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(repository))
    with pytest.raises(CompareError, match="give folders of two checkouts"):
        side_of("old", repository)


def test_revision_is_checked_out_temporarily(repository: Path) -> None:
    def measure_and_fail() -> None:
        with checked_out(side_of("old", repository), repository) as folder:
            seen.append(folder)
            assert (folder / "thumbnailer" / "__init__.py").read_text() == "old"
            (folder / "thumbnailer" / "left-behind.pyc").write_text("bytecode")
            assert worktrees(repository) == 2
            raise ZeroDivisionError

    seen: list[Path] = []
    with pytest.raises(ZeroDivisionError):
        measure_and_fail()
    assert not seen[0].parent.exists()
    assert worktrees(repository) == 1
    assert git(repository, "branch", "--list").count("\n") == 1


def test_failed_checkout_has_its_reason(repository: Path) -> None:
    with (
        pytest.raises(CompareError, match=r"gone \(000000000000\): cannot be checked out: .*0000"),
        checked_out(Side("gone", commit="0" * 40), repository),
    ):
        pytest.fail("there is nothing to measure")
    assert worktrees(repository) == 1


def test_checkout_is_measured_in_place(repository: Path) -> None:
    with checked_out(Side("here", repository), repository) as folder:
        assert folder == repository
        assert worktrees(repository) == 1
    assert (repository / "thumbnailer").is_dir()


# --- the command --------------------------------------------------------------------------------------------------


@pytest.fixture
def console() -> Console:
    return Console(file=StringIO(), width=200)


def said(console: Console) -> str:
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def unmeasured(trees: Mapping[str, Path]) -> Result:
    raise AssertionError("files are not measured again")


@pytest.mark.parametrize(("times", "code", "sentence_"), [(1, 0, "No difference seen"), (1.2, 1, "Regression: new")])
def test_two_builds_are_measured_in_one_run(
    times: float, code: int, sentence_: str, repository: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(trees: Mapping[str, Path]) -> Result:
        content = {side: (tree / "thumbnailer" / "__init__.py").read_text() for side, tree in trees.items()}
        assert content == {"base": "old", "new": "changed"}
        return result(exact(1, handler="base"), exact(times, handler="new"), exact(9, handler="floor"))

    (repository / "thumbnailer" / "__init__.py").write_text("changed")
    monkeypatch.setattr("bench.compare.command.ROOT", repository)
    assert run("old", str(repository), measure, console) == code
    assert sentence_ in said(console)
    assert "billed_ms_per_image" in said(console)
    assert "base: old (" in said(console)
    assert worktrees(repository) == 1


def test_two_files_are_read_and_compared(tmp_path: Path, console: Console) -> None:
    paths = [tmp_path / name for name in ("base.json", "new.json", "other.json")]
    other = exact(1, key=replace(KEY, memory_mb=512))
    for path, cells in zip(paths, ([exact(1)], [exact(0.5)], [other]), strict=True):
        write_result(result(*cells), path)
    base, new, foreign = map(str, paths)
    assert run(base, new, unmeasured, console) == 0
    assert "Improvement: new takes less than base" in said(console)
    assert run(new, base, unmeasured, console) == 1
    assert run(base, foreign, unmeasured, console) == 2
    assert "no cell in common" in said(console)
    assert "cannot be compared" in said(console)


def test_file_against_build_is_refused_with_a_hint(repository: Path, console: Console) -> None:
    path = repository / "base.json"
    write_result(result(exact(1)), path)
    for base, new in ((str(path), str(repository)), (str(repository), str(path))):
        with pytest.raises(CompareError, match="give two files, or two folders or revisions"):
            run(base, new, unmeasured, console)

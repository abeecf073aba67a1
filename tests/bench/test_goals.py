"""`python -m bench goals`: a row is data, its verdict comes from one run, and a row without a number says why."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image

from bench.cells.pictures import SAMPLES, Pictures
from bench.goals import command, thumbnails
from bench.goals.command import EXPERIMENT, GOALS, Goal, Measured, run
from bench.peers import PEERS
from bench.questions import VARIANTS, Options, ours, peer
from bench.result import METRICS, Cell, CellKey, Repetition
from bench.rig.limits import NoLimits
from bench.rig.network import PRESETS
from tests.bench.results import PRICES, lambda_cell
from tests.tools.scoring import ssim

ROOT = Path(__file__).parents[2]
ROWS = [goal for goals in GOALS.values() for goal in goals]
OPTIONS = Options()
SETS = {"photos": Pictures("photos", SAMPLES, (SAMPLES / "rocket.jpg",))}
NUMBERS = lambda_cell(512, "auto").repetitions[0]
CPU = Goal("CPU", "cpu_ms_per_image", most=0.5, rivals=["sharp", "tutorial"], memories=(512, 1024))
OURS = {memory: replace(ours(OPTIONS, memory), batch_size=10) for memory in (512, 1024)}


def measured(cpu_ms: dict[CellKey, float], refused: str = "") -> Measured:
    """A run with these cells; None of milliseconds: refused."""
    cells = {key: Cell(key, (repetition(ms),)) if ms else Cell(key, refused=refused) for key, ms in cpu_ms.items()}
    return Measured(OPTIONS, PRICES, SETS, cells)


def repetition(cpu_ms: float) -> Repetition:
    return replace(NUMBERS, cpu_seconds=cpu_ms * NUMBERS.records / 1000)


def of_sharp(*cpu_ms: float) -> dict[CellKey, float]:
    """The cells of both peers: sharp's milliseconds by memory, the tutorial's are 100."""
    sharp = {peer("sharp", key): ms for key, ms in zip(OURS.values(), cpu_ms, strict=True)}
    return sharp | {peer("tutorial", key): 100.0 for key in OURS.values()}


# --- the rows -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("goal", ROWS, ids=[goal.name for goal in ROWS])
def test_a_row_names_what_exists(goal: Goal) -> None:
    assert (goal.most is None) is not (goal.least is None)
    assert goal.number in {*METRICS, "usd_per_million"} or hasattr(thumbnails, goal.number)
    assert goal.cell.get("variant", "") in VARIANTS
    assert set(goal.rivals) <= {*PEERS, *PRESETS}


@pytest.fixture(autouse=True)
def unbuilt(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variant whose setting the product does not have."""
    monkeypatch.setitem(VARIANTS, "unbuilt", {"THUMBNAILER_UNBUILT": "on"})


def test_rows_that_are_not_built_stay_and_have_no_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "write-once" in {key.variant for key in EXPERIMENT.keys(OPTIONS)}
    monkeypatch.setitem(VARIANTS, "write-once", VARIANTS["unbuilt"])
    assert "the same where sources are written once" in {goal.name for goal in ROWS}
    assert "write-once" not in {key.variant for key in EXPERIMENT.keys(OPTIONS)}
    assert "web" in {key.variant for key in EXPERIMENT.keys(OPTIONS)}


# --- verdicts -----------------------------------------------------------------------------------------------------


def test_the_best_of_ours_is_compared_with_the_best_of_the_best_rival() -> None:
    cells = {OURS[512]: 20.0, OURS[1024]: 10.0} | of_sharp(40.0, 30.0)
    assert CPU.measure(measured(cells)) == pytest.approx(10 / 30)
    assert CPU.judge(measured(cells)) == ("reached", "0.3333 x")
    assert CPU.judge(measured(cells | {OURS[1024]: 19.0}))[0] == "missed"


def test_more_images_a_gb_second_are_better() -> None:
    goal = Goal("rate", "images_per_gb_second", least=1.0, memories=(512, 1024))
    found = goal.measure(measured(dict.fromkeys(OURS.values(), 10.0)))
    rate = Cell(OURS[512], (NUMBERS,)).median("images_per_gb_second")
    assert found == rate != Cell(OURS[1024], (NUMBERS,)).median("images_per_gb_second")


def test_a_refused_rival_leaves_the_row_without_a_number() -> None:
    cells = dict.fromkeys(OURS.values(), 10.0) | of_sharp(0, 0)
    verdict = CPU.judge(measured(cells, "node is not installed"))
    assert verdict == ("not measured", "node is not installed")


def test_one_refused_tier_of_several_is_left_out() -> None:
    cells = {OURS[512]: 10.0, OURS[1024]: 0.0} | of_sharp(40.0, 0.0)
    assert CPU.judge(measured(cells, "too little memory")) == ("reached", "0.25 x")


def test_missing_pictures_and_settings_are_named() -> None:
    elsewhere = Goal("peak", "peak_mb", most=1, pictures="24mp-progressive", of=["128x128"])
    assert elsewhere.judge(measured({})) == ("not measured", "this run has no pictures 24mp-progressive")
    unknown = Goal("cost", "usd_per_million", most=1, cell={"variant": "unbuilt"})
    assert unknown.judge(measured({}))[0] == "not built"


def test_a_number_of_thumbnails_gets_files_and_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    def peak(paths: tuple[Path, ...], wish: str) -> float:
        return len(paths) if wish == "128x128" else 0

    monkeypatch.setattr(thumbnails, "peak_mb", peak)
    goal = Goal("peak", "peak_mb", most=1, unit="MB", of=["128x128"])
    assert goal.judge(measured({})) == ("reached", "1 MB")


def test_a_row_that_breaks_fails_and_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thumbnails, "peak_mb", lambda *_: dict[str, float]()["missing"])
    assert Goal("peak", "peak_mb", most=1).judge(measured({})) == ("failed", "KeyError: 'missing'")


def test_a_setting_that_only_ours_has_needs_no_cells_of_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(VARIANTS, "write-once", {})
    goal = Goal("once", "usd_per_million", most=1, rivals=["sharp"], cell={"variant": "write-once"})
    (mine,), (theirs,) = goal.keys(OPTIONS)
    assert (mine.variant, theirs) == ("write-once", peer("sharp", replace(mine, variant="")))
    web = Goal("web", "cpu_ms_per_image", most=1, rivals=["sharp"], cell={"variant": "web"})
    assert [keys[0].variant for keys in web.keys(OPTIONS)] == ["web", "web"]


# --- the command --------------------------------------------------------------------------------------------------


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Replaces the rows and the machine; the measurement raises the error."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("os.sched_setaffinity", lambda *_: None)
    monkeypatch.setattr(command, "pictures_for", lambda _: dict(SETS))
    monkeypatch.setattr(command, "find_binary", lambda: "")

    def replace_all(*goals: Goal, error: Exception) -> None:
        def measure(*_: Any) -> None:
            raise error

        monkeypatch.setattr(command, "GOALS", {"rows": list(goals)})
        monkeypatch.setattr(command, "measure", measure)

    return replace_all


def test_without_control_groups_rows_say_so(machine: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    machine(CPU, error=NoLimits("no control groups"))
    assert run(EXPERIMENT, OPTIONS) == 0
    assert "not measured: no control groups" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("goal", "code"),
    [
        (Goal("likeness", "least_likeness", least=0.9, pictures="coloured-text", of=["512"]), 0),
        (Goal("likeness", "least_likeness", least=1.1, pictures="coloured-text", of=["512"]), 1),
        (Goal("cost", "usd_per_million", most=1, cell={"variant": "unbuilt"}), 1),
    ],
    ids=["reached", "missed", "not built"],
)
def test_the_exit_code_says_whether_a_row_fails(machine: Callable[..., None], goal: Goal, code: int) -> None:
    machine(goal, error=NoLimits("no control groups"))
    assert run(EXPERIMENT, OPTIONS) == code


def test_one_row_is_measured_by_a_part_of_its_name(
    machine: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    machine(CPU, replace_name(CPU, "other"), error=NoLimits("no control groups"))
    assert run(EXPERIMENT, replace(OPTIONS, row="oth")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if line] == ["rows", "other"]


def replace_name(goal: Goal, name: str) -> Goal:
    return msgspec.structs.replace(goal, name=name)


# --- thumbnails ---------------------------------------------------------------------------------------------------


def test_likeness_is_one_for_the_reference_and_less_for_noise() -> None:
    path = SAMPLES / "rocket.jpg"
    with Image.open(path) as image:
        reference = image.convert("RGB").resize((128, 85), Image.Resampling.LANCZOS)
    noise = np.random.default_rng(1).normal(0, 12, (85, 128, 3))
    noisy = Image.fromarray(np.clip(np.asarray(reference) + noise, 0, 255).astype(np.uint8))
    assert thumbnails.likeness(path, png(reference)) == pytest.approx(1)
    expected = ssim(np.asarray(reference, np.float64), np.asarray(noisy, np.float64))
    assert thumbnails.likeness(path, png(noisy)) == pytest.approx(expected, abs=0.02)
    assert expected < 0.9


def png(image: Image.Image) -> bytes:
    out = BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def test_the_peak_of_a_render_grows_with_its_thumbnail() -> None:
    paths = (SAMPLES / "rocket.jpg",)
    assert 0 < thumbnails.peak_mb(paths, "32x32") < thumbnails.peak_mb(paths, "640x640:png")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_quickest_run_shows_every_row(tmp_path: Path) -> None:
    arguments = ["--quick", "--memory=512", "--seconds=0", "--repetitions=1", f"--output={tmp_path / 'goals.json'}"]
    done = subprocess.run(
        [sys.executable, "-m", "bench", "goals", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    lines = [line for line in done.stdout.splitlines() if "≤" in line or "≥" in line]
    assert [line[:80].strip() for line in lines] == [goal.name for goal in ROWS], done.stderr
    assert done.returncode == any(" missed: " in line or " not built: " in line for line in lines), done.stderr
    assert any(" reached: " in line for line in lines)

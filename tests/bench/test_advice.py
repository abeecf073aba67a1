"""Advice from made-up loads whose numbers are known: what is right for each is what is recommended, and how surely."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from bench.money.advice import Advice, advise, differ, plan
from bench.money.candidates import BATCHES, FURTHEST, MEMORIES, Candidate, CostInterval
from bench.money.command import ENVIRONMENTS, answer
from bench.money.costing import Requests, cell_task, fargate_cost, lambda_cost, sqs_requests
from bench.money.invocation_model import InvocationModel, fit
from bench.money.measured import AdviceError, Question, Sample
from bench.money.months import break_even
from bench.questions import TASKS, Options
from bench.result import Cell, Repetition
from tests.bench.advised import CPU_BOUND, IO_BOUND, LOUD, PLANNED, Made
from thumbnailer.backfill.prices import load_prices

PRICES = load_prices()
SCOPE = Options()
SAMPLE = Sample(pictures=12, looked=200, error=0.02)
BETWEEN = Made(wait_ms=60, cpu_ms=40)
FUNCTIONS = tuple(each for each in PLANNED if each.platform == "lambda")


def advice_for(made: Made, rate: float | None = None, deadline: float | None = None) -> Advice:
    return advise(made.cells(), PRICES, Question(rate, deadline), SAMPLE)


def found(advice: Advice, memory_mb: int, batch_size: int, platform: str = "lambda") -> Candidate:
    return next(
        each
        for each in advice.candidates
        if (each.platform, each.memory_mb, each.batch_size) == (platform, memory_mb, batch_size)
    )


def said(advice: Advice, *cells: Cell) -> str:
    return answer(advice, replace(CPU_BOUND.result(), cells=cells or tuple(CPU_BOUND.cells())))


def best(advice: Advice) -> Candidate:
    assert advice.best is not None
    return advice.best


# --- what is measured ---------------------------------------------------------------------------------------------


def test_plan_has_three_memory_sizes_two_batch_sizes_and_a_task() -> None:
    assert [(each.platform, each.memory_mb, each.batch_size) for each in plan(1, SCOPE)] == [
        ("lambda", 512, 1),
        ("lambda", 512, 10),
        ("lambda", 1024, 1),
        ("lambda", 1024, 10),
        ("lambda", 1769, 1),
        ("lambda", 1769, 10),
        ("fargate", 2048, 10),
    ]


@pytest.mark.parametrize("cores", [0.25, 0.5, 1, 2, 3, 8])
def test_plan_fits_the_available_cores(cores: float) -> None:
    wanted = plan(cores, SCOPE)
    assert max(each.vcpus for each in wanted) <= cores
    assert all(each.vcpus == round(each.memory_mb / 1769, 4) for each in wanted if each.platform == "lambda")
    assert {(each.vcpus, each.memory_mb) for each in wanted if each.platform == "fargate"} <= set(TASKS)


def test_more_cores_allow_larger_functions() -> None:
    assert max(each.memory_mb for each in plan(2, SCOPE)) == 3008
    with pytest.raises(AdviceError, match="too few"):
        plan(0.1, SCOPE)


# --- the model ----------------------------------------------------------------------------------------------------


def points(model: InvocationModel) -> list[tuple[float, float, float]]:
    places = [(wanted.vcpus, wanted.batch_size) for wanted in FUNCTIONS]
    return [(vcpus, records, model.invocation_ms(vcpus, records)) for vcpus, records in places]


@pytest.mark.parametrize("numbers", [(60, 0, 0, 40), (20, 3, 5, 150), (400, 0, 0, 0), (0, 0, 0, 80)])
def test_fit_recovers_the_numbers_of_a_synthetic_load(numbers: tuple[float, float, float, float]) -> None:
    model = fit(points(InvocationModel(*numbers)))
    fitted = (model.wait_ms, model.wait_each_ms, model.cpu_ms, model.cpu_each_ms)
    assert fitted == pytest.approx(numbers, abs=1e-6)
    assert model.left_out_error < 1e-9


def test_fit_never_returns_negative_numbers() -> None:
    odd = [(0.3, 1, 100), (0.3, 10, 90), (1, 1, 200), (1, 10, 150), (2, 5, 10)]
    model = fit(odd)
    assert min(model.wait_ms, model.wait_each_ms, model.cpu_ms, model.cpu_each_ms) >= 0
    assert model.left_out_error > 0.5


def test_model_of_four_points_has_unknown_error() -> None:
    model = fit(points(InvocationModel(60, 0, 0, 40))[:4])
    assert math.isinf(model.left_out_error)


def test_second_core_speeds_up_batches_only() -> None:
    model = InvocationModel(10, 0, 0, 100)
    assert model.invocation_ms(2, 1) == model.invocation_ms(1, 1)
    assert model.invocation_ms(2, 10) == 10 + 10 * 100 / 2


# --- what is recommended ------------------------------------------------------------------------------------------


def test_waiting_load_gets_the_least_memory() -> None:
    chosen = best(advice_for(IO_BOUND))
    assert (chosen.platform, chosen.memory_mb, chosen.batch_size) == ("lambda", 256, 10)


def test_computing_load_gets_a_fast_size_at_the_same_price() -> None:
    advice = advice_for(CPU_BOUND)
    chosen = best(advice)
    assert 1024 <= chosen.memory_mb <= 1769
    assert chosen.p95 < found(advice, 512, chosen.batch_size).p95
    cheapest = min(each.usd for each in advice.candidates if not each.refused)
    assert chosen.usd < 1.02 * cheapest


@pytest.mark.parametrize("made", [CPU_BOUND, IO_BOUND, BETWEEN], ids=["cpu", "io", "between"])
def test_modelled_prices_match_the_synthetic_load(made: Made) -> None:
    advice = advice_for(made)
    for memory in (256, 768, 1280, 2048):
        for batch in BATCHES:
            ms = made.invocation_ms(memory / 1769, batch)
            requests = Requests(get=1, put=1, sqs=sqs_requests(batch))
            cost = lambda_cost(PRICES, memory, ms, batch, requests)
            one = found(advice, memory, batch)
            assert one.usd == pytest.approx(cost.total, rel=0.01)
            assert one.p95 == pytest.approx(made.tail * ms / 1000, rel=0.01)
            assert one.basis == ("fitted" if 512 < memory < 1769 else "extrapolated")


def test_tighter_deadline_needs_more_memory() -> None:
    chosen = [best(advise(BETWEEN.cells(FUNCTIONS), PRICES, Question(5, deadline), SAMPLE)) for deadline in (4, 0.3)]
    assert chosen[0].memory_mb < chosen[1].memory_mb
    assert all(each.p95 <= deadline for each, deadline in zip(chosen, (4, 0.3), strict=True))


def test_impossible_deadline_names_the_fastest_time() -> None:
    advice = advice_for(BETWEEN, 50, 0.05)
    assert advice.best is None
    assert advice.next_best is None
    assert advice.confidence == "low"
    quickest = min(each.p95 for each in advice.candidates if each.refused.startswith("p95"))
    assert f"p95 of {quickest:.2f} s" in said(advice)


def test_high_rates_choose_fargate_low_rates_lambda() -> None:
    many, few = (best(advice_for(CPU_BOUND, rate, 10)) for rate in (200, 0.05))
    assert (many.platform, few.platform) == ("fargate", "lambda")
    assert many.at_once
    task = cell_task(CPU_BOUND.cell(PLANNED[-1]))
    assert many.at_once == math.ceil(200 / (0.8 * task.images_per_second))
    assert many.usd == pytest.approx(
        fargate_cost(task, PRICES, 200 / (many.at_once * task.images_per_second)).total, rel=1e-6
    )


def test_best_of_the_other_platform_has_its_price() -> None:
    advice = advice_for(CPU_BOUND, 200, 10)
    assert advice.next_platform is not None
    other = advice.next_platform
    assert other.platform == "lambda"
    assert other.usd == min(each.usd for each in advice.candidates if each.platform == "lambda" and not each.refused)
    assert f"{100 * (other.usd / best(advice).usd - 1):.1f} % dearer" in said(advice)


def test_spot_is_refused_with_a_deadline() -> None:
    assert best(advice_for(CPU_BOUND, 200)).platform == "fargate-spot"
    refused = found(advice_for(CPU_BOUND, 200, 10), 2048, 10, "fargate-spot")
    assert "may stop" in refused.refused
    assert refused.usd < found(advice_for(CPU_BOUND, 200, 10), 2048, 10, "fargate").usd


def test_task_without_rate_has_a_break_even_only() -> None:
    advice = advice_for(CPU_BOUND)
    task = found(advice, 2048, 10, "fargate")
    assert task.usd_per_million is None
    assert "--rate" in task.refused
    assert set(advice.break_evens) == {"Fargate, 1 vCPU, 2 GB", "Fargate Spot, 1 vCPU, 2 GB"}
    assert "--rate" in said(advice)


@pytest.mark.parametrize("rate", [None, 0.001, 300])
def test_break_even_uses_a_warm_function_at_any_rate(rate: float | None) -> None:
    advice = advice_for(BETWEEN, rate)
    warm = min((each for each in advice_for(BETWEEN).candidates if not each.refused), key=lambda each: each.usd)
    task = cell_task(BETWEEN.cell(PLANNED[-1]))
    assert warm.cost is not None
    assert advice.break_evens["Fargate, 1 vCPU, 2 GB"] == break_even(warm.cost, task, PRICES)
    assert advice.break_evens["Fargate Spot, 1 vCPU, 2 GB"] == break_even(warm.cost, replace(task, spot=True), PRICES)


# --- batches, windows, cold starts --------------------------------------------------------------------------------


def test_window_lasts_until_the_batch_is_full() -> None:
    advice = advice_for(BETWEEN, 50, 10)
    one = found(advice, 1024, 10)
    assert (one.window, one.records) == (1, 10)
    assert one.p95 == pytest.approx(10 / 50 + BETWEEN.tail * BETWEEN.invocation_ms(1024 / 1769, 10) / 1000, rel=0.01)


def test_deadline_shortens_window_and_batch() -> None:
    one = found(advice_for(BETWEEN, 2, 4), 1024, 10)
    assert one.window == 2  # 4 s less some 1.5 s for a batch
    assert one.records == 1 + 2 * 2
    assert one.p95 <= 4


def test_batches_that_seldom_fill_are_refused() -> None:
    advice = advice_for(BETWEEN, 0.05, 2)
    assert best(advice).batch_size == 1
    assert "seldom fills" in found(advice, 512, 10).refused
    assert advice.next_best is not None
    assert advice.next_best.batch_size == 1


def test_rare_pictures_pay_for_cold_starts() -> None:
    rare, busy = (found(advice_for(BETWEEN, rate, 10), 1024, 1) for rate in (1 / 86_400, 5))
    cold = BETWEEN.cold_ms / 1000
    assert rare.p95 - busy.p95 == pytest.approx(cold)
    paid = 1e6 * cold * PRICES.gb_second("x86")
    assert rare.usd - busy.usd == pytest.approx(paid, rel=0.01)


def test_measured_cold_starts_do_not_change_the_price() -> None:
    always_cold = [replace(one, cold_start_ms=900.0) for one in _warm(BETWEEN)]
    cell = BETWEEN.cell(PLANNED[0])
    with_colds = [replace(cell, repetitions=tuple(always_cold)), *BETWEEN.cells(PLANNED[1:])]
    same = found(advise(with_colds, PRICES, Question(), SAMPLE), 512, 1)
    assert same.usd == pytest.approx(found(advice_for(BETWEEN), 512, 1).usd, rel=0.005)


def _warm(made: Made) -> list[Repetition]:
    return [one for one in made.cell(PLANNED[0]).repetitions if one.cold_start_ms is None]


def test_exceeding_the_account_limit_is_reported() -> None:
    advice = advise(BETWEEN.cells(FUNCTIONS), PRICES, Question(40_000, 10), SAMPLE)
    assert (best(advice).at_once or 0) > ENVIRONMENTS
    assert "1,000" in said(advice)


# --- memory -------------------------------------------------------------------------------------------------------


def test_too_little_memory_is_refused() -> None:
    advice = advice_for(replace(IO_BOUND, peak_rss_mb=600))
    assert best(advice).memory_mb == 768
    assert {each.memory_mb for each in advice.candidates if "needs 690 MB" in each.refused} == {256, 512}


def test_killed_sizes_and_smaller_ones_are_refused() -> None:
    cells = [
        replace(cell, repetitions=tuple(replace(one, oom_kills=1) for one in cell.repetitions))
        if (cell.key.memory_mb, cell.key.batch_size) == (512, 10)
        else cell
        for cell in IO_BOUND.cells()
    ]
    advice = advise(cells, PRICES, Question(), SAMPLE)
    assert best(advice).memory_mb == 768
    assert found(advice, 256, 10).refused == found(advice, 512, 10).refused == "ran out of memory"
    assert found(advice, 512, 5).refused == found(advice, 256, 1).refused == "ran out of memory"
    assert not found(advice, 512, 1).refused


def test_size_that_rejects_the_largest_picture_is_refused() -> None:
    advice = advise(IO_BOUND.cells(), PRICES, Question(), replace(SAMPLE, largest_megapixels=120))
    assert best(advice).memory_mb == 512  # 256 MB take some 100 MP
    assert "120 MP" in found(advice, 256, 10).refused


def test_sizes_far_from_the_measured_ones_are_refused() -> None:
    advice = advice_for(CPU_BOUND, 50, 10)
    assert {each.memory_mb for each in advice.candidates if "too far" in each.refused} == {
        memory for memory in MEMORIES if memory > FURTHEST * 1769
    }


# --- how sure -----------------------------------------------------------------------------------------------------


def test_quiet_repetitions_and_a_model_that_fits_give_high_confidence() -> None:
    advice = advice_for(CPU_BOUND)
    assert advice.confidence == "high"
    assert advice.known.model.left_out_error < 0.01


def test_noise_lowers_the_confidence_and_widens_the_interval() -> None:
    quiet, loud = (advice_for(made, 50, 60) for made in (CPU_BOUND, replace(CPU_BOUND, noise=LOUD)))
    assert loud.confidence == "low"
    pairs = [(best(advice).p95_seconds, best(advice).usd_per_million) for advice in (quiet, loud)]
    for one, other in zip(*pairs, strict=True):
        assert one is not None
        assert other is not None
        assert other.share > 2 * one.share


def test_few_pictures_lower_the_confidence() -> None:
    words = [
        advise(CPU_BOUND.cells(), PRICES, Question(), replace(SAMPLE, error=error)).confidence
        for error in (0.02, 0.2, 0.6)
    ]
    assert words == ["high", "fair", "low"]


def test_single_repetition_has_an_assumed_error() -> None:
    once = advice_for(replace(CPU_BOUND, noise=(1.0,)))
    assert best(once).own_error >= 0.1
    assert once.confidence != "high"


def test_extrapolation_limits_confidence_to_fair() -> None:
    beyond = advice_for(IO_BOUND)
    assert best(beyond).basis == "extrapolated"
    assert beyond.confidence == "fair"


def test_errors_grow_from_measured_to_fitted_to_extrapolated() -> None:
    cells = [_slower(BETWEEN.cell(FUNCTIONS[0]), 1.1), *BETWEEN.cells(PLANNED[1:])]
    advice = advise(cells, PRICES, Question(), SAMPLE)
    assert advice.known.model.left_out_error > 0.05
    measured, fitted, beyond = (found(advice, memory, 10).own_error for memory in (1024, 768, 256))
    assert measured < fitted
    assert beyond == pytest.approx(2 * fitted, rel=0.05)


def test_bad_model_leaves_only_measured_candidates() -> None:
    factors = (1, 4, 0.3, 1, 3, 0.5)
    cells = [_slower(BETWEEN.cell(wanted), factor) for wanted, factor in zip(FUNCTIONS, factors, strict=True)]
    advice = advise(cells, PRICES, Question(), SAMPLE)
    assert advice.confidence == "low"
    assert {each.basis for each in advice.candidates if not each.refused} == {"measured"}
    assert "only measured ones" in said(advice)


def _slower(cell: Cell, factor: float) -> Cell:
    return replace(cell, repetitions=tuple(replace(one, billed_ms=one.billed_ms * factor) for one in cell.repetitions))


def test_too_few_cells_for_a_model_are_compared_directly() -> None:
    advice = advise(BETWEEN.cells(PLANNED[1:2]), PRICES, Question(), SAMPLE)
    assert (best(advice).memory_mb, best(advice).batch_size) == (512, 10)
    assert advice.next_best is None
    assert advice.confidence == "low"


def test_indistinguishable_candidates_choose_the_faster() -> None:
    advice = advice_for(Made(wait_ms=0, cpu_ms=100))
    assert advice.next_best is not None
    assert not differ(advice.next_best, best(advice))
    assert best(advice).p95 <= advice.next_best.p95


def test_different_candidates_are_told_apart() -> None:
    advice = advice_for(IO_BOUND)
    assert advice.next_best is not None
    assert differ(advice.next_best, best(advice))
    assert advice.next_best.usd > best(advice).usd


def test_deadline_inside_the_interval_is_reported() -> None:
    p95 = found(advice_for(BETWEEN, 5, 10), 1769, 1).p95
    advice = advise(BETWEEN.cells(FUNCTIONS), PRICES, Question(5, p95 * 1.001), SAMPLE)
    assert "deadline lies within" in said(advice)


def test_interval_grows_with_error_but_not_with_the_exact_part() -> None:
    narrow, wide = CostInterval.around(10, 0.01, exact=5), CostInterval.around(10, 0.1, exact=5)
    assert narrow.value == wide.value == 15
    assert wide.high - wide.low == pytest.approx(10 * (narrow.high - narrow.low))
    assert CostInterval.around(1, 5, exact=2).low == 2


def test_refused_and_failed_cells_are_reported() -> None:
    cells = BETWEEN.cells()
    refused = Cell(replace(cells[0].key, memory_mb=10_240), refused="this machine has 2 cores")
    failing = replace(
        cells[0], repetitions=tuple(replace(one, outcomes={"stored": 40, "failed": 10}) for one in cells[0].repetitions)
    )
    advice = advise([failing, *cells[1:], refused], PRICES, Question(), SAMPLE)
    text = said(advice, failing, *cells[1:], refused)
    assert "this machine has 2 cores" in text
    assert "gave no thumbnail" in text


def test_advice_without_measurements_raises() -> None:
    refused = Cell(BETWEEN.cells()[0].key, refused="no cgroups here")
    with pytest.raises(AdviceError, match="no cgroups here"):
        advise([refused], PRICES, Question(), SAMPLE)
    textbook = [replace(cell, key=replace(cell.key, handler="textbook")) for cell in BETWEEN.cells()]
    with pytest.raises(AdviceError, match="nothing was measured"):
        advise(textbook, PRICES, Question(), SAMPLE)


def test_task_without_functions_is_advised() -> None:
    advice = advise(BETWEEN.cells(PLANNED[-1:]), PRICES, Question(50, 10), SAMPLE)
    assert best(advice).platform == "fargate"
    assert advice.break_evens == {}

"""The probe with files that hypothesis breaks and, after a failure, shrinks."""

from __future__ import annotations

import time
from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.heads import probed
from tests.fuzz.mutate import mutated
from tests.fuzz.sources import Source, sources

BOUND_SECONDS = 2.0
"""CPU time, the bound of MATRIX.md."""
DICE = st.randoms(use_true_random=False)
SOURCES = st.sampled_from(sorted(sources(), key=lambda source: len(source.data)))
EXAMPLES = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@given(SOURCES, DICE, st.sampled_from([None, 0, 1, 1 << 40]))
@EXAMPLES
def test_a_broken_file_ends_in_a_value_or_one_of_four_errors_in_time(
    source: Source, dice: Random, more: int | None
) -> None:
    data = mutated(dice, source)
    started = time.process_time()
    probed(data, None if more is None else len(data) + more)
    assert time.process_time() - started < BOUND_SECONDS


@given(SOURCES, DICE, st.integers(0, 1 << 16))
@EXAMPLES
def test_a_complete_head_agrees_with_the_whole_file(source: Source, dice: Random, size: int) -> None:
    """The plan is made from the head, so the whole file must not contradict it."""
    data = mutated(dice, source)
    head, all_of_it = probed(data[:size], len(data)), probed(data, len(data))
    if head is None or all_of_it is None or not head.complete:
        return
    assert (head.format, head.width, head.height) == (all_of_it.format, all_of_it.width, all_of_it.height)
    assert (head.orientation, head.frames) == (all_of_it.orientation, all_of_it.frames)

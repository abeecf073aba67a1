from __future__ import annotations

import math
from dataclasses import asdict

import pytest

from thumbnailer.planning.tier import HARD_MAX_PIXELS, MB, tier_for

LAMBDA = range(128, 10_241)


def test_more_memory_never_lowers_a_limit() -> None:
    before = asdict(tier_for(LAMBDA[0]))
    for memory_mb in LAMBDA:
        tier = asdict(tier_for(memory_mb))
        assert all(tier[name] >= value for name, value in before.items()), memory_mb
        before = tier


@pytest.mark.parametrize(
    ("memory_mb", "workers"),
    [(128, 1), (512, 1), (1769, 1), (1770, 1), (2048, 2), (3538, 2), (3700, 3), (8192, 5), (10240, 6)],
)
def test_every_started_vcpu_gets_a_worker(memory_mb: int, workers: int) -> None:
    assert tier_for(memory_mb).workers == workers


def test_workers_are_the_vcpus_rounded_up() -> None:
    for memory_mb in LAMBDA[::64]:
        tier = tier_for(memory_mb)
        assert tier.workers in {max(1, math.ceil(tier.vcpus)), max(1, math.floor(tier.vcpus))}, memory_mb
        assert tier.workers >= tier.vcpus - 0.05, memory_mb


@pytest.mark.parametrize(("cpus", "workers"), [(0.25, 1), (1.0, 1), (1.5, 2), (2.0, 2), (16.0, 16)])
def test_the_cpu_limit_of_a_container_sets_its_workers(cpus: float, workers: int) -> None:
    tier = tier_for(512, cpus)
    assert (tier.vcpus, tier.workers) == (cpus, workers)
    assert tier.memory_budget == tier_for(512).memory_budget


def test_every_tier_can_work_and_stays_within_its_memory() -> None:
    for memory_mb in (1, 64, *LAMBDA[::512], 1_048_576):
        tier = tier_for(memory_mb)
        assert min(tier.workers, tier.in_flight, tier.max_bytes, tier.max_pixels, tier.max_frames) >= 1, memory_mb
        assert 24 * MB <= tier.memory_budget <= max(24, memory_mb) * MB, memory_mb
        assert 4 <= tier.in_flight <= 64, memory_mb
        assert tier.max_pixels <= HARD_MAX_PIXELS, memory_mb
        assert tier.max_bytes <= 256 * MB, memory_mb


def test_changes_replace_only_the_named_fields() -> None:
    tier = tier_for(1769)
    changed = tier.with_changes({"workers": 7, "max_pixels": 5})
    assert (changed.workers, changed.max_pixels) == (7, 5)
    assert changed.with_changes({"workers": tier.workers, "max_pixels": tier.max_pixels}) == tier
    assert tier.with_changes({}) == tier

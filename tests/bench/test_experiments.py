"""The questions: each cell of ours comes with its peers, and a question varies only its subject."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from bench.cells.testbed import visible_cores
from bench.peers import PEERS
from bench.questions import EXPERIMENTS, FLOOR, MEMORIES, TEXTBOOK, Options, ours, peer
from bench.result import CellKey
from bench.rig.network import PRESETS
from thumbnailer.planning.tier import MB_PER_VCPU

FULL, QUICK = Options(), Options(quick=True)
QUESTIONS = [name for name in EXPERIMENTS if name != "all"]
JPEG = ("photos", "baseline", "progressive")


def keys(name: str, scope: Options = FULL) -> list[CellKey]:
    return EXPERIMENTS[name].keys(scope)


def of_ours(name: str, scope: Options = FULL) -> list[CellKey]:
    return [key for key in keys(name, scope) if key.handler == "ours"]


def varied(found: list[CellKey]) -> set[str]:
    """The fields that are not the same in all of them."""
    documents = [asdict(key) for key in found]
    return {name for name in documents[0] if len({document[name] for document in documents}) > 1}


@pytest.mark.parametrize("scope", [FULL, QUICK, Options(memories=(256, 640))], ids=["full", "quick", "own memories"])
@pytest.mark.parametrize("name", QUESTIONS)
def test_every_function_has_textbook_and_floor_in_its_place(name: str, scope: Options) -> None:
    found = keys(name, scope)
    there = {(key.handler, key.place()) for key in found}
    functions = [key for key in of_ours(name, scope) if key.platform == "lambda"]
    assert functions
    for key in functions:
        assert (TEXTBOOK, key.place()) in there
        assert ((FLOOR, key.place()) in there) is (key.pictures in JPEG)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_no_cell_is_asked_for_twice(name: str) -> None:
    assert len(set(keys(name))) == len(keys(name))


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("tiers", {"memory_mb", "vcpus"}),
        ("engines", {"memory_mb", "vcpus", "engine", "transport"}),
        ("batch", {"batch_size", "in_flight", "memory_mb", "vcpus"}),
        ("latency", {"latency"}),
        ("coldstart", {"memory_mb", "vcpus"}),
        ("fargate", {"memory_mb", "vcpus", "platform"}),
        ("peers", {"memory_mb", "vcpus"}),
        ("formats", {"pictures"}),
    ],
)
def test_a_question_varies_only_its_subject(name: str, fields: set[str]) -> None:
    assert varied(of_ours(name)) == fields


def test_batch_size_and_in_flight_vary_separately() -> None:
    base = ours(FULL)
    for key in of_ours("batch"):
        assert key.batch_size == base.batch_size or key.in_flight == 0


def test_each_question_covers_its_values() -> None:
    assert {key.memory_mb for key in of_ours("tiers")} == set(MEMORIES)
    assert {key.engine for key in of_ours("engines")} == {"auto", "vips", "pillow"}
    assert {key.batch_size for key in of_ours("batch")} == {1, 2, 5, 10, 20}
    assert {key.latency for key in of_ours("latency")} == set(PRESETS)
    assert {key.start for key in keys("coldstart")} == {"cold"}
    assert {key.start for name in QUESTIONS if name != "coldstart" for key in keys(name)} == {"warm"}
    assert {key.vcpus for key in of_ours("fargate") if key.platform == "fargate"} == {0.25, 0.5, 1, 2, 4}
    assert {key.handler for key in keys("peers")} == {"ours", *PEERS}
    assert {key.pictures for key in keys("formats")} == {"baseline", "progressive", "rgb", "lossy"}


@pytest.mark.parametrize("scope", [FULL, QUICK])
def test_all_asks_every_question_once(scope: Options) -> None:
    together = [key for name in QUESTIONS for key in keys(name, scope)]
    assert set(keys("all", scope)) == set(together)
    assert len(keys("all", scope)) < len(together)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_quick_has_fewer_or_smaller_cells(name: str) -> None:
    quick, full = keys(name, QUICK), keys(name)
    assert 0 < len(quick) <= len(full)
    assert max(key.batch_size for key in quick) <= max(key.batch_size for key in full)
    if name != "formats":  # its pictures alone are smaller
        assert len(quick) < len(full)


def test_requested_memories_replace_the_questions() -> None:
    scope = Options(memories=(640, 256))
    for name in ("tiers", "engines", "coldstart", "peers"):
        assert {key.memory_mb for key in keys(name, scope)} == {640, 256}
    for name in ("batch", "latency", "formats"):
        assert {key.memory_mb for key in keys(name, scope)} == {640}


def test_a_requested_latency_applies_to_all_other_questions() -> None:
    for name in QUESTIONS:
        if name != "latency":
            assert {key.latency for key in keys(name, Options(latency="published"))} == {"published"}


def test_functions_have_their_share_of_cpu() -> None:
    for key in keys("all"):
        if key.platform == "lambda":
            assert key.vcpus == pytest.approx(key.memory_mb / MB_PER_VCPU, abs=1e-4)
            assert visible_cores(key.memory_mb) >= key.vcpus
    assert ours(FULL).vcpus == 1.0


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_keeps_the_place_and_drops_our_settings(name: str) -> None:
    key = CellKey("lambda", 512, 0.2894, "vips", "aioboto3", "photos", 5, latency="near", start="cold", in_flight=4)
    found = peer(name, key)
    assert found.place() == key.place()
    assert (found.handler, found.engine, found.transport, found.in_flight) == (
        name,
        PEERS[name].engine,
        PEERS[name].transport,
        0,
    )

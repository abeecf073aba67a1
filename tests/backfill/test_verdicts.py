"""The verdict over each source, a row a test, and how many requests it takes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.listings import MemoryLister, find, listed, verdicts
from tests.support.pipelines import run, settings
from thumbnailer.backfill.comparison import Match
from thumbnailer.backfill.job import Job
from thumbnailer.backfill.run import Run
from thumbnailer.backfill.verdicts import Finding, Policy, exclude, judge
from thumbnailer.model import Format
from thumbnailer.planning.targets import recipe
from thumbnailer.renditions import parse_rendition
from thumbnailer.reporting.notes import note_key, note_recipe
from thumbnailer.store.listing import Listed

RECIPE = recipe(parse_rendition("128x128"), Format.JPEG)
RECONCILE = Job("photos", mode="reconcile")


@pytest.mark.parametrize(
    ("times", "note", "policy", "verdict"),
    [
        ([100], -1, Policy(), "fresh"),
        ([150], -1, Policy(), "fresh"),
        ([99], -1, Policy(), "stale"),
        ([-1], -1, Policy(), "missing"),
        ([150, -1], -1, Policy(), "missing"),
        ([150, 99], -1, Policy(), "stale"),
        ([150], -1, Policy(redo_before=151), "stale"),
        ([150], -1, Policy(redo_before=150), "fresh"),
        ([-1], 100, Policy(), "refused"),
        ([-1], 99, Policy(), "missing"),
        ([99], 100, Policy(), "refused"),
        ([-1], 100, Policy(retry_failed=True), "retry"),
        ([150], 160, Policy(), "fresh"),
        ([150], 160, Policy(redo_before=170), "stale"),
    ],
)
def test_the_times_of_source_thumbnails_and_note_decide(
    times: list[int], note: int, policy: Policy, verdict: str
) -> None:
    match = Match(listed("a.jpg", 100), len(times))
    match.times[:], match.note = times, note
    assert judge(match, policy) == verdict


@pytest.mark.parametrize(
    ("source", "verdict"),
    [
        (listed("a.jpg"), None),
        (listed("a.jpg", storage_class="GLACIER"), "archived"),
        (listed("a.jpg", storage_class="DEEP_ARCHIVE"), "archived"),
        (listed("a.jpg", storage_class="GLACIER_IR"), None),
        (listed("folder/", size=0), "filtered"),
        (listed("folder/", size=1), None),
        (listed("a.txt"), "filtered"),
        (listed("_failed/a.jpg"), "filtered"),
    ],
)
def test_some_sources_get_no_thumbnail_whatever_is_there(source: Listed, verdict: str | None) -> None:
    assert exclude(source, settings(EXCLUDE="*.txt")) == verdict


def test_of_several_formats_of_a_rendition_the_newest_counts() -> None:
    lister = MemoryLister([listed("a")], [listed("a/n.jpg", 90), listed("a/n.webp", 110), listed("a/n.gif", 50)])
    chosen = settings(KEY="{key}/{name}.{ext}", RENDITIONS="n=1x1")
    assert verdicts(run(find(lister, chosen, Job("photos")))) == {"a": "fresh"}


@pytest.mark.parametrize(("keys", "pages"), [(1000, 1), (1001, 2), (3456, 4)])
@pytest.mark.parametrize("sizes", [1, 3])
def test_a_dry_run_sends_lists_and_nothing_else(keys: int, pages: int, sizes: int) -> None:
    chosen = settings(RENDITIONS=",".join(f"n{n}=1x1" for n in range(sizes)))
    sources = [listed(f"{n:05}.jpg") for n in range(keys)]
    tails = [f"/n{n}.jpg" for n in range(sizes)] if sizes > 1 else [""]
    thumbnails = [listed(f"{one.key}{tail}") for one in sources for tail in tails]
    lister = MemoryLister(sources, thumbnails)
    assert set(verdicts(run(find(lister, chosen, Job("photos")))).values()) == {"fresh"}
    notes = 1
    assert lister.requests == {"LIST": pages + -(-sizes * keys // 1000) + notes}


def test_no_notes_and_no_request_for_them() -> None:
    lister = MemoryLister([listed("a.jpg")])
    run(find(lister, settings(FAILED_PREFIX=""), Job("photos")))
    assert lister.requests == {"LIST": 2}


@pytest.mark.parametrize(
    ("metadata", "verdict"),
    [
        ({"source-etag": "e", "recipe": RECIPE}, "fresh"),
        ({"source-etag": "other", "recipe": RECIPE}, "stale"),
        ({"source-etag": "e", "recipe": "01234567"}, "stale"),
        ({"source-etag": "e"}, "stale"),
    ],
)
def test_compare_etag_looks_at_content_and_settings(metadata: dict[str, str], verdict: str) -> None:
    lister = MemoryLister([listed("a.jpg"), listed("b.jpg")], [listed("a.jpg", 200)], {"a.jpg": metadata})
    found = verdicts(run(find(lister, settings(), Job("photos", compare="etag"))))
    assert found == {"a.jpg": verdict, "b.jpg": "missing"}
    assert lister.requests["HEAD"] == 1


def test_compare_none_takes_all_without_looking_at_thumbnails() -> None:
    lister = MemoryLister([listed("a.jpg"), listed("b/", size=0)], [listed("a.jpg", 200)])
    job = Job("photos", compare="none")
    assert verdicts(run(find(lister, settings(), job))) == {"a.jpg": "unknown", "b/": "filtered"}
    assert [one.key for one in run(work(Run(lister, settings(), job)))] == ["a.jpg"]
    assert lister.requests == {"LIST": 2}


async def work(planned: Run) -> list[Finding]:
    return [finding async for page in planned.work() for finding in page]


def test_templates_without_a_shape_are_asked_by_heads_when_records_are_sent() -> None:
    chosen = settings(KEY="{stem}.{ext}", RENDITIONS="128x128:jpeg")
    sources = [listed("fresh.png"), listed("stale.png"), listed("none.png"), listed("bad.png")]
    made = [listed("fresh.jpg", 100), listed("stale.jpg", 50), listed("_failed/bad.png.json", 120)]
    lister = MemoryLister(sources, made)
    planned = Run(lister, chosen, Job("photos"))
    assert set(verdicts(run(find(lister, chosen, Job("photos")))).values()) == {"unknown"}
    assert lister.requests == {"LIST": 1}
    assert verdicts(run(work(planned))) == {"stale.png": "stale", "none.png": "missing"}


def test_a_list_of_keys_takes_the_place_of_the_listing() -> None:
    sources = [listed("fresh.jpg"), listed("none.jpg"), listed("cold.jpg", storage_class="GLACIER")]
    lister = MemoryLister(sources, [listed("fresh.jpg", 100)])
    keys = ["fresh.jpg", "none.jpg", "cold.jpg", "gone.jpg"]
    assert verdicts(run(work(Run(lister, settings(), Job("photos"), keys)))) == {"none.jpg": "missing"}
    assert lister.requests["LIST"] == 0


def test_the_note_of_a_long_key_is_found_by_a_head() -> None:
    key = "k" * 1020
    lister = MemoryLister([listed(key), listed("a.jpg")], [listed(note_key("_failed/", key), 120)])
    assert verdicts(run(find(lister, settings(), Job("photos")))) == {key: "refused", "a.jpg": "missing"}
    assert lister.requests["HEAD"] == 1


# --- reconcile ----------------------------------------------------------------------------------------------------


def reconciled(lister: MemoryLister, job: Job = RECONCILE, **env: Any) -> dict[str, str]:
    return verdicts(run(find(lister, settings(**env), job)))


OURS = {"source-etag": "e"}


def test_orphans_are_thumbnails_that_carry_our_mark() -> None:
    made = [listed(key) for key in ("a.jpg", "gone.jpg", "index.html", "_any/kept", "_runs/x.json", "_failed/a.json")]
    lister = MemoryLister([listed("a.jpg")], made, {"a.jpg": OURS, "gone.jpg": OURS, "_any/kept": OURS})
    assert reconciled(lister) == {"a.jpg": "fresh", "gone.jpg": "orphan", "index.html": "foreign"}
    assert "gone.jpg" not in verdicts(run(find(lister, settings(), Job("photos"))))
    assert reconciled(lister, ON_DELETE="keep") == {"a.jpg": "fresh"}


def test_all_thumbnails_of_a_lost_source_are_one_orphan() -> None:
    made = [listed(f"gone.jpg/{name}.jpg") for name in ("a", "b")]
    lister = MemoryLister([], made, {one.key: OURS for one in made})
    assert reconciled(lister, RENDITIONS="a=1x1,b=2x2") == {"gone.jpg": "orphan"}


def test_a_source_outside_the_prefix_is_no_orphan() -> None:
    made = [listed("a/n.jpg"), listed("a/b/n.jpg")]
    lister = MemoryLister([listed("a"), listed("a/b")], made, {one.key: OURS for one in made})
    job = Job("photos", prefix="a/", mode="reconcile")
    assert reconciled(lister, job, KEY="{key}/{name}.{ext}", RENDITIONS="n=1x1") == {"a/b": "fresh"}


def test_failed_notes_are_tried_again_once_per_version_and_limits() -> None:
    sources = [listed("same.jpg"), listed("old.jpg"), listed("older.jpg")]
    notes = [listed(note_key("_failed/", one.key), 120) for one in sources]
    metadata = {notes[0].key: {"recipe": note_recipe(settings())}, notes[1].key: {"recipe": "0.0.1-01234567"}}
    lister = MemoryLister(sources, notes, metadata)
    assert reconciled(lister) == {"same.jpg": "refused", "old.jpg": "retry", "older.jpg": "retry"}
    assert reconciled(lister, MAX_PIXELS="1000")["same.jpg"] == "retry"
    assert set(verdicts(run(find(lister, settings(), Job("photos")))).values()) == {"refused"}

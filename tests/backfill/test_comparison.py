"""Two listings joined: every source finds its own thumbnails, whatever the keys, the template and the cuts."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.listings import SOURCE, MemoryLister, find, listed, verdicts
from tests.support.pipelines import run, settings
from tests.tools.compare import survey
from thumbnailer.backfill.job import Job, Shard, cut_shards
from thumbnailer.backfill.merging import OutOfOrder
from thumbnailer.backfill.shapes import key_shape
from thumbnailer.renditions import possible_target_keys
from thumbnailer.reporting.notes import note_key
from thumbnailer.settings import Settings

JOB = Job("photos")
SHAPES = {
    "{key}": "128x128",
    "{key}/{name}.{ext}": "a=1x1,b=2x2:webp",
    "{key}.{ext}": "128x128",
    "small/{name}/{key}": "a=1x1,b=2x2",
    "{key}/{name}": "a=1x1,b=2x2",
    "t-{key}-t": "128x128",
}
KEYS = st.lists(
    st.text(st.sampled_from("a/.-b!~é\U0001f33a\n "), min_size=1, max_size=6)
    | st.sampled_from(["a", "a/a", "a.jpg", "a.jpg/a.jpg", "a/1x1.jpg", "_failed/a", "a.json", "k" * 1020]),
    min_size=1,
    max_size=12,
    unique=True,
)


def written(template: str) -> Settings:
    return settings(KEY=template, RENDITIONS=SHAPES[template])


def expected(key: str, made: dict[str, int], chosen: Settings) -> str:
    """The verdict by looking at every possible key of the source."""
    if key.startswith("_failed/") or not key:
        return "filtered"
    groups = [possible_target_keys(chosen.key, key, (rendition,)) for rendition in chosen.renditions]
    oldest = min(max((made.get(one, -1) for one in group), default=-1) for group in groups)
    if oldest >= 100:
        return "fresh"
    if made.get(note_key("_failed/", key), -1) >= 100:
        return "refused"
    return "stale" if oldest >= 0 else "missing"


@pytest.mark.parametrize("template", SHAPES)
@given(keys=KEYS, data=st.data())
def test_the_join_agrees_with_looking_at_every_key(template: str, keys: list[str], data: st.DataObject) -> None:
    chosen = written(template)
    possible = [one for key in keys for one in possible_target_keys(template, key, chosen.renditions)]
    possible += [note_key("_failed/", key) for key in keys] + ["foreign", "a/b.json"]
    made = data.draw(st.dictionaries(st.sampled_from(possible), st.sampled_from([99, 100, 101]), max_size=20))
    page = data.draw(st.integers(1, 4))
    sources = [listed(key) for key in keys]
    lister = MemoryLister(sources, [listed(key, when) for key, when in made.items()], page=page)
    want = {key: expected(key, made, chosen) for key in keys}
    assert verdicts(run(find(lister, chosen, JOB))) == want
    cuts = data.draw(st.lists(st.sampled_from(sorted(keys)), unique=True).map(sorted))
    shards = [Shard(after, upto) for after, upto in zip(["", *cuts], [*cuts, None], strict=True)]
    assert verdicts([one for shard in shards for one in run(find(lister, chosen, JOB, shard))]) == want


@pytest.mark.parametrize("template", ["{dir}/{name}/{stem}", "{stem}", "{key}-{name}", "{key}{key}/{name}"])
def test_templates_whose_owner_cannot_be_told_have_no_shape(template: str) -> None:
    chosen = settings(KEY=template, RENDITIONS="a=1x1,b=2x2") if "{name}" in template else settings(KEY=template)
    assert key_shape(template, chosen.renditions) is None


def test_shards_cover_all_keys() -> None:
    keys = [f"{number:06}" for number in range(25_000)]
    shards = cut_shards(keys, "")
    assert shards == [Shard("", keys[9_999]), Shard(keys[9_999], keys[19_999]), Shard(keys[19_999], keys[-1])]
    assert cut_shards([], "a") == []
    assert cut_shards(keys[:10_000], "") == [Shard("", keys[9_999])]


def peak_bytes(keys: int) -> int:
    tracemalloc.start()
    assert run(survey(keys)).counts == {"fresh": keys}
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_four_times_the_keys_take_no_more_memory() -> None:
    peak_bytes(1_000)
    assert peak_bytes(20_000) < 1.3 * peak_bytes(5_000)


def test_a_chain_of_keys_and_their_thumbnails_is_held_only_while_it_lasts() -> None:
    keys = ["k" * length for length in range(1, 200)]
    lister = MemoryLister([listed(key) for key in keys], [listed(key) for key in keys[::2]], page=7)
    found = verdicts(run(find(lister, settings(), JOB)))
    assert [key for key in keys if found[key] == "fresh"] == keys[::2]


@pytest.mark.parametrize("pages", [["b", "a"], ["a", "c", "b", "d"]])
def test_a_listing_out_of_order_is_refused(pages: list[str]) -> None:
    lister = MemoryLister(page=2)
    lister._objects[SOURCE] = [listed(key) for key in pages]
    with pytest.raises(OutOfOrder, match="give them with --keys, or --compare none"):
        run(find(lister, settings(), JOB))

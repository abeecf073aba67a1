"""The way of a run, over the protocol of listings: findings page by page, in flat memory."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from typing import Final

from thumbnailer.backfill.comparison import MADE, NOTE, NOTE_TAIL, SOURCE, Comparison, Match, Orphan
from thumbnailer.backfill.job import EVERYTHING, Job, Shard
from thumbnailer.backfill.merging import Events, events, merge, pages
from thumbnailer.backfill.shapes import KeyShape, key_shape
from thumbnailer.backfill.verdicts import RESERVED, Finding, Verdict, exclude, judge
from thumbnailer.planning.targets import RECIPE, SOURCE_ETAG, recipes
from thumbnailer.renditions import possible_target_keys
from thumbnailer.reporting.notes import note_key, note_recipe
from thumbnailer.settings import Settings
from thumbnailer.store.listing import Listed, Lister

NO_TAILS: Final[Mapping[str, int]] = {}


class Run:
    """One job over one bucket. Every method raises StoreErrors."""

    def __init__(self, lister: Lister, settings: Settings, job: Job, keys: Sequence[str] | None = None) -> None:
        """`keys` take the place of a listing of the sources."""
        self._lister = lister
        self._settings = settings
        self._job = job
        self._keys = keys
        self._destination = settings.destination_bucket(job.bucket)
        lists = keys is None and job.compare != "none"
        self._shape = key_shape(settings.key, settings.renditions) if lists else None
        self._removes = job.reconciles and settings.on_delete == "delete"
        self._last_orphan = ""

    async def findings(self, shard: Shard = EVERYTHING) -> AsyncIterator[list[Finding]]:
        """One finding for each source, page by page; when reconciling also one for each source that is gone.

        Sends one LIST for each 1,000 sources, thumbnails and notes, and HEADs only where listings cannot tell.
        """
        if self._shape is None:
            async for page in self._sources(shard):
                yield [self._unknown(source) for source in page]
            return
        comparison = Comparison(len(self._settings.renditions))
        async for merged in merge(self._streams(self._shape, shard)):
            yield await self._judge_all(comparison.add(merged))
        rest = comparison.close()
        if shard.upto is not None:  # their thumbnails may lie behind the shard
            await asyncio.gather(*map(self._inspect_thumbnails, rest))
        yield await self._judge_all(rest)

    async def work(self, shard: Shard = EVERYTHING) -> AsyncGenerator[list[Finding], None]:
        """The findings that need a record. Sources that listings cannot compare are asked by HEADs."""
        async for page in self.findings(shard):
            asked = page if self._job.compare == "none" else await asyncio.gather(*map(self._resolve, page))
            yield [finding for finding in asked if finding.verdict.is_work]

    # --- listings -------------------------------------------------------------------------------------------------

    def _streams(self, shape: KeyShape, shard: Shard) -> list[Events]:
        prefix = self._job.prefix
        streams = [events(self._sources(shard), SOURCE, "", NO_TAILS)]
        for head, tails in shape.heads.items():
            thumbnails = pages(self._lister, self._destination, head, prefix, shard)
            streams.append(events(thumbnails, MADE, head, tails))
        if head := self._settings.failed_prefix:
            notes = pages(self._lister, self._destination, head, prefix, shard)
            streams.append(events(notes, NOTE, head, NO_TAILS))
        return streams

    def _sources(self, shard: Shard) -> AsyncIterator[Sequence[Listed]]:
        if self._keys is not None:
            return _as_pages(self._keys)
        return pages(self._lister, self._job.bucket, "", self._job.prefix, shard)

    # --- verdicts -------------------------------------------------------------------------------------------------

    def _unknown(self, source: Listed) -> Finding:
        return Finding(exclude(source, self._settings) or Verdict.UNKNOWN, source, source.key)

    async def _judge_all(self, found: Iterable[Match | Orphan]) -> list[Finding]:
        """Findings in the order of `found`; orphans only when reconciling."""
        findings = []
        unclear = []
        for one in found:
            if isinstance(one, Orphan):
                if self._is_new_orphan(one):
                    unclear.append(self._judge_orphan(one))
                continue
            verdict = exclude(one.source, self._settings) or judge(one, self._job.policy)
            if self._needs_look(one, verdict):
                unclear.append(self._look(one, verdict))
            else:
                findings.append(Finding(verdict, one.source, one.source.key))
        return findings + [finding for finding in await asyncio.gather(*unclear) if finding]

    def _needs_look(self, match: Match, verdict: Verdict) -> bool:
        """Whether a HEAD must say more than listings do."""
        if verdict is Verdict.FRESH:
            return self._job.compare == "etag"
        if verdict is Verdict.REFUSED:
            return self._job.reconciles
        return verdict.is_work and match.note < 0 and not self._note_key(match).endswith(match.source.key + NOTE_TAIL)

    async def _look(self, match: Match, verdict: Verdict) -> Finding:
        if verdict is Verdict.FRESH:
            verdict = verdict if await self._is_current(match) else Verdict.STALE
        elif verdict is Verdict.REFUSED:
            verdict = verdict if await self._is_final(match) else Verdict.RETRY
        else:  # the note has a cut key, which does not begin with the source's
            await self._inspect_note(match)
            verdict = judge(match, self._job.policy)
        return Finding(verdict, match.source, match.source.key)

    async def _is_current(self, match: Match) -> bool:
        """Whether each thumbnail was made from this content with these settings."""
        made = await asyncio.gather(*(self._lister.inspect(self._destination, key) for key in match.keys))
        return all(
            one is not None
            and one.metadata.get(SOURCE_ETAG) == match.source.etag
            and one.metadata.get(RECIPE) in recipes(rendition)
            for one, rendition in zip(made, self._settings.renditions, strict=True)
        )

    async def _is_final(self, match: Match) -> bool:
        """Whether the note is of this version and these limits: another try would end as the last one."""
        note = await self._lister.inspect(self._destination, self._note_key(match))
        return note is not None and note.metadata.get(RECIPE) == note_recipe(self._settings)

    def _is_new_orphan(self, orphan: Orphan) -> bool:
        notes = self._settings.failed_prefix
        reserved = (*RESERVED, notes) if notes else RESERVED
        is_new = orphan.owner != self._last_orphan and not orphan.thumbnail.key.startswith(reserved)
        self._last_orphan = orphan.owner
        return is_new and self._removes

    async def _judge_orphan(self, orphan: Orphan) -> Finding | None:
        """None if the source is there: it lies outside the shard or the prefix, or came during the run."""
        made = await self._lister.inspect(self._destination, orphan.thumbnail.key)
        if made is None or SOURCE_ETAG not in made.metadata:
            return Finding(Verdict.FOREIGN, orphan.thumbnail, orphan.owner)
        if await self._lister.inspect(self._job.bucket, orphan.owner):
            return None
        return Finding(Verdict.ORPHAN, orphan.thumbnail, orphan.owner)

    # --- one source by HEADs --------------------------------------------------------------------------------------

    async def _resolve(self, finding: Finding) -> Finding:
        """The finding after HEADs of source, thumbnails and note, if listings could not tell."""
        if finding.verdict is not Verdict.UNKNOWN:
            return finding
        source = finding.listed
        if self._keys is not None:
            inspected = await self._lister.inspect(self._job.bucket, source.key)
            if inspected is None:
                return Finding(Verdict.GONE, source, source.key)
            source = inspected.listed
        match = Match(source, len(self._settings.renditions))
        await self._inspect_thumbnails(match)
        return (await self._judge_all([match]))[0]

    async def _inspect_thumbnails(self, match: Match) -> None:
        for number, rendition in enumerate(self._settings.renditions):
            for key in possible_target_keys(self._settings.key, match.source.key, (rendition,)):
                if made := await self._lister.inspect(self._destination, key):
                    match.add(number, made.listed)
        if min(match.times) < match.source.modified:
            await self._inspect_note(match)

    async def _inspect_note(self, match: Match) -> None:
        if not self._settings.failed_prefix:
            return
        if note := await self._lister.inspect(self._destination, self._note_key(match)):
            match.note = note.listed.modified

    def _note_key(self, match: Match) -> str:
        return note_key(self._settings.failed_prefix, match.source.key)


async def _as_pages(keys: Sequence[str]) -> AsyncIterator[Sequence[Listed]]:
    for start in range(0, len(keys), 1000):
        yield [Listed(key, 0, "", 0) for key in keys[start : start + 1000]]

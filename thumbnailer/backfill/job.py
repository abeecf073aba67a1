"""What a run is asked to do. The command line and the state machine give the same fields."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from thumbnailer.backfill.verdicts import Policy
from thumbnailer.errors import SettingsError, nearest
from thumbnailer.settings import Settings
from thumbnailer.values import dataclass

MODES: Final = ("backfill", "reconcile")
COMPARISONS: Final = ("time", "etag", "none")
FIELDS: Final = ("prefix", "mode", "compare", "redo_before", "retry_failed", "limit_usd", "most")
SHARD_KEYS: Final = 10_000


class Shard(NamedTuple):
    """The sources whose keys sort behind `after` and up to `upto`, both included in JSON as text; None: to the end."""

    after: str = ""
    upto: str | None = None


EVERYTHING: Final = Shard()


@dataclass(frozen=True, slots=True)
class Job:
    """`most` limits the records of the run; None: as many as its survey counted. `limit_usd` 0 is a dry run."""

    bucket: str
    prefix: str = ""
    mode: str = "backfill"
    compare: str = "time"
    policy: Policy = Policy()
    limit_usd: float = 0.0
    most: int | None = None

    @property
    def reconciles(self) -> bool:
        return self.mode == "reconcile"


def parse_job(bucket: str, given: Mapping[str, Any]) -> Job:
    """A job from the fields in FIELDS; missing and empty ones take the default. Raises SettingsError."""
    if unknown := [name for name in given if name not in FIELDS]:
        raise SettingsError(
            f"{unknown[0]} is no field of a job{nearest(unknown[0], FIELDS)}; it has {', '.join(FIELDS)}"
        )
    redo = parse_time(str(given["redo_before"])) if given.get("redo_before") else 0
    return Job(
        bucket,
        str(given.get("prefix") or ""),
        _one_of("mode", given.get("mode") or "backfill", MODES),
        _one_of("compare", given.get("compare") or "time", COMPARISONS),
        Policy(redo, given.get("retry_failed") is True),
        parse_limit(given["limit_usd"]) if given.get("limit_usd") else 0.0,
        _most(given["most"]) if given.get("most") else None,
    )


def _one_of(name: str, value: Any, words: tuple[str, ...]) -> str:
    if value not in words:
        raise SettingsError(f"{name} is {value!r}: write one of {', '.join(words)}")
    return str(value)


def _most(value: Any) -> int:
    if not isinstance(value, int) or value < 1:
        raise SettingsError(f"most is {value!r}: write the most records of a run, 1 or more")
    return value


def parse_limit(value: Any) -> float:
    """The limit of a run in USD. Raises SettingsError unless it is a number above 0."""
    try:
        limit = float(value)
    except (TypeError, ValueError):
        limit = math.nan
    if not 0 < limit < math.inf:
        raise SettingsError(
            f"the limit is {value!r}: write the most USD that the run may cost, e.g. 8; without a limit it is a dry run"
        )
    return limit


def parse_time(text: str) -> int:
    """Epoch seconds of an ISO 8601 time, in UTC unless it names a zone. Raises SettingsError."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise SettingsError(f"{text!r} is no time: write it as 2026-11-30 or 2026-11-30T12:00Z") from None
    return math.ceil((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp())


def refuse_bucket(bucket: str, settings: Settings) -> None:
    """Raises SettingsError if the pipeline would take no source of this bucket."""
    if settings.is_destination(bucket):
        raise SettingsError(
            f"{bucket} is a destination of THUMBNAILER_DESTINATION={settings.destination}: "
            "name the bucket that has the originals"
        )
    if not settings.may_be_source(bucket):
        raise SettingsError(
            f"{bucket} is none of THUMBNAILER_SOURCES={','.join(settings.sources)}: "
            "add it to that setting, or the pipeline skips every record"
        )


def cut_shards(keys: list[str], after: str) -> list[Shard]:
    """The shards of sorted keys, which follow the key `after`."""
    ends = [*keys[SHARD_KEYS - 1 :: SHARD_KEYS]]
    if keys and (not ends or ends[-1] != keys[-1]):
        ends.append(keys[-1])
    return [Shard(first, last) for first, last in zip([after, *ends], ends, strict=False)]

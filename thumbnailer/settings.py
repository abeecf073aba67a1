"""Settings: described once, in `SETTINGS`; read from the environment in `load`, and nowhere else.

Every mistake is reported, not the first alone. The tables in README and `thumbnailer doctor` are printed from here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final, Literal

from thumbnailer.errors import SettingsError
from thumbnailer.model import EngineName
from thumbnailer.renditions import ACCEPTS as RENDITIONS_ACCEPTED
from thumbnailer.renditions import Rendition, check_key_template, default_key_template, parse_renditions

Transport = Literal["auto", "aioboto3", "obstore"]
STORAGE_CLASSES: Final = (
    "STANDARD",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "GLACIER_IR",
    "REDUCED_REDUNDANCY",
    "EXPRESS_ONEZONE",
)
LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR")
_BUCKET_TEMPLATE: Final = re.compile(r"[a-z0-9.-]*(\{bucket\})?[a-z0-9.-]*")


@dataclass(frozen=True, slots=True)
class Settings:
    """What the user asked for. None means: follows from the tier (or: AWS's own default, for what goes on a PUT)."""

    renditions: tuple[Rendition, ...]
    destination: str
    key: str
    sources: tuple[str, ...]
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    engine: EngineName | None
    transport: Transport
    expected_owner: str | None
    memory_mb: int | None
    max_pixels: int | None
    max_bytes: int | None
    max_frames: int | None
    cache_control: str | None
    storage_class: str | None
    sse: str | None
    kms_key_id: str | None
    on_delete: Literal["delete", "keep"]
    failed_prefix: str
    svg: bool
    thumbhash: bool
    workers: int | None
    in_flight: int | None
    log_level: str
    queue_url: str | None
    stop_timeout: int
    record_timeout: int
    port: int

    def destination_bucket(self, bucket: str) -> str:
        """Where thumbnails of pictures in `bucket` go."""
        return self.destination.replace("{bucket}", bucket)

    def is_destination(self, bucket: str) -> bool:
        """Whether thumbnails of some bucket would go to `bucket`: what lies there is our own output."""
        before, marker, after = self.destination.partition("{bucket}")
        if not marker:
            return bucket == before
        return len(bucket) > len(before) + len(after) and bucket.startswith(before) and bucket.endswith(after)

    def may_be_source(self, bucket: str) -> bool:
        """Whether events of `bucket` are taken at all."""
        return not self.sources or any(fnmatchcase(bucket, glob) for glob in self.sources)

    def wants(self, key: str) -> bool:
        """Whether the include and exclude globs (`*` crosses `/`) let the decoded key through."""
        if self.include and not any(fnmatchcase(key, glob) for glob in self.include):
            return False
        return not any(fnmatchcase(key, glob) for glob in self.exclude)


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table. `parse` raises ValueError on text it does not take."""

    variable: str
    field: str
    default: str | None
    parse: Callable[[str], Any]
    accepts: str
    meaning: str
    worker_only: bool = False
    """It means nothing to the Lambda function."""


def _one_of(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in words:
            raise ValueError(f"{text!r} is none of them")
        return text

    return parse


def _whole(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"\d{1,15}", text) or not least <= int(text) <= most:
            raise ValueError(f"{text!r} is not within them")
        return int(text)

    return parse


def _globs(text: str) -> tuple[str, ...]:
    return tuple(glob.strip() for glob in text.split(",") if glob.strip())


def _engine(text: str) -> EngineName | None:
    return None if text == "auto" else EngineName(_one_of(*EngineName)(text))


def _destination(text: str) -> str:
    if not _BUCKET_TEMPLATE.fullmatch(text) or not text:
        raise ValueError(f"{text!r} gives no bucket name")
    if text == "{bucket}":
        raise ValueError("the source bucket itself would be an endless loop")
    return text


def _switch(text: str) -> bool:
    return _one_of("on", "off")(text) == "on"


def _header(text: str) -> str:
    if not re.fullmatch(r"[\x20-\x7e]{1,1024}", text):
        raise ValueError("it holds characters no header can")
    return text


def _queue_url(text: str) -> str:
    if not re.fullmatch(r"https?://[^\s/]+/\S+", text):
        raise ValueError(f"{text!r} is no address of a queue")
    return text


def _account(text: str) -> str:
    if not re.fullmatch(r"[0-9]{12}", text):
        raise ValueError(f"{text!r} is no account id")
    return text


def _prefix(text: str) -> str:
    if len(text.encode()) > 256:
        raise ValueError("it has more than 256 bytes")
    return text


SETTINGS: Final = (
    Setting(
        "THUMBNAILER_RENDITIONS",
        "renditions",
        "128x128",
        parse_renditions,
        RENDITIONS_ACCEPTED,
        "the thumbnails to make of each picture; never enlarged",
    ),
    Setting(
        "THUMBNAILER_DESTINATION",
        "destination",
        "{bucket}-resized",
        _destination,
        "a bucket name, {bucket} standing for the source's; not {bucket} alone",
        "the bucket that thumbnails go to",
    ),
    Setting(
        "THUMBNAILER_KEY",
        "key",
        None,
        str,
        "text with {key}, {name}, {ext}, {dir}, {stem}; with several renditions {name} must be in it",
        "the key of a thumbnail; default {key} for one rendition, {key}/{name}.{ext} for several",
    ),
    Setting(
        "THUMBNAILER_SOURCES",
        "sources",
        "",
        _globs,
        "a comma list of globs",
        "only events of these buckets; empty: of any",
    ),
    Setting("THUMBNAILER_INCLUDE", "include", "", _globs, "a comma list of globs", "only these keys (`*` crosses `/`)"),
    Setting("THUMBNAILER_EXCLUDE", "exclude", "", _globs, "a comma list of globs", "not these keys"),
    Setting(
        "THUMBNAILER_ENGINE",
        "engine",
        "auto",
        _engine,
        "auto, vips or pillow",
        "the engine to prefer; auto is the faster for the format; what one cannot read the other does",
    ),
    Setting(
        "THUMBNAILER_TRANSPORT",
        "transport",
        "auto",
        _one_of("auto", "obstore", "aioboto3"),
        "auto, obstore or aioboto3",
        "the S3 client; auto takes obstore where it can do what the settings and credentials ask",
    ),
    Setting(
        "THUMBNAILER_EXPECTED_OWNER",
        "expected_owner",
        None,
        _account,
        "an AWS account id of 12 digits; not with THUMBNAILER_TRANSPORT=obstore",
        "the account that sources and destinations must belong to; S3 denies requests for another's bucket",
    ),
    Setting(
        "THUMBNAILER_MEMORY_MB",
        "memory_mb",
        None,
        _whole(64, 1_048_576),
        "64 to 1048576",
        "sizes the tier; default Lambda's own, else the control group's, else the machine's",
    ),
    Setting(
        "THUMBNAILER_MAX_PIXELS",
        "max_pixels",
        None,
        _whole(1, 10**10),
        "1 to 10000000000",
        "refuse pictures of more pixels, an animation's frames counted together and twice; default from the tier",
    ),
    Setting(
        "THUMBNAILER_MAX_BYTES",
        "max_bytes",
        None,
        _whole(1, 5 * 10**12),
        "1 to 5000000000000",
        "refuse objects of more bytes; default from the tier",
    ),
    Setting(
        "THUMBNAILER_MAX_FRAMES",
        "max_frames",
        None,
        _whole(1, 100_000),
        "1 to 100000",
        "refuse animations of more frames; default from the tier",
    ),
    Setting(
        "THUMBNAILER_CACHE_CONTROL",
        "cache_control",
        None,
        _header,
        "a Cache-Control value",
        "on every thumbnail, in place of the source's own",
    ),
    Setting(
        "THUMBNAILER_STORAGE_CLASS",
        "storage_class",
        None,
        _one_of(*STORAGE_CLASSES),
        ", ".join(STORAGE_CLASSES),
        "on every thumbnail",
    ),
    Setting(
        "THUMBNAILER_SSE",
        "sse",
        None,
        _one_of("AES256", "aws:kms", "aws:kms:dsse"),
        "AES256, aws:kms or aws:kms:dsse",
        "server-side encryption of every thumbnail",
    ),
    Setting(
        "THUMBNAILER_KMS_KEY_ID",
        "kms_key_id",
        None,
        _header,
        "a KMS key id or ARN; needs THUMBNAILER_SSE=aws:kms…",
        "the key for it",
    ),
    Setting(
        "THUMBNAILER_ON_DELETE",
        "on_delete",
        "delete",
        _one_of("delete", "keep"),
        "delete or keep",
        "what becomes of the thumbnails when the source is removed",
    ),
    Setting(
        "THUMBNAILER_FAILED_PREFIX",
        "failed_prefix",
        "_failed/",
        _prefix,
        "text of at most 256 bytes, or empty",
        "where the destination gets a JSON note for each object refused for good; empty: no notes",
    ),
    Setting(
        "THUMBNAILER_SVG",
        "svg",
        "off",
        _switch,
        "on or off",
        "take SVG drawings; they are drawn without network or file access",
    ),
    Setting(
        "THUMBNAILER_THUMBHASH",
        "thumbhash",
        "off",
        _switch,
        "on or off",
        "put a ThumbHash (a placeholder of some 25 bytes, Base64) into each thumbnail's metadata `thumbhash`",
    ),
    Setting(
        "THUMBNAILER_WORKERS", "workers", None, _whole(1, 256), "1 to 256", "decoding threads; default from the tier"
    ),
    Setting(
        "THUMBNAILER_IN_FLIGHT",
        "in_flight",
        None,
        _whole(1, 1000),
        "1 to 1000",
        "records at once; default from the tier",
    ),
    Setting(
        "THUMBNAILER_LOG_LEVEL", "log_level", "INFO", _one_of(*LEVELS), ", ".join(LEVELS), "the least level logged"
    ),
    Setting(
        "THUMBNAILER_QUEUE_URL",
        "queue_url",
        None,
        _queue_url,
        "an address, as in https://sqs.eu-west-1.amazonaws.com/123456789012/thumbnails",
        "the queue that `thumbnailer worker` takes its messages from",
        worker_only=True,
    ),
    Setting(
        "THUMBNAILER_STOP_TIMEOUT",
        "stop_timeout",
        "25",
        _whole(1, 120),
        "1 to 120",
        "seconds from SIGTERM to the end of the worker: less than the platform waits before it kills",
        worker_only=True,
    ),
    Setting(
        "THUMBNAILER_RECORD_TIMEOUT",
        "record_timeout",
        "120",
        _whole(5, 43_200),
        "5 to 43200",
        "seconds that one record may take in the worker before it goes back to the queue",
        worker_only=True,
    ),
    Setting(
        "THUMBNAILER_PORT",
        "port",
        "8080",
        _whole(0, 65_535),
        "0 to 65535",
        "where the worker serves /metrics, /healthz and /readyz; 0: a free one, which it logs",
        worker_only=True,
    ),
)
PREFIX: Final = "THUMBNAILER_"


def parse_settings(env: Mapping[str, str]) -> Settings:
    """Settings from environment variables. Raises SettingsError naming every variable at fault and what it accepts."""
    mistakes = _unknown_variables(env)
    values: dict[str, Any] = {}
    for setting in SETTINGS:
        text = env.get(setting.variable, setting.default)
        try:
            values[setting.field] = None if text is None else setting.parse(text)
        except ValueError as error:
            mistakes.append(f"{setting.variable}={text!r}: {error}. It accepts: {setting.accepts}.")
    mistakes += _contradictions(values)
    if mistakes:
        raise SettingsError("the settings make no sense:\n" + "\n".join(f"  {mistake}" for mistake in mistakes))
    return Settings(**values)


def _unknown_variables(env: Mapping[str, str]) -> list[str]:
    """A misspelt variable would silently do nothing, so it is a mistake."""
    known = {setting.variable for setting in SETTINGS}
    return [
        f"{name}: there is no such setting; there are {', '.join(sorted(known))}."
        for name in sorted(env)
        if name.startswith(PREFIX) and name not in known
    ]


def _contradictions(values: dict[str, Any]) -> list[str]:
    """What is wrong between settings that are each right; fills in the default key template.

    A setting that is wrong by itself is not in `values`, and nothing is said of it here.
    """
    mistakes = []
    renditions = values.get("renditions", ())
    if values["key"] is None:
        values["key"] = default_key_template(renditions)
    try:
        check_key_template(values["key"], renditions)
    except ValueError as error:
        mistakes.append(f"THUMBNAILER_KEY={values['key']!r}: {error}. It accepts: {_accepted('key')}.")
    if values.get("kms_key_id") and "sse" in values and not (values["sse"] or "").startswith("aws:kms"):
        mistakes.append("THUMBNAILER_KMS_KEY_ID is set, so THUMBNAILER_SSE must be aws:kms or aws:kms:dsse.")
    if values.get("expected_owner") and values.get("transport") == "obstore":
        mistakes.append(
            "THUMBNAILER_EXPECTED_OWNER is set, so THUMBNAILER_TRANSPORT must be auto or aioboto3: "
            "obstore cannot sign the header for it."
        )
    return mistakes


def _accepted(field: str) -> str:
    return next(setting.accepts for setting in SETTINGS if setting.field == field)


def markdown_table() -> str:
    """The settings as README shows them."""
    rows = [f"| `{s.variable}` | {_shown(s.default)} | {s.meaning} | {s.accepts} |" for s in SETTINGS]
    return "\n".join(["| variable | default | meaning | accepts |", "| --- | --- | --- | --- |", *rows])


def _shown(default: str | None) -> str:
    if default is None:
        return ""
    return f"`{default}`" if default else "empty"


# --- the environment itself ---------------------------------------------------------------------------------------


def load() -> Settings:
    """Settings from this process's environment. Raises SettingsError."""
    return parse_settings(os.environ)


def environment() -> Mapping[str, str]:
    """This process's environment, for the parts that pass AWS's own variables on (endpoint, region, credentials)."""
    return dict(os.environ)


@dataclass(frozen=True, slots=True)
class Machine:
    """What this process may use. `cpus` is None on Lambda, where the share follows from the memory."""

    memory_mb: int
    cpus: float | None


def machine(root: Path = Path("/")) -> Machine:
    """The size of Lambda's environment, else the control group's limits (v2 or v1), else the machine's own."""
    configured = os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "")
    if configured.isdecimal():
        return Machine(int(configured), None)
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    memory = min(physical, _memory_limit(root / "sys/fs/cgroup") or physical)
    cores = float(len(os.sched_getaffinity(0)))
    return Machine(memory // (1024 * 1024), min(cores, _cpu_limit(root / "sys/fs/cgroup") or cores))


def _memory_limit(cgroup: Path) -> int | None:
    text = _read(cgroup / "memory.max") or _read(cgroup / "memory/memory.limit_in_bytes")
    return int(text) if text.isdecimal() else None


def _cpu_limit(cgroup: Path) -> float | None:
    quota, _, period = _read(cgroup / "cpu.max").partition(" ")
    if not quota:
        quota, period = _read(cgroup / "cpu/cpu.cfs_quota_us"), _read(cgroup / "cpu/cpu.cfs_period_us")
    return int(quota) / int(period) if quota.isdecimal() and period.isdecimal() and int(period) else None


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""

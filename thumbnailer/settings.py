"""Settings: described once, in `Settings`; read from the environment by `load`, and nowhere else.

`SETTINGS` lists the rows. docs/settings.md, `thumbnailer settings`, `thumbnailer doctor` and the parameters of both
templates follow from it (`python -m tests.tools.parameters`).
"""

import os
import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, Final, Literal

from thumbnailer.errors import SettingsError, nearest
from thumbnailer.model import EngineName, Format
from thumbnailer.renditions import (
    ACCEPTS,
    MAX_SIDE,
    Rendition,
    check_key_template,
    default_key_template,
    parse_renditions,
)
from thumbnailer.values import dataclass, field, fields

PREFIX: Final = "THUMBNAILER_"
MOST_OFFERS: Final = 32
STORAGE_CLASSES: Final = (
    "STANDARD", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER_IR",
    "REDUCED_REDUNDANCY", "EXPRESS_ONEZONE",
)  # fmt: skip


# --- kinds of values: `parse` raises ValueError, `accepts` says what it takes ---------------------------------------


@dataclass(frozen=True, slots=True)
class Words:
    """One of a few words, made a value by `convert`."""

    words: tuple[str, ...]
    convert: Callable[[str], Any] = str

    @property
    def accepts(self) -> str:
        return " or ".join([", ".join(self.words[:-1]), self.words[-1]])

    def parse(self, text: str) -> Any:
        if text not in self.words:
            raise ValueError(f"no such choice{nearest(text, self.words)}")
        return self.convert(text)


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number from `least` to `most`."""

    least: int
    most: int

    @property
    def accepts(self) -> str:
        return f"{self.least} to {self.most}"

    def parse(self, text: str) -> int:
        if re.fullmatch(r"[0-9]+ ?[KMGTkmgt](i?[Bb])?", text):
            raise ValueError("units are not read: write the whole number, e.g. 10485760 for 10 MB")
        if not re.fullmatch(r"[0-9]{1,15}", text) or not self.least <= int(text) <= self.most:
            raise ValueError("not a whole number in this range")
        return int(text)


@dataclass(frozen=True, slots=True)
class Text:
    """Text that `pattern` matches as a whole, of at most `most_bytes`, made a value by `convert`."""

    accepts: str
    pattern: str | None = None
    convert: Callable[[str], Any] = str
    most_bytes: int | None = None

    def parse(self, text: str) -> Any:
        if self.pattern and not re.fullmatch(self.pattern, text):
            raise ValueError("not of this form")
        if self.most_bytes and len(text.encode()) > self.most_bytes:
            raise ValueError(f"more than {self.most_bytes} bytes")
        return self.convert(text)


Kind = Words | Whole | Text


def _globs(text: str) -> tuple[str, ...]:
    return tuple(glob.strip() for glob in text.split(",") if glob.strip())


_PAIR: Final = "([0-9a-fA-F]{2})+:([0-9a-fA-F]{2})+"
_GRAMMAR: Final = "(query|dit|imgproxy|thumbor)"
_FORMAT: Final = "(jpeg|png|webp|avif|gif)"


def _keys(text: str) -> tuple[bytes, ...]:
    return tuple(bytes.fromhex(key) for key in text.split(",") if key)


def _words(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text.split(",")))


def _pairs(text: str) -> tuple[tuple[bytes, bytes], ...]:
    pairs = (pair.split(":") for pair in text.split(",") if pair)
    return tuple((bytes.fromhex(key), bytes.fromhex(salt)) for key, salt in pairs)


def _texts(text: str) -> tuple[bytes, ...]:
    return tuple(key.encode() for key in text.split(",") if key)


def _formats(text: str) -> tuple[Format, ...]:
    return tuple(Format(name) for name in text.split(",") if name)


def _offers(text: str) -> tuple[Rendition, ...]:
    offers = parse_renditions(text) if text else ()
    if len(offers) > MOST_OFFERS:
        raise ValueError(
            f"{len(offers)} offers; at most {MOST_OFFERS} are taken, because each record deletes all of them"
        )
    return offers


_GLOBS: Final = Text("a comma list of globs", convert=_globs)
_SWITCH: Final = Words(("on", "off"), convert="on".__eq__)
_ENGINES: Final = Words(("auto", *EngineName), convert=lambda word: None if word == "auto" else EngineName(word))
_BUCKET: Final = Text(
    "a bucket name, {bucket} stands for the source's name; {bucket} alone is refused as an endless loop",
    pattern=r"(?!(\{bucket\})?$)[a-z0-9.-]*(\{bucket\})?[a-z0-9.-]*",
)
_HEADER: Final = Text("printable ASCII", pattern=r"[ -~]{1,1024}")
_KMS_KEY: Final = Text("a KMS key id or ARN", pattern=_HEADER.pattern)


class Section(StrEnum):
    """A heading of docs/settings.md and a group of the templates' parameters."""

    BUCKETS = "Buckets and keys"
    RENDITIONS = "Renditions"
    HEADERS = "Headers of thumbnails"
    LIMITS = "Engine and limits"
    WORKER = "Worker only"
    ON_DEMAND = "On demand only"


@dataclass(frozen=True, slots=True)
class Setting:
    """One row. `default` None means unset."""

    field: str
    section: Section
    default: str | None
    kind: Kind
    meaning: str

    @property
    def variable(self) -> str:
        return PREFIX + self.field.upper()


def _setting(section: Section, default: str | None, kind: Kind, meaning: str) -> Any:
    """A dataclass field that carries its row."""
    return field(metadata={"row": (section, default, kind, meaning)})


_buckets = partial(_setting, Section.BUCKETS)
_renditions = partial(_setting, Section.RENDITIONS)
_headers = partial(_setting, Section.HEADERS)
_limits = partial(_setting, Section.LIMITS)
_worker = partial(_setting, Section.WORKER)
_on_demand = partial(_setting, Section.ON_DEMAND)


@dataclass(frozen=True, slots=True)
class Settings:
    """The user's settings. None means: follows from the tier (for a PUT's header: AWS's own default)."""

    destination: str = _buckets("{bucket}-resized", _BUCKET, "The bucket that thumbnails go to.")
    key: str = _buckets(
        None,
        Text("text with {key} or {stem}, also {name}, {ext}, {dir}; with several renditions it must contain {name}"),
        "The key of a thumbnail. Default: {key} for one rendition, {key}/{name}.{ext} for several.",
    )
    sources: tuple[str, ...] = _buckets("", _GLOBS, "Only events of these buckets. Empty: of any bucket.")
    include: tuple[str, ...] = _buckets("", _GLOBS, "Only these keys; `*` matches `/` too. Empty: all keys.")
    exclude: tuple[str, ...] = _buckets("", _GLOBS, "Not these keys. Empty: none.")
    expected_owner: str | None = _buckets(
        None,
        Text("an AWS account id of 12 digits", pattern="[0-9]{12}"),
        "The account that all buckets must belong to; S3 denies requests to other accounts' buckets.",
    )
    on_delete: Literal["delete", "keep"] = _buckets(
        "delete", Words(("delete", "keep")), "What to do with thumbnails when their source is deleted."
    )
    write_once: bool = _buckets(
        "off",
        _SWITCH,
        "No key is ever written twice: saves a HEAD a picture. If a key is overwritten or removed while its thumbnails "
        "are made, the older ones may stay.",
    )
    failed_prefix: str = _buckets(
        "_failed/",
        Text("text of at most 256 bytes", most_bytes=256),
        "Prefix in the destination for a JSON note about each rejected object. Empty: no notes.",
    )
    renditions: tuple[Rendition, ...] = _renditions(
        "128x128", Text(ACCEPTS, convert=parse_renditions), "The thumbnails to make of each picture; never enlarged."
    )
    offers: tuple[Rendition, ...] = _renditions(
        "",
        Text("renditions as THUMBNAILER_RENDITIONS", convert=_offers),
        "More renditions that anyone may ask for on demand; kept once they are made.",
    )
    any_prefix: str = _renditions(
        "_any/",
        Text("ASCII text without braces, at most 256 characters", r"[ -z|~]{0,256}"),
        "Prefix in the destination for the pictures of THUMBNAILER_OFFERS. Empty: none is kept.",
    )
    svg: bool = _renditions("off", _SWITCH, "Accept SVG drawings; they are drawn without network or file access.")
    thumbhash: bool = _renditions(
        "off",
        _SWITCH,
        "Put a ThumbHash (a placeholder of about 25 bytes, Base64) into each thumbnail's metadata `thumbhash`.",
    )
    user_metadata: bool = _headers("on", _SWITCH, "Copy the source's user metadata to its thumbnails.")
    cache_control: str | None = _headers(None, _HEADER, "Cache-Control of every thumbnail. Unset: the source's own.")
    storage_class: str | None = _headers(
        None, Words(STORAGE_CLASSES), "Storage class of every thumbnail. Unset: STANDARD."
    )
    sse: str | None = _headers(
        None,
        Words(("AES256", "aws:kms", "aws:kms:dsse")),
        "Server-side encryption of every thumbnail. Unset: the bucket's own.",
    )
    kms_key_id: str | None = _headers(
        None, _KMS_KEY, "The KMS key for thumbnails; only with SSE aws:kms or aws:kms:dsse."
    )
    engine: EngineName | None = _limits(
        "auto",
        _ENGINES,
        "The engine to prefer; auto is the fastest one for the format; native is the compiled one for JPEG. Falls back "
        "to the others if decoding fails.",
    )
    isolation: Literal["redelivered", "always"] = _limits(
        "redelivered",
        Words(("redelivered", "always")),
        "Pictures decoded in a child process without credentials, network or files: those whose message comes again, "
        "or all.",
    )
    transport: Literal["auto", "aioboto3", "obstore"] = _limits(
        "auto",
        Words(("auto", "obstore", "aioboto3")),
        "The S3 client; auto is obstore if it supports settings and credentials.",
    )
    memory_mb: int | None = _limits(
        None,
        Whole(64, 1_048_576),
        "Memory that sizes the tier. Unset: Lambda's memory size, the control group's limit, or the machine's memory.",
    )
    max_pixels: int | None = _limits(
        None,
        Whole(1, 10**10),
        "Refuse pictures of more work, in pixels decoded from a still (docs/memory.md). Unset: from the tier.",
    )
    max_bytes: int | None = _limits(None, Whole(1, 5 * 10**12), "Refuse objects with more bytes. Unset: from the tier.")
    max_frames: int | None = _limits(
        None, Whole(1, 100_000), "Show only the first frame of animations with more. Unset, as from 4000 on: 4000."
    )
    workers: int | None = _limits(None, Whole(1, 256), "Decoding threads. Unset: from the tier.")
    in_flight: int | None = _limits(None, Whole(1, 1000), "Records in work at once. Unset: from the tier.")
    log_level: str = _limits(
        "INFO", Words(("DEBUG", "INFO", "WARNING", "ERROR")), "The lowest level logged; DEBUG: a line a record."
    )
    queue_url: str | None = _worker(
        None,
        Text("a URL such as https://sqs.eu-west-1.amazonaws.com/123456789012/thumbnails", r"https?://[^\s/]+/\S+"),
        "The queue that `thumbnailer worker` receives its messages from.",
    )
    stop_timeout: int = _worker(
        "25", Whole(1, 120), "Seconds from SIGTERM to the end; less than the platform waits for SIGKILL."
    )
    record_timeout: int = _worker(
        "120", Whole(5, 43_200), "Seconds that a record may take before it returns to the queue."
    )
    port: int = _worker(
        "8080", Whole(0, 65_535), "The port of /metrics, /healthz and /readyz. 0: any free one, logged."
    )
    url_keys: tuple[bytes, ...] = _on_demand(
        "",
        Text(
            "a comma list of keys of 32 to 128 hexadecimal digits",
            r"|[0-9a-fA-F]{32,128}(,[0-9a-fA-F]{32,128})*",
            _keys,
        ),
        "Keys of signed URLs, which may ask for any size. The first one signs, all of them verify.",
    )
    open: bool = _on_demand("off", _SWITCH, "Anyone may ask for any size: for private networks and benchmarks.")
    grammars: tuple[str, ...] = _on_demand(
        "query",
        Text("a comma list of query, dit, imgproxy and thumbor", rf"{_GRAMMAR}(,{_GRAMMAR})*", _words),
        "The forms of URLs that are read, the first one that fits.",
    )
    imgproxy_keys: tuple[tuple[bytes, bytes], ...] = _on_demand(
        "",
        Text(
            "a comma list of key:salt, both hexadecimal",
            r"|[0-9a-fA-F]+:[0-9a-fA-F]+(,[0-9a-fA-F]+:[0-9a-fA-F]+)*",
            _pairs,
        ),
        "IMGPROXY_KEY and IMGPROXY_SALT of signed URLs.",
    )
    thumbor_keys: tuple[bytes, ...] = _on_demand(
        "", Text("a comma list of SECURITY_KEYs", convert=_texts), "thumbor's SECURITY_KEY, for signed URLs."
    )
    negotiate: tuple[Format, ...] = _on_demand(
        "webp",
        Text(
            "a comma list of jpeg, png, webp, avif and gif",
            r"|(jpeg|png|webp|avif|gif)(,(jpeg|png|webp|avif|gif))*",
            _formats,
        ),
        "Formats given to clients whose Accept header names them, if the URL names none. Empty: the source's own.",
    )
    max_side: int = _on_demand("4096", Whole(1, MAX_SIDE), "The longest side that a URL may ask for, in pixels.")
    max_age: int = _on_demand("86400", Whole(0, 31_536_000), "Seconds that clients and caches keep an answer.")
    cors: str = _on_demand(
        "*",
        Text("* or one origin such as https://www.example.com", r"\*|https?://[A-Za-z0-9.:-]+|"),
        "The origin whose pages may read the pictures. Empty: none.",
    )
    request_timeout: int = _on_demand("20", Whole(1, 900), "Seconds that a picture may take.")

    @property
    def kept_offers(self) -> tuple[Rendition, ...]:
        """The offers that the destination keeps: none if a changed source could not delete them."""
        return self.offers if self.any_prefix and self.on_delete == "delete" else ()

    def destination_bucket(self, bucket: str) -> str:
        """The bucket that thumbnails of pictures in `bucket` go to."""
        return self.destination.replace("{bucket}", bucket)

    def is_destination(self, bucket: str) -> bool:
        """Whether some bucket's thumbnails would go to `bucket`, so that its objects are our own output."""
        before, marker, after = self.destination.partition("{bucket}")
        if not marker:
            return bucket == before
        return len(bucket) > len(before) + len(after) and bucket.startswith(before) and bucket.endswith(after)

    def may_be_source(self, bucket: str) -> bool:
        """Whether events of `bucket` are accepted."""
        return not self.sources or any(fnmatchcase(bucket, glob) for glob in self.sources)

    def wants(self, key: str) -> bool:
        """Whether the include and exclude globs (`*` matches `/` too) let the decoded key through."""
        if self.include and not any(fnmatchcase(key, glob) for glob in self.include):
            return False
        return not any(fnmatchcase(key, glob) for glob in self.exclude)


SETTINGS: Final = tuple(Setting(one.name, *one.metadata["row"]) for one in fields(Settings))


# --- reading ------------------------------------------------------------------------------------------------------


def load() -> Settings:
    """Settings from this process's environment. Raises SettingsError."""
    return parse_settings(os.environ)


def environment() -> Mapping[str, str]:
    """This process's environment, for the parts that pass AWS's own variables on (endpoint, region, credentials)."""
    return dict(os.environ)


def parse_settings(env: Mapping[str, str]) -> Settings:
    """Settings from environment variables. Raises SettingsError that lists every mistake."""
    mistakes = _unknown_variables(env)
    values: dict[str, Any] = {}
    for setting in SETTINGS:
        text = env.get(setting.variable, setting.default)
        try:
            values[setting.field] = None if text is None else setting.kind.parse(text)
        except ValueError as error:
            mistakes.append(_mistake(setting, text, error))
    mistakes += _contradictions(values)
    if mistakes:
        raise SettingsError("the settings are invalid:\n" + "\n".join(f"  {mistake}" for mistake in mistakes))
    return Settings(**values)


def _mistake(setting: Setting, text: str | None, error: ValueError) -> str:
    return f"{setting.variable}={text!r}: {error}. It accepts: {setting.kind.accepts}."


def _unknown_variables(env: Mapping[str, str]) -> list[str]:
    """A misspelt variable would have no effect, so it is a mistake."""
    known = sorted(setting.variable for setting in SETTINGS)
    return [
        f"{name}: there is no such setting{nearest(name, known)}; there are {', '.join(known)}."
        for name in sorted(env)
        if name.startswith(PREFIX) and name not in known
    ]


def _contradictions(values: dict[str, Any]) -> list[str]:
    """Mistakes between settings that are valid one by one; fills in the default key template.

    An invalid setting is missing in `values` and is not checked here.
    """
    mistakes = []
    renditions = values.get("renditions", ())
    if values["key"] is None:
        values["key"] = default_key_template(renditions)
    try:
        check_key_template(values["key"], renditions)
    except ValueError as error:
        key = next(setting for setting in SETTINGS if setting.field == "key")
        mistakes.append(_mistake(key, values["key"], error))
    if values.get("kms_key_id") and "sse" in values and not (values["sse"] or "").startswith("aws:kms"):
        mistakes.append("THUMBNAILER_KMS_KEY_ID is set, so THUMBNAILER_SSE must be aws:kms or aws:kms:dsse.")
    return mistakes


def markdown_table(section: Section | None = None) -> str:
    """A Markdown table of the settings, of one section or of all."""
    rows = [
        f"| `{s.variable}` | {_default_text(s.default)} | {s.meaning} | {s.kind.accepts} |"
        for s in SETTINGS
        if section in (None, s.section)
    ]
    return "\n".join(["| variable | default | meaning | accepts |", "| --- | --- | --- | --- |", *rows])


def _default_text(default: str | None) -> str:
    return "" if default is None else f"`{default}`" if default else "empty"

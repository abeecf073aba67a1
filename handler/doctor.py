"""Checks the installation, the engines and the settings."""

import platform
import re
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from thumbnailer import settings as settings_
from thumbnailer.app import check_extras, sized_tier
from thumbnailer.engine import installed_engines, load_engine, versions
from thumbnailer.errors import SettingsError
from thumbnailer.machine import machine
from thumbnailer.model import EngineName
from thumbnailer.renditions import can_collide
from thumbnailer.settings import Settings
from thumbnailer.store.auto import choose_transport
from thumbnailer.store.base import StoreConfig


class Finding(NamedTuple):
    """`good` is None for a warning."""

    good: bool | None
    what: str
    found: str


def examine(source: str | None = None) -> list[Finding]:
    """All findings. Never raises. `source` is the source bucket, if known."""
    return [*_pillow(), *_engines(), *_libraries(), *_settings(source)]


def pillow_distribution() -> tuple[str, ...]:
    """The distributions that provide `PIL`, e.g. ("Pillow-SIMD 12.1.1.post0",)."""
    return tuple(f"{title} {found}" for title in ("Pillow", "Pillow-SIMD") if (found := _version(title)))


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _pillow() -> Iterator[Finding]:
    installed = pillow_distribution()
    if len(installed) == 1:
        yield Finding(True, "PIL", f"{installed[0]}, {instruction_set()}")
    elif installed:
        yield Finding(False, "PIL", f"{' and '.join(installed)} overwrite each other: uninstall both, install one")
    else:
        yield Finding(None, "PIL", "neither Pillow nor Pillow-SIMD is installed: no HEIC, BMP, ICO; JPEG is slower")


def instruction_set() -> str:
    """The instruction set of PIL's resampling, and its JPEG decoder."""
    try:
        from PIL import features
    except ImportError as error:
        return f"cannot be imported: {error}"
    resampling = "no SIMD in its resampling"
    if _version("Pillow-SIMD"):
        library = Path(str(sys.modules["PIL._imaging"].__file__)).read_bytes()
        resampling = "AVX2" if _uses_avx2(library) else "SSE4"
    return f"{resampling}, libjpeg-turbo {features.version_feature('libjpeg_turbo') or 'no'}"


def _uses_avx2(library: bytes) -> bool:
    """Whether the machine code multiplies 256-bit vectors of integers (`vpmaddwd ymm`), the core of AVX2 resampling.

    No symbol or version tells how the library was compiled. A build with -mavx2 has these four bytes about 45 times.
    By chance they occur once in 500 MB.
    """
    return len(re.findall(rb"\xc4\xc1[\x45\x4d\x55\x5d\x65\x6d\x75\x7d]\xf5", library)) >= 8


def _engines() -> Iterator[Finding]:
    installed = installed_engines()
    for name in EngineName:
        if name not in installed:
            hint = ": JPEG is slower; `make native` builds it" if name is EngineName.NATIVE else ""
            yield Finding(None, f"engine {name}", f"not installed{hint}")
            continue
        try:
            load_engine(name)
        except Exception as error:
            yield Finding(False, f"engine {name}", f"cannot be imported: {error}")
            continue
        can = installed[name]
        build = _native_build() if name is EngineName.NATIVE else ""
        yield Finding(True, f"engine {name}", f"{build}reads {_list(can.reads)}; writes {_list(can.writes)}")
    if EngineName.VIPS in installed:
        yield Finding(True, "loaders", "libvips: all are blocked except those in use")


def _native_build() -> str:
    """Version, instruction set and processor of the compiled engine, for the start of a line."""
    import thumbnailer_jpeg

    return f"{thumbnailer_jpeg.version()}, {thumbnailer_jpeg.simd()} on {platform.machine()}; "


def _libraries() -> Iterator[Finding]:
    try:
        for minimum, version_ in versions.installed():
            good = versions.is_enough(minimum, version_)
            wanted = "" if good else f"; at least {minimum.least} is required: {minimum.why}"
            yield Finding(good, minimum.library, f"{version_}{wanted}")
    except Exception as error:
        yield Finding(False, "libraries", f"cannot be imported: {error}")


def _list(formats: frozenset[object]) -> str:
    return ", ".join(sorted(str(format_) for format_ in formats))


def _settings(source: str | None) -> Iterator[Finding]:
    size, env = machine(), settings_.environment()
    try:
        settings = settings_.load()
        check_extras(settings)
    except SettingsError as error:
        yield Finding(False, "settings", str(error))
        return
    tier = sized_tier(settings, size)
    yield Finding(
        True,
        "tier",
        f"{tier.memory_mb} MB, {tier.vcpus:.2f} vCPU: {tier.workers} decoding, {tier.in_flight} in flight, "
        f"{tier.memory_budget >> 20} MB for pictures, each at most {tier.max_pixels:,} pixels and "
        f"{tier.max_bytes >> 20} MB",
    )
    config = StoreConfig.from_env(env, transport=settings.transport, expected_owner=settings.expected_owner)
    choice = choose_transport(config, env)
    where = f"{config.endpoint_url or 'AWS'}, {config.region}"
    yield Finding(True, "transport", f"{choice.transport}: {choice.why}; {where}")
    collides = can_collide(settings.key, settings.renditions)
    sources = "two sources can" if collides else "no two sources can"
    yield Finding(None if collides else True, "thumbnail keys", f"{settings.key}: {sources} write the same key")
    yield _on_demand(settings)
    if source is not None:
        yield _source(settings, source)
    for setting in settings_.SETTINGS:
        hidden = setting.field.endswith("_keys") and setting.variable in env
        value = "(hidden)" if hidden else env.get(setting.variable, setting.default or "(automatic)")
        yield Finding(True, setting.variable, value)


def _on_demand(settings: Settings) -> Finding:
    """Who may ask for what."""
    if settings.open:
        return Finding(None, "on demand", "anyone may ask for any size, and each costs a decode: for private networks")
    kept = f", kept under {settings.any_prefix}" if settings.kept_offers else ""
    named = f"renditions ({len(settings.renditions)}) and offers ({len(settings.offers)}{kept})"
    keys = len(settings.url_keys) + len(settings.imgproxy_keys) + len(settings.thumbor_keys)
    signed = f"other sizes need a URL signed with one of {keys} keys" if keys else "there are no other sizes"
    return Finding(True, "on demand", f"anyone may ask for {named}; {signed}")


def _source(settings: Settings, bucket: str) -> Finding:
    if settings.is_destination(bucket):
        why = f"is itself a destination of {settings.destination}: its objects are skipped as our own output"
        return Finding(False, "source", f"{bucket} {why}; take another bucket or THUMBNAILER_DESTINATION")
    return Finding(True, "source", f"{bucket}: its thumbnails go to {settings.destination_bucket(bucket)}")

"""The one place that picks implementations: from settings to store, engines and pipeline."""

import zlib
from base64 import b64decode
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Final

import uvloop

from thumbnailer.engine import installed_engines, load_engine
from thumbnailer.errors import SettingsError
from thumbnailer.execution.malloc import tame_heap
from thumbnailer.machine import Machine
from thumbnailer.model import EventKind, ObjectEvent
from thumbnailer.pipeline import Pipeline
from thumbnailer.planning.memory import CHILD
from thumbnailer.planning.tier import Tier, tier_for
from thumbnailer.rendering import Renderer
from thumbnailer.settings import Settings
from thumbnailer.store.auto import open_store
from thumbnailer.store.base import ObjectStore, PutHeaders, StoreConfig
from thumbnailer.store.memory import MemoryStore
from thumbnailer.trace import Trace
from thumbnailer.values import dataclass

new_event_loop = uvloop.new_event_loop
"""The loop of every door: obstore with asyncio's own loop aborted interpreters at exit."""
TINY: Final = (
    "eNr7f+P/AwYBLzdPNwZGRgYGRiBk+H+bwZlBgJuHj4dLgI+XT0hQQFhCQ0pCTEzCUFlVVsPK2NbG0tjC3MEjxs/BJdzV3CIgNzA8"
    "Pik9I93Ot7CyIKUiJjU9GWQIo6CQkISohL6UlH6yk4VTMsng/wEGQQ6Qm5gZlRiYBBmZBRn/H2EQBTsVBTADhUUE0EUZQIoZMRSz"
    "gBQLYiq+xcDDzAi0hlmQwZ6hg1u4gWEUDBxg/n8TAEjdPBQ="
)
"""A JPEG of 256 x 256 pixels, compressed and in Base64."""


@dataclass(frozen=True, slots=True)
class App:
    """Everything a door needs, for the life of the process."""

    settings: Settings
    tier: Tier
    pipeline: Pipeline
    store: ObjectStore


def sized_tier(settings: Settings, machine: Machine) -> Tier:
    """The machine's tier. A setting with the name of a field replaces that field."""
    tier = tier_for(settings.memory_mb or machine.memory_mb, machine.cpus)
    if settings.isolation == "always":
        tier = tier.with_changes({"memory_budget": tier.memory_budget - tier.workers * CHILD})
    names = ("workers", "in_flight", "max_pixels", "max_bytes", "max_frames")
    return tier.with_changes({name: value for name in names if (value := getattr(settings, name)) is not None})


def _has_mozjpeg() -> bool:
    return bool(find_spec("pyvips") and import_module("thumbnailer.engine.vips_formats").has_mozjpeg())


def check_extras(settings: Settings) -> None:
    """Raises SettingsError if a setting needs a package that is not installed."""
    if any(rendition.small for rendition in (*settings.renditions, *settings.offers)) and not _has_mozjpeg():
        raise SettingsError("`:small` needs a libvips with mozjpeg, which this one lacks: install pyvips[binary]")
    if settings.thumbhash and not find_spec("thumbhash"):
        raise SettingsError("THUMBNAILER_THUMBHASH=on needs the package thumbhash: install thumbnailer[thumbhash]")


def build(settings: Settings, machine: Machine, env: Mapping[str, str], store: ObjectStore | None = None) -> App:
    """Wires everything up inside the running loop. `store` replaces the S3 that `env` points to."""
    check_extras(settings)
    tier = sized_tier(settings, machine)
    tame_heap()
    config = StoreConfig.from_env(
        env, transport=settings.transport, connections=2 * tier.in_flight, expected_owner=settings.expected_owner
    )
    chosen = store or open_store(config, env)
    always = settings.isolation == "always"
    renderer = Renderer(tier, chosen, installed_engines(), cache(load_engine), always_isolated=always)
    return App(settings, tier, Pipeline(settings, chosen, renderer), chosen)


async def warm_up(make_app: Callable[[], App]) -> None:
    """Renders a tiny JPEG: loads engine and encoder of the settings, and starts a decoder. Opens no connection."""
    app, event = make_app(), ObjectEvent(EventKind.CREATED, "warm-up", "tiny.jpg")
    store = MemoryStore(event.bucket)
    await store.put(event.bucket, event.key, zlib.decompress(b64decode(TINY)), PutHeaders("image/jpeg"))
    renderer = Renderer(app.tier, store, installed_engines(), load_engine)
    renderer.decoder = app.pipeline.renderer.decoder
    await renderer.render(event, app.settings, Trace(event))

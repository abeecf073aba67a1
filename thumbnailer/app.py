"""The one place that picks implementations: settings -> store, engines and pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec

import uvloop

from thumbnailer.engine import installed_engines, load_engine
from thumbnailer.errors import SettingsError
from thumbnailer.execution.malloc import tame_heap
from thumbnailer.machine import Machine
from thumbnailer.pipeline import Pipeline
from thumbnailer.planning.tier import Tier, tier_for
from thumbnailer.settings import Settings
from thumbnailer.store.auto import open_store
from thumbnailer.store.base import ObjectStore, StoreConfig

new_event_loop = uvloop.new_event_loop
"""The loop everything runs on: obstore under asyncio's own loop was seen to abort interpreters at their exit."""


@dataclass(frozen=True, slots=True)
class App:
    """What a door needs. Made inside the loop that will run it, once for the life of the process."""

    settings: Settings
    tier: Tier
    pipeline: Pipeline
    store: ObjectStore


def sized_tier(settings: Settings, machine: Machine) -> Tier:
    """The machine's tier, with what the settings override."""
    tier = tier_for(settings.memory_mb or machine.memory_mb, machine.cpus)
    changes = {
        "workers": settings.workers,
        "in_flight": settings.in_flight,
        "max_pixels": settings.max_pixels,
        "max_bytes": settings.max_bytes,
        "max_frames": settings.max_frames,
    }
    return tier.with_changes({name: value for name, value in changes.items() if value is not None})


def check_extras(settings: Settings) -> None:
    """Raises SettingsError where a setting asks for what is not installed."""
    if settings.thumbhash and not find_spec("thumbhash"):
        raise SettingsError("THUMBNAILER_THUMBHASH=on needs the package thumbhash: install thumbnailer[thumbhash]")


def build(settings: Settings, machine: Machine, env: Mapping[str, str], store: ObjectStore | None = None) -> App:
    """Everything wired up; `store` in place of the S3 that `env` points to. Call it inside the running loop."""
    check_extras(settings)
    tier = sized_tier(settings, machine)
    tame_heap()
    config = StoreConfig.from_env(
        env, transport=settings.transport, connections=2 * tier.in_flight, expected_owner=settings.expected_owner
    )
    chosen = store or open_store(config, env)
    return App(settings, tier, Pipeline(settings, tier, chosen, installed_engines(), cache(load_engine)), chosen)

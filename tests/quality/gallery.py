"""The renders of one picture by both engines, made once for all assertions about it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from tests.support.processing import planned
from tests.support.rendering import render
from tests.tools.scoring import Pixels, references
from thumbnailer.engine import installed_engines, load_engine
from thumbnailer.errors import Rejected
from thumbnailer.model import EngineName
from thumbnailer.planning.capabilities import BOTH_ENGINES
from thumbnailer.planning.targets import Target

SIZES = ("128x128", "512x512", "64x64:cover")
Reason = str


@dataclass(frozen=True, slots=True)
class Render:
    """The thumbnails of one picture at one size by one engine."""

    engine: EngineName
    damaged: bool
    target: Target
    picture: bytes
    """At full quality even if the source is smaller: encoders are compared without the byte limit."""
    exact: bytes
    """The same without the loss of an encoder."""
    stored: bytes
    """As the pipeline stores it."""
    jpeg: bytes

    @property
    def pictures(self) -> tuple[bytes, ...]:
        return self.picture, self.exact, self.stored, self.jpeg


@dataclass
class Gallery:
    """One picture. Renders and references are made at their first use."""

    path: Path
    _renders: dict[tuple[EngineName, str], Render | Reason] = field(default_factory=dict)

    @cached_property
    def data(self) -> bytes:
        return self.path.read_bytes()

    def by_each_engine(self, size: str) -> list[Render | Reason]:
        """With each engine preferred that reads the format: the render, or the reason of the rejection."""
        is_jpeg = self.data.startswith(b"\xff\xd8")
        return [self._by(engine, size) for engine in (installed_engines() if is_jpeg else BOTH_ENGINES)]

    def _by(self, preferred: EngineName, size: str) -> Render | Reason:
        """Both preferences share a render if only one engine reads the format."""
        try:
            plan = planned(self.data, preferred, f"a={size},b={size}:png,c={size},d={size}:jpeg", SVG="on")
        except Rejected as error:
            return error.reason
        key = plan.engine, size
        if key not in self._renders:
            free = tuple(replace(target, most_bytes=None) for target in plan.targets[:2])
            plan = replace(plan, targets=(*free, *plan.targets[2:]))
            try:
                made = render(load_engine, str(self.path), plan)
                self._renders[key] = Render(made.engine, bool(made.defect), plan.targets[0], *made.pictures)
            except Rejected as error:
                self._renders[key] = error.reason
        return self._renders[key]

    def reference(self, size: str) -> Pixels:
        """The pixels that a thumbnail of this size should have."""
        return self._references[size]

    @cached_property
    def _references(self) -> dict[str, Pixels]:
        targets = [planned(self.data, renditions=size).targets[0] for size in SIZES]
        return dict(zip(SIZES, references(self.data, targets), strict=True))

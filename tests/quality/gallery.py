"""The thumbnails that the tests of quality look at; what each should look like is worked out once a session."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from tests.support.corpus import Row
from tests.tools.quality import plan_for
from tests.tools.scoring import Pixels, references
from thumbnailer.engine import load_engine, render
from thumbnailer.errors import Rejected
from thumbnailer.model import EngineName
from thumbnailer.planning.plan import Plan
from thumbnailer.planning.targets import Target

SIZES = ("128x128", "512x512", "64x64:cover")
TWINS = re.compile(r"recurser-(Landscape|Portrait)_[2-8]\.jpg")
"""Large photos of the corpus that differ from another one in their orientation alone."""


@dataclass(frozen=True, slots=True)
class Made:
    """What became of one picture: as users get it, and the same without the loss of its encoder."""

    engine: EngineName
    damaged: bool
    target: Target
    picture: bytes
    exact: bytes


def outcomes(row: Row, size: str) -> list[Made | str]:
    """With each engine preferred, what the pipeline makes of a picture: the thumbnail, or the reason why none."""
    made: dict[EngineName | None, Made | str] = {}
    return [_outcome(row, engine, size, made) for engine in EngineName]


def _outcome(row: Row, preferred: EngineName, size: str, known: dict[EngineName | None, Made | str]) -> Made | str:
    """Where only one engine reads the format, both wishes are one plan: made once."""
    try:
        plan = _at_full_quality(plan_for(row.read(), preferred, f"shown={size},exact={size}:png"))
        if plan.engine not in known:
            made = render(load_engine, str(row.path), plan)
            known[plan.engine] = Made(made.engine, bool(made.defect), plan.targets[0], *made.pictures)
        return known[plan.engine]
    except Rejected as error:
        return error.reason


def _at_full_quality(plan: Plan) -> Plan:
    """Not less because its source fits already and must not grow: that is tested elsewhere (tests/test_options.py)."""
    return replace(plan, targets=tuple(replace(target, most_bytes=None) for target in plan.targets))


class References:
    """Worked out for all sizes of a picture at its first use: decoding is what costs."""

    def __init__(self) -> None:
        self._known: dict[str, dict[str, Pixels]] = {}

    def of(self, row: Row, size: str) -> Pixels:
        if row.file not in self._known:
            data = row.read()
            targets = [plan_for(data, None, wanted).targets[0] for wanted in SIZES]
            self._known[row.file] = dict(zip(SIZES, references(data, targets), strict=True))
        return self._known[row.file][size]

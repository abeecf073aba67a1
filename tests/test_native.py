"""The compiled engine's place in the pipeline, with stand-ins for the engines: it need not be built."""

from __future__ import annotations

from dataclasses import replace

import pytest
from PIL import Image

from tests.support.pictures import saved
from tests.support.pipelines import created, run, settings, store_with
from thumbnailer.engine import Rendering
from thumbnailer.errors import Corrupt, EngineBug
from thumbnailer.model import EngineName, Format, ImageInfo, Outcome, Status
from thumbnailer.pipeline import Pipeline
from thumbnailer.planning.capabilities import NATIVE, PILLOW, VIPS, Capability, suits_native
from thumbnailer.planning.plan import Plan
from thumbnailer.planning.tier import tier_for
from thumbnailer.rendering import Renderer

EVERYTHING = Capability(Format.all(), Format.all())
INSTALLED = {VIPS: EVERYTHING, PILLOW: EVERYTHING, NATIVE: Capability(frozenset({Format.JPEG}), Format.all())}
PHOTO = saved(Image.new("RGB", (1600, 1200), "teal"), "JPEG", progressive=True)
LARGE = saved(Image.new("RGB", (4000, 3000), "teal"), "JPEG", progressive=True, subsampling=0)
JPEG = ImageInfo(Format.JPEG, 4000, 3000, channels=3)
TO_JPEG = frozenset({Format.JPEG})


class StandIn:
    """Raises `error` as the compiled engine; renders a word as the others. Keeps the plans."""

    def __init__(self, error: Corrupt | None = None) -> None:
        self.error, self.plans = error, list[Plan]()

    def render(self, path: str, plan: Plan) -> Rendering:
        self.plans.append(plan)
        if self.error and plan.engine is NATIVE:
            raise self.error
        return Rendering(plan.engine, tuple(b"picture" for _ in plan.targets), "", 0.0, 0.0)


def processed(data: bytes, engine: StandIn, memory_mb: int = 3008, preferred: str = "auto") -> Outcome:
    async def work() -> Outcome:
        store = await store_with({"x": data})
        renderer = Renderer(tier_for(memory_mb), store, INSTALLED, lambda _: engine)
        pipeline = Pipeline(settings(ENGINE=preferred), store, renderer)
        outcome = await pipeline.process(created("x"))
        await pipeline.aclose()
        assert renderer.memory.reserved == 0
        return outcome

    return run(work())


@pytest.mark.parametrize("preferred", ["auto", "native"])
def test_the_compiled_engine_comes_first_and_alone(preferred: str) -> None:
    engine = StandIn()
    outcome = processed(PHOTO, engine, preferred=preferred)
    assert (outcome.status, outcome.engine, outcome.engine_bug) == (Status.STORED, NATIVE, "")
    (plan,) = engine.plans
    assert (plan.fallback, plan.salvage, plan.second_estimate) == (None, False, 0)


@pytest.mark.parametrize("error", [Corrupt("Doubtful: no marker"), EngineBug("Internal: index out of bounds")])
@pytest.mark.parametrize("preferred", ["auto", "native"])
def test_a_file_that_it_leaves_is_planned_as_if_it_were_not_installed(preferred: str, error: Corrupt) -> None:
    engine, other = StandIn(error), StandIn()
    outcome = processed(PHOTO, engine, preferred=preferred)
    processed(PHOTO, other, preferred="pillow")
    assert (outcome.status, outcome.engine, outcome.detail) == (Status.STORED, PILLOW, None)
    assert outcome.engine_bug == (str(error) if isinstance(error, EngineBug) else "")
    assert engine.plans[1:] == other.plans


def test_the_others_need_their_own_memory() -> None:
    """A progressive JPEG of 12 MP with full chroma fits into the smallest tier by the compiled engine only."""
    assert processed(LARGE, StandIn(), memory_mb=128).engine is NATIVE
    outcome = processed(LARGE, StandIn(Corrupt("Doubtful: a missing byte")), memory_mb=128)
    assert (outcome.status, outcome.reason, outcome.engine) == (Status.REJECTED, "too-many-pixels", None)


@pytest.mark.parametrize(
    ("info", "reduction", "preferred", "suits"),
    [
        (JPEG, 1.01, None, True),
        (replace(JPEG, channels=1), 8, NATIVE, True),
        (JPEG, 1.0, NATIVE, False),
        (JPEG, 8, PILLOW, False),
        (JPEG, 8, VIPS, False),
        (replace(JPEG, channels=4), 8, None, False),
        (replace(JPEG, bit_depth=12), 8, None, False),
        (replace(JPEG, format=Format.PNG), 8, NATIVE, False),
    ],
)
def test_it_takes_pictures_that_it_reads_and_makes_smaller(
    info: ImageInfo, reduction: float, preferred: EngineName | None, suits: bool
) -> None:
    assert suits_native(info, reduction, TO_JPEG, preferred, INSTALLED) is suits
    assert not suits_native(info, reduction, TO_JPEG, preferred, {VIPS: EVERYTHING})
    no_avif = INSTALLED | {NATIVE: Capability(TO_JPEG, TO_JPEG)}
    assert not suits_native(info, reduction, frozenset({Format.AVIF}), preferred, no_avif)

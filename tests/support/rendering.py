"""The tries of the pipeline, one after the other and in this process."""

from __future__ import annotations

from dataclasses import replace

from thumbnailer.engine import Load, Rendering, render_first, render_second
from thumbnailer.errors import Corrupt
from thumbnailer.planning.capabilities import NATIVE, PILLOW, VIPS
from thumbnailer.planning.plan import Plan


def render(load: Load, path: str, plan: Plan) -> Rendering:
    """Tries the plan's engine, its fallback (the compiled engine has both others), the readable part of a damaged file.

    Raises Corrupt if less than half of the picture is readable.
    """
    try:
        return render_first(load, path, plan)
    except Corrupt as error:
        if plan.engine is NATIVE:
            return render(load, path, replace(plan, engine=PILLOW, fallback=VIPS, salvage=True))
        return render_second(load, path, plan, error)

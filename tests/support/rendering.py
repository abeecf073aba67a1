"""Both tries of the pipeline, one after the other and in this process."""

from __future__ import annotations

from thumbnailer.engine import Load, Rendering, render_first, render_second
from thumbnailer.errors import Corrupt
from thumbnailer.planning.plan import Plan


def render(load: Load, path: str, plan: Plan) -> Rendering:
    """Tries the plan's engine, then its fallback, then the readable part of a damaged picture.

    Raises Corrupt if less than half of the picture is readable.
    """
    try:
        return render_first(load, path, plan)
    except Corrupt as error:
        return render_second(load, path, plan, error)

"""One try to decode a picture: the value that threads and child processes run."""

from dataclasses import dataclass

from thumbnailer.engine import Load, Rendering, render_first, render_second
from thumbnailer.errors import Corrupt
from thumbnailer.model import EngineName
from thumbnailer.planning.plan import Plan


@dataclass(frozen=True, slots=True)
class Attempt:
    """The first try, or the second one if `failure` ended the first."""

    path: str
    plan: Plan
    failure: Corrupt | None = None

    @property
    def memory(self) -> int:
        """Bytes beyond the idle process."""
        return self.plan.memory_estimate if self.failure is None else self.plan.second_estimate

    @property
    def engine(self) -> EngineName:
        """The engine that this attempt asks first."""
        return self.plan.engine if self.failure is None else self.plan.fallback or EngineName.PILLOW

    def render(self, load: Load) -> Rendering:
        """Raises Corrupt if no engine of this attempt can read the picture."""
        if self.failure is None:
            return render_first(load, self.path, self.plan)
        return render_second(load, self.path, self.plan, self.failure)

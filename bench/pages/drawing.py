"""One way to draw a chart: panels of named lines. Markers, dashes and names tell the lines apart without colour."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Final, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import XAxis, YAxis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator
from PIL import Image

WIDTH: Final = 8.0
HEIGHT: Final = 4.6
SECOND_HEIGHT: Final = 3.0
"""Inches of the figure, and of each further panel."""
DPI: Final = 110
COLOURS: Final = 48
"""Palette of a chart: it looks the same and takes a quarter of the bytes."""
INK: Final = "#1d2126"
SOFT: Final = "#6b7480"
STYLE: Final = Path(__file__).with_name("chart.mplstyle")
WORDS_STEPS: Final = 6
"""Steps between the points of a long line that the text alternative lists."""
WHITE: Final = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.5}
BOLD: Final[Mapping[str, Any]] = {"fontweight": "bold", "fontsize": 9.5, "bbox": WHITE}
LOOKS: Final = list(mpl.rc_params_from_file(STYLE, use_default_template=False)["axes.prop_cycle"])
"""Colour, marker and dashes of each line. Colour-blind readers can tell the colours apart."""
MEMORY: Final = "memory, MB"


class Series(NamedTuple):
    """A line."""

    name: str
    xs: Sequence[float]
    ys: Sequence[float]


@dataclass(frozen=True, slots=True)
class Panel:
    """Lines over a logarithmic x axis; `bottom` bounds the y axis, None: automatic. `marks`: x, y and a short text."""

    ylabel: str
    series: Sequence[Series]
    xlabel: str = MEMORY
    is_log: bool = False
    bottom: float | None = None
    marks: Sequence[tuple[float, float, str]] = ()

    @property
    def words(self) -> str:
        """The numbers of some points of every line."""
        return f"{self.ylabel}: " + "; ".join(f"{each.name}: {self._points(each)}" for each in self.series)

    def _points(self, series: Series) -> str:
        unit = " MB" if self.xlabel == MEMORY else ""
        texts = [f"{number(y)} at {number(x)}{unit}" for x, y in zip(series.xs, series.ys, strict=True)]
        return ", ".join(texts[:: max(1, (len(texts) - 1) // WORDS_STEPS)])


@dataclass(frozen=True, slots=True, eq=False)
class Chart:
    """A titled picture; `note` says which cells it shows."""

    name: str
    title: str
    note: str
    panels: Sequence[Panel]

    @property
    def alt(self) -> str:
        """The text alternative, with numbers."""
        words = ". ".join(panel.words for panel in self.panels)
        return f"{self.title} ({self.note}). {words}".replace("\n", " ")

    def png(self) -> bytes:
        with mpl.rc_context(fname=STYLE):
            return _png(_figure(self))


def number(value: float) -> str:
    """Return a short text: 0.02, 3.5, 1,200, 4 M."""
    for unit, size in (("G", 1e9), ("M", 1e6)):
        if abs(value) >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _png(figure: Figure) -> bytes:
    drawn, compact = BytesIO(), BytesIO()
    figure.savefig(drawn, format="png", dpi=DPI, metadata={"Software": None})
    with Image.open(drawn) as picture:
        few = picture.convert("RGB").quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        few.save(compact, "PNG", optimize=True)
    return compact.getvalue()


def _figure(chart: Chart) -> Figure:
    figure = Figure(figsize=(WIDTH, HEIGHT + SECOND_HEIGHT * (len(chart.panels) - 1)), layout="constrained")
    figure.suptitle(chart.title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    all_axes = figure.subplots(len(chart.panels), squeeze=False)[:, 0]
    all_axes[0].set_title(chart.note, fontsize=9.5, fontweight="normal", color=SOFT)
    for axes, panel in zip(all_axes, chart.panels, strict=True):
        _draw(axes, panel)
    return figure


def _draw(axes: Axes, panel: Panel) -> None:
    for series, look in zip(panel.series, LOOKS, strict=False):
        axes.plot(series.xs, series.ys, label=series.name, markevery=max(1, len(series.xs) // 9), **look)
    _scale_x(axes, sorted({x for series in panel.series for x in series.xs}), panel.xlabel)
    if panel.bottom is not None:
        axes.set_ylim(panel.bottom)
    if panel.is_log:
        axes.set_yscale("log")
        _write_numbers(axes.yaxis)
    axes.set_ylabel(panel.ylabel)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=9.5)
    for x, y, text in panel.marks:
        axes.plot([x], [y], "o", color=INK, markerfacecolor=INK, zorder=4)
        axes.annotate(text, (x, y), (0, 13), textcoords="offset points", ha="center", **BOLD)


def _scale_x(axes: Axes, xs: Sequence[float], label: str) -> None:
    axes.set_xscale("log")
    axes.set_xlabel(label)
    if label != MEMORY:
        axes.set_xlim(xs[0], xs[-1])
    _write_numbers(axes.xaxis)
    if label == MEMORY:
        axes.xaxis.set_major_locator(FixedLocator(xs))


def _write_numbers(axis: XAxis | YAxis) -> None:
    """The numbers of a logarithmic axis as people write them."""
    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 1000 else (1,)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))

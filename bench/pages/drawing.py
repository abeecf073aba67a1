"""One way to draw a chart: panels of named lines. Markers, dashes and names tell the lines apart without colour."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import XAxis, YAxis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator
from PIL import Image

WIDTH: Final = 8.0
HEIGHT: Final = 4.6
SECOND_HEIGHT: Final = 3.0
"""Inches of the figure, and of each further panel."""
DPI: Final = 130
COLOURS: Final = 64
"""Palette of a chart: it looks the same and halves the bytes."""
INK: Final = "#1d2126"
SOFT: Final = "#6b7480"
STYLE: Final = Path(__file__).with_name("chart.mplstyle")
NAME_GAP: Final = 0.062
"""Distance of names at the right edge, as a share of a single panel's height for each line of text."""
WORDS_POINTS: Final = 7
"""Points of a line over many xs that the text alternative lists."""
WHITE: Final = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.5}


LOOKS: Final = list(mpl.rc_params_from_file(STYLE, use_default_template=False)["axes.prop_cycle"])
"""Colour, marker and dashes of each line. Colour-blind readers can tell the colours apart."""


class Series(NamedTuple):
    """A line; `lower` and `upper` are quartiles and may be empty."""

    name: str
    xs: Sequence[float]
    ys: Sequence[float]
    lower: Sequence[float] = ()
    upper: Sequence[float] = ()


class Mark(NamedTuple):
    """A point with a short text beside it."""

    x: float
    y: float
    text: str
    side: Literal["left", "right"] = "right"


@dataclass(frozen=True, slots=True)
class Panel:
    """Lines over one x axis; `bottom` and `top` bound the y axis, None: automatic."""

    ylabel: str
    series: Sequence[Series]
    xlabel: str = "memory, MB"
    xscale: Literal["memory", "log", "percent"] = "memory"
    is_log: bool = False
    bottom: float | None = None
    top: float | None = None
    marks: Sequence[Mark] = ()


@dataclass(frozen=True, slots=True)
class Chart:
    """A titled picture; `note` says which cells it shows, `words` says its numbers."""

    name: str
    title: str
    note: str
    panels: Sequence[Panel]

    @property
    def words(self) -> str:
        return ". ".join(panel_words(panel) for panel in self.panels)

    @property
    def alt(self) -> str:
        """The text alternative."""
        return f"{self.title} ({self.note}). {self.words}".replace("\n", " ")

    def png(self) -> bytes:
        with mpl.rc_context(fname=STYLE):
            return _png(_figure(self))


def number(value: float) -> str:
    """Return a short text: 0.02, 3.5, 1,200, 4 M."""
    for unit, size in (("G", 1e9), ("M", 1e6)):
        if abs(value) >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def panel_words(panel: Panel) -> str:
    """Return the numbers of some points of every line."""
    return f"{panel.ylabel}: " + "; ".join(f"{each.name}: {_points(each, panel)}" for each in panel.series)


def _points(series: Series, panel: Panel) -> str:
    last = len(series.xs) - 1
    steps = (last if panel.xscale == "memory" else min(last, WORDS_POINTS - 1)) or 1
    chosen = dict.fromkeys(round(last * step / steps) for step in range(steps + 1))
    return ", ".join(f"{number(series.ys[place])} at {_x_text(series.xs[place], panel)}" for place in chosen)


def _x_text(x: float, panel: Panel) -> str:
    return {"memory": f"{x:,.0f} MB", "percent": f"{x:.0%}", "log": number(x)}[panel.xscale]


# --- drawing ------------------------------------------------------------------------------------------------------


def _png(figure: Figure) -> bytes:
    drawn, compact = BytesIO(), BytesIO()
    figure.savefig(drawn, format="png", dpi=DPI, metadata={"Software": None})
    with Image.open(drawn) as picture:
        picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(compact, "PNG", optimize=True)
    return compact.getvalue()


def _figure(chart: Chart) -> Figure:
    figure = Figure(figsize=(WIDTH, HEIGHT + SECOND_HEIGHT * (len(chart.panels) - 1)), layout="constrained")
    FigureCanvasAgg(figure)
    all_axes = figure.subplots(len(chart.panels), squeeze=False)[:, 0]
    all_axes[0].set_title(chart.title, pad=26)
    offset: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points"}
    all_axes[0].annotate(chart.note, (0, 1), (0, 9), fontsize=9.5, color=SOFT, **offset)
    for axes, panel in zip(all_axes, chart.panels, strict=True):
        _draw(axes, panel, NAME_GAP * len(chart.panels) ** 0.5)
    return figure


def _draw(axes: Axes, panel: Panel, name_gap: float) -> None:
    for series, look in zip(panel.series, LOOKS, strict=False):
        _line(axes, series, look)
    _scale_x(axes, panel)
    if panel.bottom is not None or panel.top is not None:
        axes.set_ylim(panel.bottom, panel.top)
    if panel.is_log:
        _scale_log(axes, "y")
    axes.set_xlabel(panel.xlabel)
    axes.set_ylabel(panel.ylabel)
    for mark in panel.marks:
        _mark(axes, mark)
    _names_at_right(axes, panel.series, name_gap)


def _line(axes: Axes, series: Series, look: dict[str, Any]) -> None:
    axes.plot(series.xs, series.ys, markevery=max(1, len(series.xs) // 9), **look)
    if series.lower and series.upper:
        axes.fill_between(series.xs, series.lower, series.upper, color=look["color"], alpha=0.14, linewidth=0)


def _scale_x(axes: Axes, panel: Panel) -> None:
    xs = sorted({x for series in panel.series for x in series.xs})
    if panel.xscale == "memory":
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_locator(FixedLocator(xs))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        return
    axes.set_xlim(xs[0], xs[-1])
    if panel.xscale == "log":
        _scale_log(axes, "x")
    else:
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))


def _scale_log(axes: Axes, which: Literal["x", "y"]) -> None:
    """A logarithmic axis with numbers as people write them."""
    axis: XAxis | YAxis = axes.xaxis if which == "x" else axes.yaxis
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 1000 else (1,)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))


def _mark(axes: Axes, mark: Mark) -> None:
    axes.plot([mark.x], [mark.y], "o", color=INK, markerfacecolor=INK, zorder=4)
    offset, align = ((2, 13), "left") if mark.side == "right" else ((-2, 13), "right")
    place: dict[str, Any] = {"textcoords": "offset points", "ha": align}
    axes.annotate(mark.text, (mark.x, mark.y), offset, fontweight="bold", fontsize=9.5, bbox=WHITE, **place)


def _names_at_right(axes: Axes, all_: Sequence[Series], name_gap: float) -> None:
    """The name of each line beside its last point, moved apart, with a thin line to the point."""
    to_axes = axes.transData + axes.transAxes.inverted()
    ends = [(float(to_axes.transform((each.xs[-1], each.ys[-1]))[1]), place) for place, each in enumerate(all_)]
    ends.sort()
    gap = name_gap * max(each.name.count("\n") + 1 for each in all_)
    for height, (_, place) in zip(spread([end for end, _ in ends], gap), ends, strict=True):
        series, colour = all_[place], LOOKS[place]["color"]
        axes.annotate(
            series.name,
            (series.xs[-1], series.ys[-1]),
            (1.035, height),
            textcoords="axes fraction",
            annotation_clip=False,
            va="center",
            color=colour,
            fontweight="bold",
            fontsize=9.5,
            linespacing=1.0,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.7, "shrinkA": 1, "shrinkB": 4},
        )


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Return the ascending heights, pushed up and then down until they are `gap` apart and within 0 to 1."""
    up = list(_pushed(heights, 0.0, gap))
    return [1 - height for height in _pushed([1 - height for height in reversed(up)], 0.0, gap)][::-1]


def _pushed(heights: Sequence[float], least: float, gap: float) -> Iterator[float]:
    for height in heights:
        yield (least := max(least, height))
        least += gap

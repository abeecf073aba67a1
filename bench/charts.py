"""The charts of a report. Readable without colour: every line has its own marker and dashes, and its name beside it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

SIZE: Final = (8.0, 4.6)
DPI: Final = 160
INK: Final = "#1d2126"
SOFT: Final = "#6b7480"
STYLE: Final[dict[Any, Any]] = {
    "font.size": 10.5,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.grid": True,
    "grid.color": "#e3e6e9",
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "hatch.linewidth": 0.6,
}
GAP: Final = 0.062
"""Between names at the right edge, in parts of the height."""


class Look(NamedTuple):
    """How one line is told from the others; the colours are Okabe and Ito's, for all kinds of eyes."""

    colour: str
    marker: str
    dashes: str


LOOKS: Final = (
    Look("#0072B2", "o", "-"),
    Look("#D55E00", "s", "--"),
    Look("#009E73", "^", "-."),
    Look("#1d2126", "D", ":"),
    Look("#CC79A7", "v", "-"),
    Look("#8a6d00", "P", "--"),
    Look("#56B4E9", "X", "-."),
)
HATCHES: Final = ("", "///", "...", "xxx", "\\\\\\", "++", "oo")
SHADES: Final = ("#cfe3f1", "#f6d5bd", "#cdeadf", "#e2e4e6", "#f1dbe7", "#efe6c2", "#dceefa")


class Series(NamedTuple):
    """A line of a chart; `lower` and `upper` are quartiles, empty where there are none."""

    name: str
    xs: Sequence[float]
    ys: Sequence[float]
    lower: Sequence[float] = ()
    upper: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class Chart:
    """A picture, its title, and what it shows in words, for those who do not see it."""

    name: str
    title: str
    words: str
    png: bytes


def png(figure: Figure) -> bytes:
    out = BytesIO()
    figure.savefig(out, format="png", dpi=DPI, metadata={"Software": None})
    return out.getvalue()


def new_figure(title: str, size: tuple[float, float] = SIZE) -> tuple[Figure, Axes]:
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(title, pad=12)
    axes.set_axisbelow(True)
    axes.spines["right"].set_visible(False)
    return figure, axes


def styled(draw: Callable[[], bytes]) -> bytes:
    with mpl.rc_context(STYLE):
        return draw()


# --- parts of a chart ---------------------------------------------------------------------------------------------


def memory_axis(axes: Axes, memories: Sequence[float]) -> None:
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(sorted(set(memories))))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_xlabel("memory, MB")


def plain_log(axes: Axes, which: str = "y") -> None:
    """Logarithmic, with numbers as people write them."""
    axis = axes.yaxis if which == "y" else axes.xaxis
    (axes.set_yscale if which == "y" else axes.set_xscale)("log")
    low, high = axis.get_view_interval()
    narrow = high / max(low, 1e-12) < 30
    steps = (1, 2, 5) if narrow or high / max(low, 1e-12) < 1000 else (1,)
    powers = range(math.floor(math.log10(max(low, 1e-12))), math.ceil(math.log10(high)) + 1)
    axis.set_major_locator(FixedLocator([step * 10.0**power for power in powers for step in steps]))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))


def number(value: float) -> str:
    """Short: 0.02, 3.5, 1,200, 4 M."""
    for unit, size in (("G", 1e9), ("M", 1e6)):
        if abs(value) >= size:
            return f"{value / size:.3g} {unit}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def line(axes: Axes, series: Series, look: Look, markers: bool = True) -> None:
    axes.plot(
        series.xs,
        series.ys,
        look.dashes,
        color=look.colour,
        marker=look.marker if markers else "",
        markersize=6,
        linewidth=1.8,
        markerfacecolor="white",
        markeredgewidth=1.6,
    )
    if series.lower and series.upper:
        axes.fill_between(series.xs, series.lower, series.upper, color=look.colour, alpha=0.14, linewidth=0)


def names_at_right(axes: Axes, named: Sequence[tuple[str, float, str]]) -> None:
    """The name of each line beside its last point, moved apart where they would touch, with a thin line to it then."""
    to_axes = axes.transData + axes.transAxes.inverted()
    x = axes.get_xlim()[1]
    places = sorted((float(to_axes.transform((x, y))[1]), name, colour) for name, y, colour in named)
    gap = GAP * max(name.count("\n") + 1 for name, _, _ in named)
    for height, (place, name, colour) in zip(spread([place for place, _, _ in places], gap), places, strict=True):
        axes.annotate(
            name,
            (1.0, place),
            (1.035, height),
            xycoords="axes fraction",
            textcoords="axes fraction",
            va="center",
            color=colour,
            fontweight="bold",
            fontsize=9.5,
            linespacing=1.0,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.7, "shrinkA": 1, "shrinkB": 1},
        )


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Ascending heights, moved as little as need be so that they are `gap` apart and within 0 to 1.

    Heights less the gaps below them need only not fall: where they do, their mean is the nearest that does not.
    """
    blocks: list[tuple[float, int]] = []  # the mean, and of how many
    for index, height in enumerate(heights):
        mean, count = height - index * gap, 1
        while blocks and blocks[-1][0] > mean:
            other, others = blocks.pop()
            mean, count = (mean * count + other * others) / (count + others), count + others
        blocks.append((mean, count))
    level = [mean for mean, count in blocks for _ in range(count)]
    top = 1 - (len(level) - 1) * gap
    return [max(0.0, min(mean, top)) + index * gap for index, mean in enumerate(level)]


def lines_chart(
    title: str,
    ylabel: str,
    series: Sequence[Series],
    finish: Callable[[Axes], None] = lambda _: None,
) -> bytes:
    """Lines over memory, each with its name."""

    def draw() -> bytes:
        figure, axes = new_figure(title)
        for each, look in zip(series, LOOKS, strict=False):
            line(axes, each, look)
        memory_axis(axes, [x for each in series for x in each.xs])
        axes.set_ylim(0, 1.08 * max(max(each.upper or each.ys) for each in series))
        axes.set_ylabel(ylabel)
        finish(axes)
        names_at_right(axes, [(each.name, each.ys[-1], look.colour) for each, look in zip(series, LOOKS, strict=False)])
        return png(figure)

    return styled(draw)


# --- charts of their own ------------------------------------------------------------------------------------------


def tuning(title: str, time: Series, cost: Series) -> bytes:
    """Billed time and cost over memory, each with its axis."""

    def draw() -> bytes:
        figure, axes = new_figure(title)
        other = axes.twinx()
        other.spines["right"].set_visible(True)
        other.grid(visible=False)
        for side, each, look in ((axes, time, LOOKS[0]), (other, cost, LOOKS[1])):
            line(side, each, look)
            side.set_ylim(0, 1.12 * max(each.upper or each.ys))
            side.tick_params(axis="y", colors=look.colour)
        memory_axis(axes, time.xs)
        axes.set_ylabel(f"{time.name}  (circles, solid)", color=LOOKS[0].colour)
        other.set_ylabel(f"{cost.name}  (squares, dashed)", color=LOOKS[1].colour)
        _mark_lowest(other, cost, "cheapest", "USD", LOOKS[1])
        _mark_lowest(axes, time, "fastest", "ms", LOOKS[0])
        return png(figure)

    return styled(draw)


def _mark_lowest(axes: Axes, series: Series, word: str, unit: str, look: Look) -> None:
    x, y = min(zip(series.xs, series.ys, strict=True), key=lambda point: point[1])
    side = {max(series.xs): "right", min(series.xs): "left"}.get(x, "center")
    axes.annotate(
        f"{word}: {x:,.0f} MB, {number(y)} {unit}",
        (x, y),
        (0, -22),
        textcoords="offset points",
        ha=side,
        va="center",
        color=look.colour,
        fontweight="bold",
        fontsize=9.5,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.5},
    )


def stacked(title: str, xlabel: str, rows: Sequence[str], parts: Mapping[str, Sequence[float]]) -> bytes:
    """A bar for each row, its parts with their numbers in them; what the hatches are is said above."""

    def draw() -> bytes:
        figure, axes = new_figure(title, (SIZE[0], 1.7 + 0.48 * len(rows)))
        lefts = [0.0] * len(rows)
        most = max(map(sum, zip(*parts.values(), strict=True)))
        for (name, values), hatch, shade in zip(parts.items(), HATCHES, SHADES, strict=False):
            axes.barh(rows, values, left=lefts, height=0.66, label=name, hatch=hatch, color=shade, edgecolor=SOFT)
            for row, (left, value) in enumerate(zip(lefts, values, strict=True)):
                if value > 0.045 * most:
                    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.9, "pad": 1.0}
                    axes.text(left + value / 2, row, number(value), ha="center", va="center", fontsize=9, bbox=box)
            lefts = [left + value for left, value in zip(lefts, values, strict=True)]
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.set_xlabel(xlabel)
        for row, total in enumerate(lefts):
            axes.annotate(number(total), (total, row), (5, 0), textcoords="offset points", va="center", fontsize=9.5)
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper right", ncols=len(parts), frameon=False)
        return png(figure)

    return styled(draw)


def against_limit(title: str, series: Sequence[Series]) -> bytes:
    """Peaks of memory over the limit; nothing can be above the diagonal."""

    def draw() -> bytes:
        figure, axes = new_figure(title)
        memories = sorted({x for each in series for x in each.xs})
        axes.plot(memories, memories, color=SOFT, linewidth=1.2)
        for each, look in zip(series, LOOKS, strict=False):
            line(axes, each, look)
        memory_axis(axes, memories)
        plain_log(axes)
        axes.set_ylabel("peak of resident memory, MB")
        named = [(each.name, each.ys[-1], look.colour) for each, look in zip(series, LOOKS, strict=False)]
        names_at_right(axes, [*named, ("the limit", memories[-1], SOFT)])
        return png(figure)

    return styled(draw)


class Mark(NamedTuple):
    """A point, and what is written beside it, so many points to the right of it and above."""

    x: float
    y: float
    text: str
    right: float
    above: float


def crossing(
    title: str,
    xlabel: str,
    ylabel: str,
    series: Sequence[Series],
    marks: Sequence[Mark],
    finish: Callable[[Axes], None],
) -> bytes:
    """Lines that cross, and what is to be known where they do."""

    def draw() -> bytes:
        figure, axes = new_figure(title)
        for each, look in zip(series, LOOKS, strict=False):
            every = max(1, len(each.xs) // 9)
            line(axes, each, look, markers=False)
            axes.plot(each.xs[::every], each.ys[::every], look.marker, color=look.colour, markerfacecolor="white")
        axes.set_xlim(min(series[0].xs), max(series[0].xs))
        finish(axes)
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        for mark in marks:
            _mark(axes, mark)
        names_at_right(axes, [(each.name, each.ys[-1], look.colour) for each, look in zip(series, LOOKS, strict=False)])
        return png(figure)

    return styled(draw)


def logarithmic(axes: Axes, least: float) -> None:
    """Both ways."""
    axes.set_ylim(least, axes.get_ylim()[1])
    plain_log(axes, "x")
    plain_log(axes, "y")


def in_percent(axes: Axes, most: float) -> None:
    """Along; and up to `most`, where lines come from far above."""
    axes.set_ylim(0, min(most, axes.get_ylim()[1]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))


def _mark(axes: Axes, mark: Mark) -> None:
    axes.plot([mark.x], [mark.y], "o", color=INK, markersize=7)
    axes.annotate(
        mark.text,
        (mark.x, mark.y),
        (mark.right, mark.above),
        textcoords="offset points",
        ha="left" if mark.right > 0 else "right",
        fontsize=9.5,
        arrowprops={"arrowstyle": "-", "color": SOFT},
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.5},
    )

"""The charts of a report. Readable without colour: every line has its own marker and dashes, and its name beside it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final, Literal, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from PIL import Image

SIZE: Final = (8.0, 4.6)
DPI: Final = 160
COLOURS: Final = 128
"""Of a chart's palette: with them it has half the bytes, and looks the same."""
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
LEAST_SHARE: Final = 0.045
"""Of a bar that has room for a number."""
PERCENT: Final = FuncFormatter(lambda value, _: f"{value:.0%}")


NOTE: Final = "\n"
"""Between a title and what is written smaller beneath it: which cells the chart is of."""


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

    @property
    def alt(self) -> str:
        """What is said in place of the picture."""
        heading, _, note = self.title.partition(NOTE)
        return f"{heading} ({note}). {self.words}".replace("\n", " ")


def png(figure: Figure) -> bytes:
    out = BytesIO()
    figure.savefig(out, format="png", dpi=DPI, metadata={"Software": None})
    compact = BytesIO()
    with Image.open(out) as picture:
        picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(compact, "PNG", optimize=True)
    return compact.getvalue()


def new_figure(title: str, size: tuple[float, float] = SIZE) -> tuple[Figure, Axes]:
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    heading, _, note = title.partition(NOTE)
    axes.set_title(heading, pad=26 if note else 12)
    axes.annotate(note, (0, 1), (0, 9), xycoords="axes fraction", textcoords="offset points", fontsize=9.5, color=SOFT)
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


class Name(NamedTuple):
    """A line's name, and its last point, which it is written beside."""

    text: str
    x: float
    y: float
    colour: str


def named(series: Sequence[Series]) -> list[Name]:
    return [Name(each.name, each.xs[-1], each.ys[-1], look.colour) for each, look in zip(series, LOOKS, strict=False)]


def names_at_right(axes: Axes, names: Sequence[Name]) -> None:
    """The name of each line beside its last point, moved apart where they would touch, with a thin line to it."""
    to_axes = axes.transData + axes.transAxes.inverted()
    places = sorted((float(to_axes.transform((name.x, name.y))[1]), name) for name in names)
    gap = GAP * max(name.text.count("\n") + 1 for name in names)
    for height, (_, name) in zip(spread([place for place, _ in places], gap), places, strict=True):
        axes.annotate(
            name.text,
            (name.x, name.y),
            (1.035, height),
            textcoords="axes fraction",
            annotation_clip=False,
            va="center",
            color=name.colour,
            fontweight="bold",
            fontsize=9.5,
            linespacing=1.0,
            arrowprops={"arrowstyle": "-", "color": name.colour, "linewidth": 0.7, "shrinkA": 1, "shrinkB": 4},
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
        names_at_right(axes, named(series))
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
        (0, -22 if y > axes.get_ylim()[1] / 6 else 40),  # not across the axis
        textcoords="offset points",
        ha=side,
        va="center",
        color=look.colour,
        fontweight="bold",
        fontsize=9.5,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.5},
    )


def stacked(title: str, xlabel: str, rows: Sequence[str], parts: Mapping[str, Sequence[float]]) -> bytes:
    """A bar of the same length for each row, its parts with their numbers in them and their sum behind it."""

    def draw() -> bytes:
        figure, axes = new_figure(title, (SIZE[0], 2.0 + 0.48 * len(rows)))
        totals = [sum(values) for values in zip(*parts.values(), strict=True)]
        lefts = [0.0] * len(rows)
        for (name, values), hatch, shade in zip(parts.items(), HATCHES, SHADES, strict=False):
            shares = [value / total for value, total in zip(values, totals, strict=True)]
            axes.barh(rows, shares, left=lefts, height=0.66, label=name, hatch=hatch, color=shade, edgecolor=SOFT)
            for row, (left, share, value) in enumerate(zip(lefts, shares, values, strict=True)):
                if share > LEAST_SHARE:
                    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.9, "pad": 1.0}
                    axes.text(left + share / 2, row, number(value), ha="center", va="center", fontsize=9, bbox=box)
            lefts = [left + share for left, share in zip(lefts, shares, strict=True)]
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.set_xlim(0, 1.1)
        axes.xaxis.set_major_locator(FixedLocator([0, 0.25, 0.5, 0.75, 1]))
        axes.xaxis.set_major_formatter(PERCENT)
        axes.set_xlabel(xlabel)
        for row, total in enumerate(totals):
            axes.annotate(number(total), (1, row), (5, 0), textcoords="offset points", va="center", fontweight="bold")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=len(parts), frameon=False)
        return png(figure)

    return styled(draw)


class Bar(NamedTuple):
    """A value and its quartiles; `name` is who has it, `group` what its bars of one hatch have in common."""

    name: str
    group: str
    value: float
    lower: float
    upper: float


def bars(title: str, xlabel: str, all_: Sequence[Bar]) -> bytes:
    """For each name a bar a group, with quartiles as whiskers and the value behind it."""

    def draw() -> bytes:
        names, groups = list(dict.fromkeys(bar.name for bar in all_)), list(dict.fromkeys(bar.group for bar in all_))
        height = 0.8 / len(groups)
        figure, axes = new_figure(title, (SIZE[0], 2.0 + 0.3 * len(names) * len(groups)))
        for number_, (group, hatch, shade) in enumerate(zip(groups, HATCHES, SHADES, strict=False)):
            same = [bar for bar in all_ if bar.group == group]
            rows = [names.index(bar.name) - 0.4 + height * (number_ + 0.5) for bar in same]
            whiskers = [[bar.value - bar.lower for bar in same], [bar.upper - bar.value for bar in same]]
            axes.barh(
                rows,
                [bar.value for bar in same],
                height=0.92 * height,
                xerr=whiskers,
                label=group,
                hatch=hatch,
                color=shade,
                edgecolor=SOFT,
                ecolor=INK,
                capsize=3,
            )
            for row, bar in zip(rows, same, strict=True):
                axes.annotate(number(bar.value), (bar.upper, row), (6, 0), textcoords="offset points", va="center")
        axes.set_yticks(range(len(names)), names, fontweight="bold")
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.set_xlim(0, 1.12 * max(bar.upper for bar in all_))
        axes.set_xlabel(xlabel)
        if len(groups) > 1:
            figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
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
        names_at_right(axes, [*named(series), Name("the limit", memories[-1], memories[-1], SOFT)])
        return png(figure)

    return styled(draw)


class Mark(NamedTuple):
    """A point, and the few characters that are written above it, on the side where no line comes from."""

    x: float
    y: float
    text: str
    side: Literal["left", "right"]


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
        names_at_right(axes, named(series))
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
    axes.xaxis.set_major_formatter(PERCENT)


def _mark(axes: Axes, mark: Mark) -> None:
    axes.plot([mark.x], [mark.y], "o", color=INK, markersize=7, zorder=4)
    axes.annotate(
        mark.text,
        (mark.x, mark.y),
        (6 if mark.side == "right" else -6, 6),
        textcoords="offset points",
        ha="left" if mark.side == "right" else "right",
        fontweight="bold",
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.0},
    )

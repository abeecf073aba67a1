"""docs/performance.md, wholly from a file of results: its tables, its charts, its prices, and what they mean.

The same file gives the same bytes, so that whoever doubts the document can write it again and compare.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import jinja2
from rich.console import Console

from bench.money.costing import BUSY_FORMULA, FORMULA, Load, cell_cost
from bench.money.prices import Prices
from bench.pages import report
from bench.pages.charts import Chart, number
from bench.pages.slices import OURS, Slice, who
from bench.pages.tables import LEGEND, columns_of, experiments_of, rows
from bench.questions import EXPERIMENTS, FLOOR, TEXTBOOK, Experiment, Scope
from bench.result import Cell, Result, read_result
from bench.rig.network import MB, MIB, PRESETS, Distance, Wait

DOCS: Final = Path("docs/performance.md")
REFUSED: Final = "[refused](#what-could-not-be-measured)"
INTROS: Final[Mapping[str, str]] = {
    "tiers": "Lambda gives CPU in proportion to memory: what the CPU does costs the same at any size, and is sooner "
    "done the larger it is; while S3 is waited for, all of the memory is paid for. Peak memory of the floor says "
    "nothing: it keeps its pictures in memory.",
    "engines": "`auto` takes the engine by format and size. All of these pictures are JPEGs; for other formats see "
    "[why.md](why.md).",
    "batch": "A batch lets the waiting for S3 of one picture overlap with the decoding of another. One record at a "
    "time has nothing to overlap, however large the batch is.",
    "latency": "What is waited for is paid for: the farther S3 is, the more it is worth that several pictures are on "
    "their way at once.",
    "coldstart": "Each repetition is a new environment and one picture; billed is the init and the invocation. Images "
    "a second are those of an environment that is used once.",
    "fargate": "`thumbnailer worker` on a full queue, beside the function of 1 vCPU; billed is the time that the task "
    "ran.",
    "peers": "Others that make thumbnails, in the same place, with the same pictures and the same S3.",
    "formats": "One picture an invocation, so that no batch hides what it costs. Each format has a set of its own: "
    "compare the rows of one format.",
}
SETTINGS: Final[Mapping[str, str]] = {
    "cpu_period_ms": "CPU is handed out every so many ms",
    "latency": "distance to S3, where no table says another",
    "quick": "quick: fewer cells, smaller pictures",
    "repetitions": "repetitions of each cell",
    "seconds": "seconds that a repetition lasts at least",
}
CHARTS: Final[Mapping[str, Sequence[str]]] = {
    "tiers": ("tuning", "stages", "memory", "floor"),
    "engines": ("engines",),
    "peers": ("peers",),
}
"""Below which question each chart stands; the others have places of their own."""


def write(results: Path, docs: Path = DOCS, images: Path | None = None) -> list[Path]:
    """The document and its charts; in `images`, or in a folder that is called as the document is. What was written.

    Raises ResultError.
    """
    result = read_result(results)
    folder = images or docs.with_suffix("")
    drawn = list(report.all_charts(result, report.prices_of(result)))
    text = page(result, drawn, _link(results, docs), _link(folder, docs))
    folder.mkdir(parents=True, exist_ok=True)
    for name in set(report.CHARTS) - {chart.name for chart in drawn}:
        (folder / f"{name}.png").unlink(missing_ok=True)  # of an earlier file of results
    written = [folder / f"{chart.name}.png" for chart in drawn]
    for path, chart in zip(written, drawn, strict=True):
        path.write_bytes(chart.png)
    docs.write_text(text, encoding="utf-8")
    return [docs, *written]


def run(results: Path, docs: Path = DOCS) -> None:
    """Writes, and says what."""
    written = write(results, docs)
    size = sum(path.stat().st_size for path in written[1:])
    Console().print(f"{docs}, {len(written) - 1} charts of {size / 1000:.0f} kB", soft_wrap=True)


def _link(target: Path, docs: Path) -> str:
    """As the document has it."""
    return Path(os.path.relpath(target, docs.parent)).as_posix()


def page(result: Result, drawn: Sequence[Chart], source: str, folder: str) -> str:
    """The document's text. `source` and `folder` are links to the file of results and to the charts."""
    prices = report.prices_of(result)
    by_name = {chart.name: chart for chart in drawn}

    def picture(name: str) -> str:
        return f"![{by_name[name].alt}]({folder}/{name}.png)\n" if name in by_name else ""

    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(  # noqa: S701 (Markdown)
        loader=loader, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    text = environment.get_template("performance.md.j2").render(
        result=result,
        prices=prices,
        source=source,
        source_name=source.removeprefix("../"),
        findings=list(findings(result, prices)),
        picture=picture,
        settings={SETTINGS.get(name, name): value for name, value in sorted(result.settings.items())},
        is_spot_derived=report.is_spot_derived(result),
        period=result.settings.get("cpu_period_ms"),
        quick=scope_of(result).quick,
        architecture="arm64" if any(cell.key.architecture == "arm64" for cell in result.cells) else "x86",
        distances=distances_of(result),
        legend=LEGEND,
        experiments=list(_experiments(result)),
        taken=list(report.taken(result, prices)),
        evens=_evens_table(result, prices),
        headroom=Load().headroom,
        formula=FORMULA,
        busy_formula=BUSY_FORMULA,
        refused=report.refused_of(result),
        price_table=_price_table(prices),
    )
    return tidy(text)


def tidy(text: str) -> str:
    """No space at a line's end, and never two empty lines."""
    lines = [line.rstrip() for line in text.splitlines()]
    kept = [line for before, line in zip(["", *lines], lines, strict=False) if line or before]
    return "\n".join(kept).strip() + "\n"


# --- tables -------------------------------------------------------------------------------------------------------


def markdown_table(header: Sequence[str], body: Iterable[Sequence[str]], left: int = 1) -> str:
    """So many columns to the left, the others to the right."""
    rule = [*["---"] * left, *["---:"] * (len(header) - left)]
    return "\n".join(f"| {' | '.join(_escaped(text) for text in row)} |" for row in (header, rule, *body)) + "\n"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def scope_of(result: Result) -> Scope:
    """The scope that the file's cells are of: if not a question's own memory sizes, those that it has, in its order."""
    scope = Scope(result.settings.get("quick") == "true", result.settings.get("latency", "near"))
    known = set(EXPERIMENTS["all"].keys(scope))
    if all(cell.key in known for cell in result.cells):
        return scope
    memories = dict.fromkeys(cell.key.memory_mb for cell in result.cells if cell.key.platform == "lambda")
    return Scope(scope.quick, scope.latency, tuple(memories))


def cells_of(result: Result, experiment: Experiment) -> list[Cell]:
    found = {cell.key: cell for cell in result.cells}
    return [found[key] for key in experiment.keys(scope_of(result)) if key in found]


def _experiments(result: Result) -> Iterator[dict[str, object]]:
    """Those that the file has cells of."""
    for experiment in experiments_of("all"):
        if cells := cells_of(result, experiment):
            yield {
                "question": experiment.question,
                "intro": INTROS.get(experiment.name, ""),
                "charts": CHARTS.get(experiment.name, ()),
                "table": experiment_table(result, experiment, cells),
            }


def experiment_table(result: Result, experiment: Experiment, cells: Sequence[Cell]) -> str:
    """As the terminal has it; a refused cell points to its reason."""
    header = [column.replace("-\n", "").replace("\n", " ") for column in columns_of(cells)]
    body = [
        [name, handler, REFUSED, *[""] * (len(header) - 3)] if numbers == ["refused"] else [name, handler, *numbers]
        for name, handler, *numbers in rows(result, experiment, cells)
    ]
    return markdown_table(header, body, left=2)


def _evens_table(result: Result, prices: Prices) -> str:
    """Empty where there is nothing to compare."""
    header = ["task", "pictures come in", "tasks that always run", "first", "for good", "with a network of its own"]
    body = list(report.evens_of(result, prices))
    return markdown_table(header, body) if body else ""


def _price_table(prices: Prices) -> str:
    header = ["price", "for a", "of", "source", "USD"]
    return markdown_table(
        header,
        (
            [f"`{name}`", price.unit, price.date.isoformat(), price.source, f"{price.usd:.4g}"]
            for name, price in sorted(prices.items.items())
        ),
        left=4,
    )


# --- words --------------------------------------------------------------------------------------------------------


def distances_of(result: Result) -> dict[str, str]:
    """How far S3 was, for each of the distances that were measured, in words."""
    names = dict.fromkeys(cell.key.latency for cell in result.cells)
    return {name: _distance(PRESETS[name]) for name in names if name in PRESETS}


def _distance(distance: Distance) -> str:
    if distance == Distance():
        return "nothing is added to what the server itself takes."
    words = f"first byte of a GET after {_wait(distance.get)}, of a PUT's answer after {_wait(distance.put)}"
    if distance.connection_rate and distance.total_rate:
        words += (
            f"; {distance.connection_rate / MB:.0f} MB/s a connection, {distance.total_rate / MIB:.0f} MiB/s in all"
        )
    return f"{words}."


def _wait(wait: Wait) -> str:
    return f"{wait.median_ms:g} ms" + (f" (median; p99 {wait.p99_ms:g} ms)" if wait.p99_ms else "")


def findings(result: Result, prices: Prices) -> Iterator[str]:
    """What a reader takes away, each in a sentence; nothing of what was not measured."""
    lines = report.lines_of(result)
    mine = lines.get(OURS)
    if mine:
        yield _memory_finding(mine, prices)
        for name, cells in lines.items():
            if not name.startswith(OURS) and name != FLOOR:
                yield from _peer_finding(name, mine, cells, prices)
        yield from _floor_finding(mine, lines.get(FLOOR, []))
    yield from _cold_findings(result)
    yield from _batch_finding(result)
    for rival in report.rivals(result, prices):
        good = rival.even.for_good
        if good is None:
            yield f"{rival.title}: a task is never cheaper than Lambda for good."
        else:
            yield (
                f"{rival.title}: cheaper than Lambda for good from {number(good)} pictures a month that come evenly "
                f"({_never_or(rival.own_network.for_good)} where a network is made for it), or when a task that always "
                f"runs is busy for more than {rival.even.busy_share:.0%} of its time."
            )


def _never_or(pictures: float | None) -> str:
    return "never" if pictures is None else f"from {number(pictures)}"


def _memory_finding(mine: Sequence[Cell], prices: Prices) -> str:
    cheapest = min(mine, key=lambda cell: cell_cost(cell, prices).compute)
    alike = [cell for cell in mine if cell is cheapest or not _is_apart(cell, cheapest)]
    fastest = min(mine, key=lambda cell: _billed(cell) or 0.0)
    return (
        f"Of the memory sizes measured, {_names(alike)} least "
        f"({cell_cost(cheapest, prices).compute:.2f} USD of compute a million images, "
        f"{number(_billed(cheapest) or 0)} billed ms each) and {_memory(fastest)} is fastest "
        f"({cell_cost(fastest, prices).compute:.2f} USD, {number(_billed(fastest) or 0)} ms): "
        f"{Slice.of(mine[0])}."
    )


def _is_apart(one: Cell, other: Cell) -> bool:
    """Whether the quartiles of what each takes of Lambda do not overlap."""
    mine, theirs = (cell.summary()["mb_seconds_per_image"] for cell in (one, other))
    return mine.lower > theirs.upper or theirs.lower > mine.upper


def _names(cells: Sequence[Cell]) -> str:
    names = [_memory(cell) for cell in cells]
    return f"{' and '.join(names)} cost" if len(names) > 1 else f"{names[0]} costs"


def _peer_finding(name: str, mine: Sequence[Cell], theirs: Sequence[Cell], prices: Prices) -> Iterator[str]:
    longer = ratios(theirs, mine, _billed)
    dearer = ratios(theirs, mine, lambda cell: cell_cost(cell, prices).total)
    if longer:
        yield (
            f"`{name}` is billed {_range(longer)} times as long for an image as ours, and costs {_range(dearer)} times "
            "as much with all requests."
        )


def _floor_finding(mine: Sequence[Cell], floor: Sequence[Cell]) -> Iterator[str]:
    found = ratios(mine, floor, lambda cell: cell.median("cpu_ms_per_image"))
    if found:
        yield (
            f"An image takes {_range(found)} times the CPU of a bare scaled decode: getting, resizing, encoding and "
            "putting it are the rest."
        )


def _batch_finding(result: Result) -> Iterator[str]:
    cells = [cell for cell in cells_of(result, EXPERIMENTS["batch"]) if _is_usual(cell)]
    if len(cells) < 2:
        return
    one, most = (choose(cells, key=lambda cell: cell.key.batch_size) for choose in (min, max))
    (ratio,) = ratios([one], [most], _billed) or [0.0]
    if ratio:
        yield (
            f"At {_memory(one)} an image of a batch of {one.key.batch_size} is billed {ratio:.2g} times as long as one "
            f"of a batch of {most.key.batch_size}."
        )


def _cold_findings(result: Result) -> Iterator[str]:
    cells = [cell for cell in cells_of(result, EXPERIMENTS["coldstart"]) if cell.repetitions]
    ours_ = {cell.key.memory_mb: cell.latency_ms(0.5) for cell in cells if cell.key.handler == OURS}
    theirs = {cell.key.memory_mb: cell.latency_ms(0.5) for cell in cells if cell.key.handler == TEXTBOOK}
    said = [
        f"{ms:.0f} ms at {memory:,} MB (the textbook's {other:.0f})"
        for memory, ms in ours_.items()
        if ms and (other := theirs.get(memory))
    ]
    if said:
        yield f"A new environment gives its first answer after {', '.join(said)}; Lambda's own part is not in it."


def _is_usual(cell: Cell) -> bool:
    return bool(cell.repetitions) and who(cell) == OURS and not cell.key.in_flight


def ratios(above: Sequence[Cell], below: Sequence[Cell], value: Callable[[Cell], float | None]) -> list[float]:
    """Of values at the same memory size."""
    values = {cell.key.memory_mb: value(cell) for cell in below}
    pairs = ((value(cell), values.get(cell.key.memory_mb)) for cell in above)
    return [one / other for one, other in pairs if one and other]


def _billed(cell: Cell) -> float | None:
    return cell.median("billed_ms_per_image")


def _range(values: Sequence[float]) -> str:
    low, high = f"{min(values):.2f}", f"{max(values):.2f}"
    return low if low == high else f"{low} to {high}"


def _memory(cell: Cell) -> str:
    return f"{cell.key.memory_mb:,} MB"

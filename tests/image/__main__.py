"""`python -m tests.image [ZIP ...]`: sizes, and time and memory of one picture in a Lambda of 512 MB.

The image and each named zip (of `make zip`) alternate. The times are this machine's, with everything in its page cache;
Lambda gives a cold start more CPU than the limit here.
"""

from __future__ import annotations

import logging
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from PIL import Image
from rich.console import Console
from rich.table import Table

from bench.rig.emulator import Function
from tests.image.container import IMAGE, ROOT, engine, function_in_container
from tests.image.managed import Managed, prepare
from tests.support.cloud import Cloud, s3_event
from tests.support.emulator import Emulator

STARTS: Final = 7
CALLS: Final = 10
SAMPLE: Final = ROOT / "handler" / "demo" / "samples" / "rocket.jpg"
LARGE: Final = (4243, 2831)
STORED: Final = {"records": 1, "outcomes": {"stored": 1}}


class Took(NamedTuple):
    """Milliseconds: the runtime's start, the call that waited for it, later calls with the sample and with 12 MP; and
    bytes."""

    init: float
    cold: float
    warm: float
    large: float
    resident: float


def one_start(cloud: Cloud, managed: Managed | None, pictures: Sequence[bytes]) -> Took:
    small, large = (s3_event(cloud.put(f"{number}.jpg", data)) for number, data in enumerate(pictures))
    env = cloud.env | (managed.env if managed else {})
    options, command = (managed.options, managed.command) if managed else ((), ())
    with (
        tempfile.TemporaryDirectory() as folder,
        function_in_container(Function(512, 30, env), Path(folder), options, command) as running,
    ):
        cold, *warm = (_milliseconds(running.emulator, small) for _ in range(1 + CALLS))
        later = [_milliseconds(running.emulator, large) for _ in range(CALLS)]
        started = re.search(r"INIT REPORT\(durationMs: ([\d.]+)", running.emulator.log)
        assert started, running.emulator.log
        return Took(float(started[1]), cold, median(warm), median(later), running.most_resident())


def _milliseconds(emulator: Emulator, event: object) -> float:
    try:
        answer = emulator.invoke(event)
    except OSError as error:
        raise SystemExit(f"{error}: {emulator.log}") from error
    if answer.value != STORED:
        raise SystemExit(f"the function does not work: {answer.value}{emulator.log}")
    return answer.seconds * 1000


def pictures() -> list[bytes]:
    """The sample, and one of 12 megapixels."""
    out = BytesIO()
    with Image.open(SAMPLE) as image:
        image.resize(LARGE).save(out, "jpeg", quality=90)
    return [SAMPLE.read_bytes(), out.getvalue()]


def measure(subjects: Mapping[str, Managed | None]) -> dict[str, Took]:
    """Medians; the subjects alternate."""
    rows: dict[str, list[Took]] = {name: [] for name in subjects}
    with Cloud() as cloud:
        cloud.reset()
        data = pictures()
        for _ in range(STARTS):
            for name, managed in subjects.items():
                rows[name].append(one_start(cloud, managed, data))
    return {name: Took(*(median(values) for values in zip(*took, strict=True))) for name, took in rows.items()}


def main(zips: Sequence[Path]) -> None:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line for each request otherwise
    with tempfile.TemporaryDirectory() as scratch:
        Path(scratch).chmod(0o755)
        subjects: dict[str, Managed | None] = {IMAGE: None}
        for number, path in enumerate(zips):
            folder = Path(scratch) / str(number)
            folder.mkdir()
            subjects[path.name] = prepare(path, folder)
        sizes = {IMAGE: int(engine("image", "inspect", "--format={{.Size}}", IMAGE))}
        sizes |= {path.name: path.stat().st_size for path in zips}
        show(sizes, measure(subjects))


def show(sizes: Mapping[str, int], rows: Mapping[str, Took]) -> None:
    table = Table("", "MB", "cold", "its init", "warm", "12 MP", "memory", show_edge=False)
    for name, took in rows.items():
        times = [f"{ms:.0f}" for ms in (took.cold, took.init, took.warm, took.large)]
        table.add_row(
            name.removeprefix("thumbnailer-"), f"{sizes[name] / 2**20:.0f}", *times, f"{took.resident / 2**20:.0f}"
        )
    console = Console()
    console.print(table)
    what = f"{SAMPLE.name}, and of 12 megapixels, to 128 px at 512 MB and 512/1769 of a core"
    console.print(f"{what}; ms, and MB resident: medians of {STARTS} starts")


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])

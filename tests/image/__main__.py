"""`python -m tests.image`: the image's size, and what one picture takes in it under the limits of a Lambda of 512 MB.

For information: milliseconds of this machine, and Lambda gives a cold start more CPU than the limit here.
"""

from __future__ import annotations

import logging
import re
import tempfile
from pathlib import Path
from statistics import median

from bench.emulator import Function
from tests.cloud import SOURCE, Cloud, s3_event
from tests.image.container import IMAGE, MEMORY_PEAK, ROOT, engine, function_in_container

STARTS, CALLS = 5, 10
SAMPLE = ROOT / "thumbnailer" / "demo" / "samples" / "rocket.jpg"


def one_start(cloud: Cloud) -> tuple[float, float, float, int]:
    """Milliseconds of the runtime's start, of the call that waits for it, of later calls; bytes in use at most."""
    event = s3_event(cloud.put(SAMPLE.name, SAMPLE.read_bytes()))
    with (
        tempfile.TemporaryDirectory() as folder,
        function_in_container(Function(512, 30, cloud.env), Path(folder)) as running,
    ):
        answers = [running.emulator.invoke(event) for _ in range(1 + CALLS)]
        wrong = [answer.value for answer in answers if answer.value != {"records": 1, "outcomes": {"stored": 1}}]
        started = re.search(r"INIT REPORT\(durationMs: ([\d.]+)", running.emulator.log)
        if wrong or not started:
            raise SystemExit(f"the function does not work: {wrong}{running.emulator.log}")
        cold, *warm = (answer.seconds * 1000 for answer in answers)
        return float(started[1]), cold, median(warm), running.number(*MEMORY_PEAK)


def main() -> None:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line for each request otherwise
    with Cloud() as cloud:
        cloud.reset()
        inits, colds, warms, peaks = zip(*(one_start(cloud) for _ in range(STARTS)), strict=True)
    size = int(engine("image", "inspect", "--format={{.Size}}", IMAGE))
    print(f"image         {size / 1e6:.0f} MB")
    print(
        f"one picture   {SAMPLE.name} from {SOURCE}, 512 MB of memory, 512/1769 of a core; medians of {STARTS} starts"
    )
    print(f"cold          {median(colds):.0f} ms, of which {median(inits):.0f} ms are the start of the runtime")
    print(f"warm          {median(warms):.0f} ms")
    print(f"memory        {median(peaks) / 2**20:.0f} MB charged to the container at most")


if __name__ == "__main__":
    main()

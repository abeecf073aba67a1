"""python -m tests.fuzz.coverage: the probe alone, with inputs chosen by the code that they reach (atheris, libFuzzer).

libFuzzer's own flags follow, e.g. -runs=100000 or -max_total_time=60; `make fuzz-probe` sets them.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["thumbnailer.formats", "thumbnailer.formats.exif"]):
    from tests.fuzz.heads import HEAD, probed
    from tests.fuzz.sources import sources


def one_input(data: bytes) -> None:
    """Probes the bytes as a head and as a whole object."""
    for total in (None, len(data), 1 << 32):
        probed(data, total)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        for source in sources():
            name = f"{source.kind}-{source.name.replace('/', '-')}"
            (Path(folder) / name).write_bytes(source.data[:HEAD])
        atheris.Setup([*sys.argv, f"-max_len={HEAD}", "-timeout=10", folder], one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()

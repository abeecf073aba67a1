"""Reproducible zips, and Lambda's limits on their size."""

import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from deploy.packing import PackingError

UNZIPPED_LIMIT: Final = 250 * 1024 * 1024
"""Function and layers together (docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html): 262,144,000 bytes."""
DIRECT_LIMIT: Final = 50 * 1024 * 1024
"""The largest zip that Lambda takes directly; a larger one goes through S3. Same source."""
LAYERS: Final = 5

Files = Mapping[str, Path]
"""The files of an archive by their names in it."""


def files_below(folder: Path, prefix: str = "") -> dict[str, Path]:
    return {prefix + p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}


def write_zip(out: Path, files: Files) -> int:
    """Writes a sorted zip without times and owners, readable by all (Lambda's user is no owner); returns its bytes."""
    with ZipFile(out, "w") as archive:
        for name in sorted(files):
            info = ZipInfo(name)
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(info, files[name].read_bytes(), ZIP_DEFLATED)
    return out.stat().st_size


def by_package(files: Files) -> dict[str, int]:
    """Bytes by top-level name, the largest first."""
    sizes: dict[str, int] = {}
    for name, path in files.items():
        package = name.partition("/")[0]
        sizes[package] = sizes.get(package, 0) + path.stat().st_size
    return dict(sorted(sizes.items(), key=lambda item: (-item[1], item[0])))


def check_size(files: Files) -> int:
    """The unzipped bytes. Raises PackingError that names the largest packages."""
    sizes = by_package(files)
    total = sum(sizes.values())
    if total > UNZIPPED_LIMIT:
        largest = ", ".join(f"{name} {megabytes(size)}" for name, size in list(sizes.items())[:8])
        raise PackingError(
            f"{megabytes(total)} MB unzipped, and Lambda takes {megabytes(UNZIPPED_LIMIT)} MB, function and up to "
            f"{LAYERS} layers together. The largest, in MB: {largest}. Leave out an extra, or deploy the image."
        )
    return total


def megabytes(size: int) -> str:
    """In Lambda's MB, which are MiB."""
    return f"{size / (1024 * 1024):.1f}"

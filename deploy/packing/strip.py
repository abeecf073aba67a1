"""Deletes files of the wheels by named rules, each with its reason, and then native libraries that nothing needs.

The rules follow from the files that are opened when every sample goes through the handler, with both engines and both
S3 clients. `tests/deploy/test_zip.py` shows that everything still works, and how little remains that is not opened.
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile

from deploy.packing.target import System


class Rule(NamedTuple):
    """Deletes paths that match one of `paths` (`*` matches `/` too) and none of `but`."""

    name: str
    why: str
    paths: tuple[str, ...]
    but: tuple[str, ...] = ()

    def matches(self, path: str) -> bool:
        return _any(path, self.paths) and not _any(path, self.but)


RULES: Final = (
    Rule("caches", "they are of the Python that installed, not of the runtime", ("*__pycache__/*",)),
    Rule(
        "tests",
        "nobody runs tests there",
        ("*/tests/*", "aiohttp/test_utils.py", "aiohttp/pytest_plugin.py", "uvloop/_testbase.py"),
    ),
    Rule("sources and types", "for compilers and type checkers", ("*.pyi", "*.pyx", "*.px[di]", "*.[ch]")),
    Rule("commands", "nobody has a shell there", ("bin/*",)),
    Rule(
        "records",
        "wrong after stripping; METADATA (versions for doctor), licences and lists of bundled libraries stay",
        ("*.dist-info/*", ".lock"),
        ("*/METADATA", "*/licenses/*", "*/LICEN[CS]E*", "*/COPYING*", "*/NOTICE*", "*/sboms/*"),
    ),
    Rule("AWS's examples", "documentation", ("botocore/data/*/examples-1.json", "boto3/examples/*")),
    Rule(
        "other AWS services",
        "the handler uses S3, steps of a backfill use the queue and its function, and credentials may need the others",
        ("botocore/data/*/*",),
        tuple(
            f"botocore/data/{service}/*"
            for service in ("s3", "sqs", "lambda", "stepfunctions", "sts", "sso", "sso-oidc", "signin")
        ),
    ),
    Rule("AWS's resources", "the handler uses clients only", ("boto3/data/*",)),
    Rule(
        "cffi's compiler",
        "the compiled binding to libvips needs only _cffi_backend",
        ("cffi/*", "pycparser/*", "pycparser-*"),
    ),
    Rule("Prometheus", "Lambda's metrics are lines of the log", ("prometheus_client/*", "prometheus_client-*")),
    Rule("fonts and Tk", "thumbnails have no text and no window", ("PIL/_imagingft.*", "PIL/_imagingtk.*")),
    Rule("aiohttp's server", "the handler uses its client only", ("aiohttp/web*.py", "aiohttp/worker.py")),
    Rule("time zones", "botocore uses UTC", ("dateutil/zoneinfo/*.tar.gz",)),
)
UNNEEDED: Final = "libraries"
"""The name for native libraries that no shared object needs any more."""


def strip(tree: Path, system: System) -> dict[str, int]:
    """Deletes files by the rules and for `system`; returns the deleted bytes by rule."""
    rules = (*RULES, Rule("not loadable", f"in {system.name}", system.without))
    deleted = dict.fromkeys((*(rule.name for rule in rules), UNNEEDED), 0)
    for path in [path for path in tree.rglob("*") if path.is_file()]:
        if rule := first_match(path.relative_to(tree).as_posix(), rules):
            deleted[rule.name] += _delete(path)
    deleted[UNNEEDED] = sum(_delete(path) for path in find_unneeded(shared_objects(tree)))
    return deleted


def first_match(path: str, rules: Sequence[Rule] = RULES) -> Rule | None:
    """The rule that deletes `path`, which is relative to the installed folder."""
    return next((rule for rule in rules if rule.matches(path)), None)


def shared_objects(tree: Path) -> list[Path]:
    """Every ELF file below `tree`."""
    return [path for path in sorted(tree.rglob("*.so*")) if path.read_bytes().startswith(b"\x7fELF")]


def needed_libraries(path: Path) -> list[str]:
    """The names of the libraries that a shared object needs."""
    with path.open("rb") as file:
        dynamic = [each for each in ELFFile(file).iter_sections() if isinstance(each, DynamicSection)]
        return [str(cast("Any", tag).needed) for each in dynamic for tag in each.iter_tags("DT_NEEDED")]


def find_unneeded(objects: Sequence[Path]) -> set[Path]:
    """The libraries in wheels (`name.libs/`) that no extension module needs, directly or through other libraries.

    The search starts at the modules, because libraries can need each other in a ring.
    """
    bundled = {path for path in objects if path.parent.suffix == ".libs"}
    asking = set(objects) - bundled
    while asking:
        names = {name for path in asking for name in needed_libraries(path)}
        asking = {path for path in bundled if path.name in names}
        bundled -= asking
    return bundled


def _delete(path: Path) -> int:
    size = path.stat().st_size
    path.unlink()
    return size


def _any(path: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(path, pattern) for pattern in patterns)

"""What of the wheels is left out: named rules, each with its reason, and native libraries that nothing needs then.

Measured by what is opened when every sample goes through the handler, with both engines and both S3 clients;
`tests/deploy/test_zip.py` shows that all of it still works, and how little is left that was not opened.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final, NamedTuple

from deploy.packing.elf import shared_objects, unneeded
from deploy.packing.target import System


class Rule(NamedTuple):
    """Paths that match one of `paths` (`*` crosses `/`) and none of `but` are left out."""

    name: str
    why: str
    paths: tuple[str, ...]
    but: tuple[str, ...] = ()

    def matches(self, path: str) -> bool:
        return _any(path, self.paths) and not _any(path, self.but)


RULES: Final = (
    Rule("caches", "of the Python that installed, not of the one that runs", ("*__pycache__/*",)),
    Rule(
        "tests",
        "no test is run there",
        ("*/tests/*", "aiohttp/test_utils.py", "aiohttp/pytest_plugin.py", "uvloop/_testbase.py"),
    ),
    Rule("sources and types", "for compilers and type checkers", ("*.pyi", "*.pyx", "*.px[di]", "*.[ch]")),
    Rule("commands", "nobody has a shell there", ("bin/*",)),
    Rule(
        "records",
        "untrue of what is left; METADATA (versions for doctor), licences and lists of bundled libraries stay",
        ("*.dist-info/*", ".lock"),
        ("*/METADATA", "*/licenses/*", "*/LICEN[CS]E*", "*/COPYING*", "*/NOTICE*", "*/sboms/*"),
    ),
    Rule("AWS's examples", "documentation", ("botocore/data/*/examples-1.json", "boto3/examples/*")),
    Rule(
        "other AWS services",
        "the handler speaks to S3; credentials may ask for the others that stay",
        ("botocore/data/*/*",),
        tuple(f"botocore/data/{service}/*" for service in ("s3", "sts", "sso", "sso-oidc", "signin")),
    ),
    Rule("AWS's resources", "only clients are used", ("boto3/data/*",)),
    Rule(
        "cffi's compiler",
        "the binding to libvips is compiled, and needs _cffi_backend alone",
        ("cffi/*", "pycparser/*", "pycparser-*"),
    ),
    Rule("Prometheus", "Lambda's metrics are lines of the log", ("prometheus_client/*", "prometheus_client-*")),
    Rule("fonts and Tk", "thumbnails have no text and no window", ("PIL/_imagingft.*", "PIL/_imagingtk.*")),
    Rule("aiohttp's server", "only its client is used", ("aiohttp/web*.py", "aiohttp/worker.py")),
    Rule("time zones", "botocore reckons in UTC", ("dateutil/zoneinfo/*.tar.gz",)),
)
UNNEEDED: Final = "libraries"
"""The name that native libraries go under which no shared object asks for any more."""


def rules_for(system: System) -> tuple[Rule, ...]:
    """All rules, and what does not load in `system`."""
    return (*RULES, Rule("what does not load", f"in {system.name}", system.without)) if system.without else RULES


def strip(tree: Path, system: System) -> dict[str, int]:
    """Deletes what is left out; how many bytes went by which rule."""
    rules = rules_for(system)
    gone = dict.fromkeys((*(rule.name for rule in rules), UNNEEDED), 0)
    for path in [path for path in tree.rglob("*") if path.is_file()]:
        if rule := first_match(path.relative_to(tree).as_posix(), rules):
            gone[rule.name] += path.stat().st_size
            path.unlink()
    for path in unneeded(shared_objects(tree)):
        gone[UNNEEDED] += path.stat().st_size
        path.unlink()
    return gone


def first_match(path: str, rules: Sequence[Rule] = RULES) -> Rule | None:
    """The rule that leaves out `path`, which is relative to the folder that was installed to."""
    return next((rule for rule in rules if rule.matches(path)), None)


def _any(path: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(path, pattern) for pattern in patterns)

"""Lambda's managed Python runtimes, as far as wheels depend on them."""

from dataclasses import dataclass
from typing import Final, NamedTuple

from deploy.packing import PackingError


@dataclass(frozen=True, slots=True, eq=False)
class System:
    """An Amazon Linux. tests/deploy/loading.py checks that the wheels for it load there."""

    name: str
    manylinux: str
    """the newest wheels to ask for"""
    instead: tuple[str, ...]
    """packages whose newest version does not load there; older.txt has the last one with a manylinux2014 wheel"""
    without: tuple[str, ...]
    """paths of packages of which no version loads there"""


AMAZON_LINUX_2023: Final = System("Amazon Linux 2023", "manylinux_2_34", (), ())
AMAZON_LINUX_2: Final = System(
    "Amazon Linux 2",
    "manylinux_2_28",
    ("pillow",),
    # pyvips-binary 8.18.0 is the last for this glibc, and lacks functions that pyvips 3.2 needs
    ("pyvips/*", "pyvips-*", "_libvips.*", "pyvips_binary*", "_cffi_backend.*", "cffi-*"),
)
RUNTIMES: Final = {"3.11": AMAZON_LINUX_2, **dict.fromkeys(("3.12", "3.13", "3.14"), AMAZON_LINUX_2023)}
MACHINES: Final = {"x86_64": "x86_64", "arm64": "aarch64"}
"""The machine's name by Lambda's architecture."""


class Target(NamedTuple):
    """One runtime on one architecture, e.g. python3.13 on arm64."""

    python: str
    architecture: str
    system: System

    @property
    def machine(self) -> str:
        return MACHINES[self.architecture]

    @property
    def name(self) -> str:
        return f"thumbnailer-python{self.python}-{self.architecture}"


def target_for(python: str, architecture: str) -> Target:
    """Raises PackingError that lists the choices."""
    if python not in RUNTIMES or architecture not in MACHINES:
        choices = f"{', '.join(RUNTIMES)} on {', '.join(MACHINES)}"
        raise PackingError(f"Lambda has no runtime python{python} on {architecture}; it has {choices}")
    return Target(python, architecture, RUNTIMES[python])

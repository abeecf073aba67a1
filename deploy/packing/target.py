"""Lambda's managed Python runtimes, as far as wheels depend on them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from deploy.packing import PackingError

Version = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class System:
    """An Amazon Linux. `newest` is its newest symbol version of each family."""

    name: str
    newest: Mapping[str, Version]
    manylinux: str
    """the newest wheels to ask for; elf.py reads their contents afterwards"""
    instead: tuple[str, ...] = ()
    """packages whose newest version does not load there; older.txt has the last one with a manylinux2014 wheel"""
    without: tuple[str, ...] = ()
    """paths of packages of which no version loads there"""


# glibc and gcc: docs.aws.amazon.com/linux/al2023/ug/glibc-gcc-and-binutils.html; versions in a gcc's libstdc++ and
# libgcc_s: gcc.gnu.org/onlinedocs/libstdc++/manual/abi.html. AL2023 got a newer libstdc++ in 2025, but Lambda did not
# (github.com/amazonlinux/container-images/issues/132), so these are gcc 11's.
AMAZON_LINUX_2023: Final = System(
    "Amazon Linux 2023",
    {"GLIBC": (2, 34), "GLIBCXX": (3, 4, 29), "CXXABI": (1, 3, 13), "GCC": (9, 0, 0), "ZLIB": (1, 2, 11)},
    manylinux="manylinux_2_34",
)
AMAZON_LINUX_2: Final = System(
    "Amazon Linux 2",
    {"GLIBC": (2, 26), "GLIBCXX": (3, 4, 24), "CXXABI": (1, 3, 11), "GCC": (7, 0, 0), "ZLIB": (1, 2, 7)},
    manylinux="manylinux_2_28",
    instead=("pillow",),
    # pyvips-binary 8.18.0 is the last for this glibc, and lacks functions that pyvips 3.2 needs
    without=("pyvips/*", "pyvips-*", "_libvips.*", "pyvips_binary*", "_cffi_backend.*", "cffi-*"),
)
RUNTIMES: Final = {
    "3.11": AMAZON_LINUX_2,
    "3.12": AMAZON_LINUX_2023,
    "3.13": AMAZON_LINUX_2023,
    "3.14": AMAZON_LINUX_2023,
}
MACHINES: Final = {"x86_64": "x86_64", "arm64": "aarch64"}
"""The machine's name by Lambda's architecture."""

LIBRARIES: Final = {
    "libc.so.6", "libm.so.6", "libmvec.so.1", "libpthread.so.0", "libdl.so.2", "librt.so.1", "libresolv.so.2",
    "libutil.so.1", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1", "libgcc_s.so.1", "libstdc++.so.6", "libz.so.1",
}  # fmt: skip
"""The libraries that the runtime has.

glibc's, libgcc's and libstdc++'s are the base of manylinux (PEP 600) and in both systems' container images, from which
Lambda's are built. The runtime's own Python reads zips with zlib.
"""


@dataclass(frozen=True, slots=True)
class Target:
    """One runtime on one architecture, e.g. python3.13 on arm64."""

    python: str
    architecture: str
    system: System

    @property
    def machine(self) -> str:
        return MACHINES[self.architecture]

    @property
    def suffix(self) -> str:
        """The end of the names of this Python's extension modules."""
        return f".cpython-{self.python.replace('.', '')}-{self.machine}-linux-gnu.so"

    @property
    def name(self) -> str:
        return f"thumbnailer-python{self.python}-{self.architecture}"


def target_for(python: str, architecture: str) -> Target:
    """Raises PackingError that lists the choices."""
    if python not in RUNTIMES:
        raise PackingError(f"Lambda has no runtime python{python} that this builds for: {', '.join(RUNTIMES)}")
    if architecture not in MACHINES:
        raise PackingError(f"Lambda has no architecture {architecture}: {', '.join(MACHINES)}")
    return Target(python, architecture, RUNTIMES[python])

"""Lambda's managed Python runtimes, as far as wheels ask for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from deploy.packing.errors import UnknownTarget

Version = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class System:
    """An Amazon Linux. `newest` is the newest symbol version it has of each family."""

    name: str
    newest: Mapping[str, Version]
    manylinux: str
    """the newest wheels that are asked for; what is in them is read afterwards"""
    instead: Mapping[str, str] = field(default_factory=dict)
    """of packages whose newest do not load there, the last version with a manylinux2014 wheel, which is taken"""
    without: tuple[str, ...] = ()
    """paths of packages that no version of loads there"""


# glibc and gcc: docs.aws.amazon.com/linux/al2023/ug/glibc-gcc-and-binutils.html; what a gcc's libstdc++ and libgcc_s
# have: gcc.gnu.org/onlinedocs/libstdc++/manual/abi.html. AL2023 got a newer libstdc++ in 2025, but Lambda was behind it
# (github.com/amazonlinux/container-images/issues/132), so only gcc 11's is counted on.
AMAZON_LINUX_2023: Final = System(
    "Amazon Linux 2023",
    {"GLIBC": (2, 34), "GLIBCXX": (3, 4, 29), "CXXABI": (1, 3, 13), "GCC": (9, 0, 0), "ZLIB": (1, 2, 11)},
    manylinux="manylinux_2_34",
)
AMAZON_LINUX_2: Final = System(
    "Amazon Linux 2",
    {"GLIBC": (2, 26), "GLIBCXX": (3, 4, 24), "CXXABI": (1, 3, 11), "GCC": (7, 0, 0), "ZLIB": (1, 2, 7)},
    manylinux="manylinux_2_28",
    instead={"pillow": "12.2.0"},
    # pyvips-binary 8.18.0 is the last for its glibc, and has none of the functions that pyvips 3.2 added
    without=("pyvips/*", "pyvips-*", "_libvips.*", "pyvips_binary*", "_cffi_backend.*", "cffi-*"),
)
RUNTIMES: Final = {
    "3.11": AMAZON_LINUX_2,
    "3.12": AMAZON_LINUX_2023,
    "3.13": AMAZON_LINUX_2023,
    "3.14": AMAZON_LINUX_2023,
}
MACHINES: Final = {"x86_64": "x86_64", "arm64": "aarch64"}
"""Lambda's word for an architecture, and everybody else's."""

LIBRARIES: Final = {
    **dict.fromkeys(
        (
            "libc.so.6",
            "libm.so.6",
            "libmvec.so.1",
            "libpthread.so.0",
            "libdl.so.2",
            "librt.so.1",
            "libresolv.so.2",
            "libutil.so.1",
            "ld-linux-x86-64.so.2",
            "ld-linux-aarch64.so.1",
        ),
        "glibc",
    ),
    "libgcc_s.so.1": "libgcc",
    "libstdc++.so.6": "libstdc++",
    "libz.so.1": "zlib",
}
"""What a shared object may leave to the runtime, and the package that has it there.

The first three are the base of manylinux (PEP 600) and in both systems' container images, which Lambda's are built on;
zlib is what the runtime's own Python reads zips with.
"""


@dataclass(frozen=True, slots=True)
class Target:
    """One runtime on one processor, e.g. python3.13 on arm64."""

    python: str
    architecture: str
    system: System

    @property
    def machine(self) -> str:
        return MACHINES[self.architecture]

    @property
    def suffix(self) -> str:
        """The end of an extension module's name that this Python looks for."""
        return f".cpython-{self.python.replace('.', '')}-{self.machine}-linux-gnu.so"

    @property
    def name(self) -> str:
        return f"thumbnailer-python{self.python}-{self.architecture}"


def target_for(python: str, architecture: str) -> Target:
    """Raises UnknownTarget that says what there is."""
    if python not in RUNTIMES:
        raise UnknownTarget(f"Lambda has no runtime python{python} that this builds for: {', '.join(RUNTIMES)}")
    if architecture not in MACHINES:
        raise UnknownTarget(f"Lambda has no architecture {architecture}: {', '.join(MACHINES)}")
    return Target(python, architecture, RUNTIMES[python])

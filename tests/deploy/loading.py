"""Whether the shared objects of a folder load in a Lambda runtime, by their headers and dynamic sections."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection

from deploy.packing.strip import needed_libraries, shared_objects
from deploy.packing.target import AMAZON_LINUX_2, AMAZON_LINUX_2023, System, Target

Version = tuple[int, ...]
MACHINES: Final = {"EM_X86_64": "x86_64", "EM_AARCH64": "aarch64"}
LIBRARIES: Final = {
    "libc.so.6", "libm.so.6", "libmvec.so.1", "libpthread.so.0", "libdl.so.2", "librt.so.1", "libresolv.so.2",
    "libutil.so.1", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1", "libgcc_s.so.1", "libstdc++.so.6", "libz.so.1",
}  # fmt: skip
"""The libraries that the runtime has.

glibc's, libgcc's and libstdc++'s are the base of manylinux (PEP 600) and in both systems' container images, from which
Lambda's are built. The runtime's own Python reads zips with zlib.
"""
# glibc and gcc: docs.aws.amazon.com/linux/al2023/ug/glibc-gcc-and-binutils.html; versions in a gcc's libstdc++ and
# libgcc_s: gcc.gnu.org/onlinedocs/libstdc++/manual/abi.html. AL2023 got a newer libstdc++ in 2025, but Lambda did not
# (github.com/amazonlinux/container-images/issues/132), so these are gcc 11's.
NEWEST: Final[Mapping[System, Mapping[str, Version]]] = {
    AMAZON_LINUX_2023: {
        "GLIBC": (2, 34), "GLIBCXX": (3, 4, 29), "CXXABI": (1, 3, 13), "GCC": (9, 0, 0), "ZLIB": (1, 2, 11),
    },
    AMAZON_LINUX_2: {
        "GLIBC": (2, 26), "GLIBCXX": (3, 4, 24), "CXXABI": (1, 3, 11), "GCC": (7, 0, 0), "ZLIB": (1, 2, 7),
    },
}  # fmt: skip
"""The newest symbol version of each family."""


class SharedObject(NamedTuple):
    """`needed` are its libraries, `versions` the symbol versions that it needs of each."""

    path: Path
    machine: str
    needed: Sequence[str]
    versions: Mapping[str, Sequence[str]]


def read_objects(tree: Path) -> list[SharedObject]:
    """Every shared object below `tree`."""
    return [_read(path) for path in shared_objects(tree)]


def problems(objects: Sequence[SharedObject], target: Target) -> list[str]:
    """The reasons why objects do not load in the target's runtime; empty if all load."""
    inside = {object_.path.name for object_ in objects}
    return [f"{o.path.name} {problem}" for o in objects for problem in _problems(o, inside, target)]


def _problems(object_: SharedObject, inside: set[str], target: Target) -> Iterator[str]:
    suffix = f".cpython-{target.python.replace('.', '')}-{target.machine}-linux-gnu.so"
    if object_.machine != target.machine:
        yield f"is for {object_.machine}, not for {target.machine}"
    if ".cpython-" in object_.path.name and not object_.path.name.endswith(suffix):
        yield f"is for another Python than {target.python} on {target.machine}"
    for library in object_.needed:
        if library not in LIBRARIES and library not in inside:
            yield f"needs {library}, which is neither inside nor in {target.system.name}"
    for library in LIBRARIES & object_.versions.keys():
        for text in object_.versions[library]:
            family, version = _parse(text)
            newest = NEWEST.get(target.system, {}).get(family, ())
            if not version or version > newest:
                has = f"{family}_{'.'.join(map(str, newest))}" if newest else "none such"
                yield f"needs {text} of {library}; {target.system.name} has {has}"


def _parse(text: str) -> tuple[str, Version]:
    """("GLIBC", (2, 34)) for GLIBC_2.34; an empty version for names such as GLIBC_PRIVATE."""
    family, _, version = text.partition("_")
    numbers = version.split(".")
    return (family, tuple(map(int, numbers))) if all(map(str.isdecimal, numbers)) else (text, ())


def _read(path: Path) -> SharedObject:
    with path.open("rb") as file:
        elf = ELFFile(file)
        machine = MACHINES.get(elf["e_machine"], elf["e_machine"])
        asked = [each for s in elf.iter_sections() if isinstance(s, GNUVerNeedSection) for each in s.iter_versions()]
        versions = {str(library.name): [str(version.name) for version in names] for library, names in asked}
    return SharedObject(path, machine, needed_libraries(path), versions)

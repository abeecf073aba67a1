"""Whether the shared objects of a folder load in a runtime, by their headers and dynamic sections."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection

from deploy.packing.target import LIBRARIES, Target, Version

MAGIC: Final = b"\x7fELF"
MACHINES: Final = {"EM_X86_64": "x86_64", "EM_AARCH64": "aarch64"}


class SharedObject(NamedTuple):
    """`needed` are its libraries, `versions` the symbol versions that it needs of each."""

    path: Path
    machine: str
    needed: tuple[str, ...]
    versions: Mapping[str, tuple[str, ...]]


def shared_objects(tree: Path) -> list[SharedObject]:
    """Every ELF file below `tree`."""
    return [_read(path) for path in sorted(tree.rglob("*")) if path.is_file() and _is_elf(path)]


def problems(objects: Sequence[SharedObject], target: Target) -> list[str]:
    """The reasons why objects do not load in the target's runtime; empty if all load."""
    inside = {object_.path.name for object_ in objects}
    return [f"{o.path.name} {problem}" for o in objects for problem in _problems(o, inside, target)]


def find_unneeded(objects: Sequence[SharedObject]) -> set[Path]:
    """The libraries in wheels (`name.libs/`) that no extension module needs, directly or through other libraries.

    The search starts at the modules, because libraries can need each other in a ring.
    """
    bundled = {o.path: o for o in objects if o.path.parent.suffix == ".libs"}
    asking = [o for o in objects if o.path not in bundled]
    while asking:
        names = {name for o in asking for name in o.needed}
        asking = [bundled.pop(path) for path in list(bundled) if path.name in names]
    return set(bundled)


def _problems(object_: SharedObject, inside: set[str], target: Target) -> Iterator[str]:
    if object_.machine != target.machine:
        yield f"is for {object_.machine}, not for {target.machine}"
    if ".cpython-" in object_.path.name and not object_.path.name.endswith(target.suffix):
        yield f"is for another Python than {target.python} on {target.machine}"
    for library in object_.needed:
        if library not in LIBRARIES and library not in inside:
            yield f"needs {library}, which is neither inside nor in {target.system.name}"
    for library in LIBRARIES & object_.versions.keys():
        for text in object_.versions[library]:
            family, version = _parse(text)
            newest = target.system.newest.get(family, ())
            if not version or version > newest:
                has = f"{family}_{'.'.join(map(str, newest))}" if newest else "none such"
                yield f"needs {text} of {library}; {target.system.name} has {has}"


def _parse(text: str) -> tuple[str, Version]:
    """("GLIBC", (2, 34)) for GLIBC_2.34; an empty version for names such as GLIBC_PRIVATE."""
    family, _, version = text.partition("_")
    numbers = version.split(".")
    return (family, tuple(map(int, numbers))) if all(map(str.isdecimal, numbers)) else (text, ())


def _is_elf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == MAGIC


def _read(path: Path) -> SharedObject:
    with path.open("rb") as file:
        elf = ELFFile(file)
        needed: list[str] = []
        versions: dict[str, tuple[str, ...]] = {}
        for section in elf.iter_sections():
            if isinstance(section, DynamicSection):
                needed += [cast("Any", tag).needed for tag in section.iter_tags("DT_NEEDED")]
            elif isinstance(section, GNUVerNeedSection):
                for library, asked in section.iter_versions():
                    versions[str(library.name)] = tuple(str(version.name) for version in asked)
        machine = MACHINES.get(elf["e_machine"], elf["e_machine"])
    return SharedObject(path, machine, tuple(needed), versions)

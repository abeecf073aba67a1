"""`thumbnailer resize`: local files in, thumbnails in one folder out. No source is replaced."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from thumbnailer.app import build, sized_tier
from thumbnailer.errors import KeyTooLong, StoreDenied, ThumbnailerError
from thumbnailer.formats import SIGNATURE_BYTES, specs
from thumbnailer.machine import machine
from thumbnailer.model import EventKind, Format, ObjectEvent, Outcome
from thumbnailer.planning.capabilities import OUTPUTS
from thumbnailer.renditions import EXTENSIONS, target_key
from thumbnailer.settings import Settings
from thumbnailer.store.local import LocalStore

IN_FLIGHT: Final = 2
"""Records at once for each decoder: files answer without a wait, and each record in work holds a copy of its source."""

Sources = Mapping[str, Path]
"""Files by key: the name of a file, or its path below the folder that the user named."""


class ResizeError(ThumbnailerError):
    """The files cannot be resized into this folder; nothing was written."""


def find_sources(paths: Sequence[Path], recursive: bool, out: Path) -> tuple[Sources, list[Path]]:
    """The files, with the pictures in the folders, and the other files in the folders. Raises ResizeError."""
    sources: dict[str, Path] = {}
    others = []
    for path in paths:
        for file in _files_below(path, recursive, out.resolve()) if path.is_dir() else [path]:
            key = file.name if file is path else file.relative_to(path).as_posix()
            if file is not path and not _formats(file):
                others.append(file)
            elif not file.is_file():
                raise ResizeError(f"{file} is neither a file nor a folder")
            elif sources.setdefault(key, file) != file:
                raise ResizeError(f"{sources[key]} and {file} have the same name; resize them into two folders")
    if not sources:
        raise ResizeError(f"no pictures in {', '.join(map(str, paths))}; --recursive looks into the folders in them")
    return sources, others


def _files_below(folder: Path, recursive: bool, out: Path) -> Iterator[Path]:
    """Not hidden files, and not those of earlier runs in a folder `out` below this one. Raises OSError."""
    for parent, folders, names in os.walk(folder, onerror=_fail):
        visible = sorted(name for name in folders if recursive and not name.startswith("."))
        folders[:] = [name for name in visible if Path(parent, name).resolve() != out]
        files = (Path(parent, name) for name in sorted(names) if not name.startswith("."))
        yield from filter(Path.is_file, files)


def _fail(error: OSError) -> None:
    raise error


def _formats(file: Path) -> tuple[Format, ...]:
    """The formats that the first bytes allow; empty if they are no picture's."""
    with suppress(OSError), file.open("rb") as opened:
        start = opened.read(SIGNATURE_BYTES)
        svg = (Format.SVG,) if file.suffix.lower() == ".svg" else ()
        return next((spec.formats for spec in specs() if spec.matches(start)), svg)
    return (Format.JPEG,)  # its record says why it cannot be read


@dataclass(frozen=True, slots=True)
class Folder:
    """The folder for thumbnails, its links resolved. `sources` are the identities of files that must stay."""

    root: Path
    sources: frozenset[object]
    overwrite: bool

    def place(self, key: str, format_: Format) -> Path:
        """The file of a thumbnail. Raises StoreDenied if it lies outside the folder or is a source."""
        folder, name = os.path.split(self.root / _with_suffix(key, format_))
        path = Path(os.path.realpath(folder), name)
        if name == ".." or not path.is_relative_to(self.root):
            raise StoreDenied(f"the thumbnail {key} would be {path}, outside {self.root}")
        if path.parent.is_file():
            raise StoreDenied(f"{path.parent} is a file, and the thumbnail {key} needs a folder of that name")
        if _identity(path) in self.sources:
            raise StoreDenied(f"the thumbnail {key} would replace the source {path}; take another folder for -o")
        return path

    def write(self, key: str, format_: Format, data: bytes) -> None:
        """Replaces a file in one step; a link is replaced, not followed. Without `overwrite`, existing files stay."""
        path = self.place(key, format_)
        if os.path.lexists(path) and not self.overwrite:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".thumbnailer-{os.getpid()}")
        part.unlink(missing_ok=True)
        try:
            with part.open("xb") as file:
                file.write(data)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


def open_folder(out: Path, sources: Sources, overwrite: bool) -> Folder:
    return Folder(Path(os.path.realpath(out)), frozenset(map(_identity, sources.values())), overwrite)


def _identity(path: Path) -> object:
    """Equal for two names of one file. Names of new files that differ only in case count as one: some disks agree."""
    with suppress(OSError):
        found = path.stat()
        return found.st_dev, found.st_ino
    return str(path).casefold()


def _with_suffix(key: str, format_: Format) -> str:
    """The key, with its format's suffix if it has another: local programs rely on suffixes."""
    suffix = EXTENSIONS[format_]
    known = ("jpg", "jpeg") if suffix == "jpg" else (suffix,)
    return key if key.rpartition(".")[2].lower() in known else f"{key}.{suffix}"


def refuse_conflicts(sources: Sources, folder: Folder, settings: Settings) -> Sources:
    """The sources without thumbnails. Raises ResizeError if one would replace a source or another one's thumbnail."""
    owners: dict[object, Path] = {}
    missing = {}
    for key, file in sources.items():
        try:
            places = list(_possible_places(key, _formats(file), folder, settings))
        except StoreDenied as error:
            raise ResizeError(f"Nothing is written: {error}") from error
        for place in (place for group in places for place in group):
            if (other := owners.setdefault(_identity(place), file)) != file:
                raise ResizeError(f"{other} and {file} would both become {place}; resize them into two folders")
        if folder.overwrite or not all(any(map(os.path.lexists, group)) for group in places):
            missing[key] = file
    return missing


def _possible_places(key: str, formats: tuple[Format, ...], folder: Folder, settings: Settings) -> Iterator[list[Path]]:
    """For each rendition, the files that it may become. Other formats become JPEG, or PNG if they have alpha."""
    automatic = {format_ for format_ in formats if format_ in OUTPUTS}
    if not automatic or len(automatic) < len(formats):
        automatic |= {Format.JPEG, Format.PNG}
    for rendition in settings.renditions:
        with suppress(KeyTooLong):  # its record ends with it
            becomes = [rendition.format] if rendition.format else sorted(automatic)
            yield [folder.place(target_key(settings.key, key, rendition, each), each) for each in becomes]


async def resize_all(sources: Sources, folder: Folder, settings: Settings, done: Callable[[Outcome], None]) -> None:
    """Makes the thumbnails; `done` gets each outcome. Settings about buckets have no effect."""
    in_flight = settings.in_flight or IN_FLIGHT * sized_tier(settings, machine()).workers
    local = replace(
        settings, destination="{bucket}-", sources=(), failed_prefix="", on_delete="keep", in_flight=in_flight
    )
    pipeline = build(local, machine(), {}, LocalStore(sources, folder.write)).pipeline
    try:
        await pipeline.process_all([ObjectEvent(EventKind.CREATED, "files", key) for key in sources], done=done)
    finally:
        await pipeline.aclose()

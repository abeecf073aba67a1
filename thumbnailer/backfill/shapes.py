"""The shapes of key templates: whether a listing alone tells which source a thumbnail was made from."""

from collections.abc import Mapping
from typing import Final

from thumbnailer.renditions import EXTENSIONS, OUTPUT_FORMATS, Rendition, can_collide
from thumbnailer.values import dataclass

MARK: Final = "{key}"


@dataclass(frozen=True, slots=True)
class KeyShape:
    """A thumbnail's key is a head, the source's key and a tail. Each head is listed on its own.

    `heads` maps each head to its tails, and each tail to the number of its rendition.
    """

    heads: Mapping[str, Mapping[str, int]]


def key_shape(template: str, renditions: tuple[Rendition, ...]) -> KeyShape | None:
    """None if two sources may write one key ({dir}, {stem}): then each source's possible keys must be asked for."""
    if can_collide(template, renditions):
        return None
    before, _, behind = template.partition(MARK)
    heads: dict[str, dict[str, int]] = {}
    for number, rendition in enumerate(renditions):
        for format_ in (rendition.format,) if rendition.format else OUTPUT_FORMATS:
            fields = {"name": rendition.name, "ext": EXTENSIONS[format_]}
            heads.setdefault(before.format(**fields), {})[behind.format(**fields)] = number
    return KeyShape(heads)


def owner_of(key: str, tails: Mapping[str, int]) -> str | None:
    """The source that a key behind its head was made from; None if it ends with no tail."""
    return next((key[: len(key) - len(tail)] for tail in tails if key.endswith(tail)), None)

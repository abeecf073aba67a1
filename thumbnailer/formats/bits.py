"""Bit fields: AV1 packs them from the highest bit of a byte down, JPEG XL from the lowest bit up."""

from typing import Literal

from thumbnailer.errors import Corrupt


class EndOfBits(Corrupt):
    """The bytes at hand are used up."""


class Bits:
    """Reads bit fields one after the other. Every method raises EndOfBits."""

    def __init__(self, data: bytes, order: Literal["big", "little"], label: str) -> None:
        self._data = data
        self._order = order
        self._label = label
        self._position = 0

    def take(self, count: int) -> int:
        start = self._position
        self.skip(count)
        end = self._position
        covering = int.from_bytes(self._data[start // 8 : (end + 7) // 8], self._order)
        shift = start % 8 if self._order == "little" else -end % 8
        return covering >> shift & ((1 << count) - 1)

    def skip(self, count: int) -> None:
        self._position += count
        if self._position > 8 * len(self._data):
            raise EndOfBits(f"{self._label} ends inside its header")

    def flag(self) -> bool:
        return self.take(1) == 1

    def to_byte(self) -> None:
        self.skip(-self._position % 8)

"""What the samples of a TIFF are, how they are stored, and which engines read them (TIFF 6.0, pages 30 to 96)."""

from dataclasses import dataclass

from thumbnailer.errors import UnsupportedFormat
from thumbnailer.formats.ifd import Directory
from thumbnailer.model import EngineName

MAX_SAMPLES = 5
"""A pixel: CMYK and alpha. Neither engine makes a picture of more, and libvips' memory grows with them."""


WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, CHANNELS, ROWS_PER_STRIP, PLANAR = 256, 257, 258, 259, 262, 277, 278, 284
TILE_WIDTH, TILE_HEIGHT, EXTRA_SAMPLES, SAMPLE_FORMAT, SUBSAMPLING = 322, 323, 338, 339, 530
ICC, DNG_VERSION = 34675, 50706
STRIPS, TILES = (273, 279), (324, 325)  # offsets and sizes of the pieces of a picture


UNSIGNED, SIGNED, FLOAT, COMPLEX = "unsigned", "signed", "float", "complex"
"""Kinds of samples. Integers go from black to white over all of their range, floats from 0 to 1."""
SEPARATE = 2
"""PlanarConfiguration: each channel in strips of its own; a row is whole when the last channel's row is there."""
UNCOMPRESSED, WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, YCBCR = 1, 0, 1, 2, 3, 6
"""Of COMPRESSION and PHOTOMETRIC (TIFF 6.0, pages 30 and 37)."""
ONE_COLOUR = (WHITE_IS_ZERO, BLACK_IS_ZERO, PALETTE)
JPEG = (6, 7)
COMPRESSIONS = frozenset({UNCOMPRESSED, 2, 3, 4, 5, *JPEG, 8, 32766, 32771, 32773, 32809, 32946})
"""Fax, LZW, JPEG, deflate, PackBits and libtiff's older ones."""
COMPRESSIONS |= {34676, 34677, 34925, 50000, 50001}  # SGI's logarithmic ones, LZMA, Zstandard, WebP
UNREAD_COMPRESSIONS = {9: "JBIG", 10: "JBIG", 34661: "JBIG", 34887: "LERC", 50002: "JPEG XL", 52546: "JPEG XL"}
UNREAD_COMPRESSIONS |= dict.fromkeys((33003, 33004, 33005, 34712), "JPEG 2000")
UNREAD_COLOURS = {4: "a transparency mask", 9: "ICC L*a*b*", 10: "ITU L*a*b*"}
UNREAD_COLOURS |= dict.fromkeys((32803, 34892), "a raw sensor")
NUMBERS = {2: SIGNED, 3: FLOAT, 5: COMPLEX, 6: COMPLEX}
"""Of SAMPLE_FORMAT (TIFF 6.0, page 80); every other value counts as unsigned."""
DEPTHS = {UNSIGNED: (8, 16, 32), SIGNED: (8, 16, 32), FLOAT: (16, 32), COMPLEX: ()}
"""Bits of a sample that an engine reads in every picture."""
DEPTHS_OF_ONE = (1, 2, 4)  # bits of a sample that an engine reads if a pixel has one sample
ASSOCIATED, UNASSOCIATED = 1, 2
ALPHA_SAMPLES = (ASSOCIATED, UNASSOCIATED, 999)
"""Associated and unassociated alpha, and Corel Draw's; 0 is a channel of unknown meaning (TIFF 6.0, page 31)."""


@dataclass(frozen=True, slots=True)
class Samples:
    compression: int
    photometric: int
    numbers: str
    bits: int
    count: int
    planar: bool
    tiled: bool
    subsampled: bool
    extra: int | None  # the meaning of the first sample beyond the colours, if the file says it

    @property
    def is_plain(self) -> bool:
        return self.compression == UNCOMPRESSED

    @property
    def plain_ycbcr(self) -> bool:
        return self.photometric == YCBCR and self.compression not in JPEG and not self.subsampled

    @property
    def has_alpha(self) -> bool:
        """By the first sample beyond the colours. Writers that say nothing of a fourth sample mean alpha."""
        if self.extra is None:
            return self.photometric == RGB and self.count == 4
        return self.extra in ALPHA_SAMPLES


def read_samples(directory: Directory, depth_is_missing: bool) -> Samples:
    """`directory` has only the entries whose values are at hand."""
    return Samples(
        compression=directory.integer(COMPRESSION, UNCOMPRESSED),
        photometric=directory.integer(PHOTOMETRIC, WHITE_IS_ZERO),
        numbers=NUMBERS.get(directory.integer(SAMPLE_FORMAT, 1), UNSIGNED),
        # Without the tag a sample has one bit (TIFF 6.0, page 29); 8 is the best guess for a tag out of reach.
        bits=max(directory.integers(BITS), default=8 if depth_is_missing else 1),
        count=max(1, directory.integer(CHANNELS, 1)),
        planar=directory.integer(PLANAR, 1) == SEPARATE,
        tiled=TILE_WIDTH in directory.entries,
        # Without the tag they are subsampled (TIFF 6.0, page 91).
        subsampled=list(directory.integers(SUBSAMPLING)) != [1, 1],
        extra=next(directory.integers(EXTRA_SAMPLES), None),
    )


def misread_by(samples: Samples) -> frozenset[EngineName]:
    """Engines that make another picture of it without an error.

    libvips takes brightness and colour differences for colours. Pillow mistakes the range of signed samples, floats and
    samples of more than 16 bits. It does not invert white-is-zero samples of more than eight bits or in planes, and it
    reads samples in planes as if they had eight bits.
    """
    bits, planar = samples.bits, samples.planar
    range_mistaken = bits > 16 or samples.numbers != UNSIGNED
    not_inverted = samples.photometric == WHITE_IS_ZERO and (bits > 8 or planar)
    pillow = range_mistaken or not_inverted or (planar and bits != 8)
    wrong = {EngineName.PILLOW: pillow, EngineName.VIPS: samples.plain_ycbcr}
    return frozenset(name for name, is_wrong in wrong.items() if is_wrong)


def refuse_unread(samples: Samples, little_endian: bool) -> None:
    """Raises UnsupportedFormat, with its name, for what neither engine decodes, or both decode wrongly."""
    if samples.compression not in COMPRESSIONS:
        name = UNREAD_COMPRESSIONS.get(samples.compression, f"number {samples.compression}")
        raise UnsupportedFormat(f"TIFF with the compression {name}")
    if samples.photometric in UNREAD_COLOURS:
        raise UnsupportedFormat(f"TIFF of {UNREAD_COLOURS[samples.photometric]}")
    name = f"TIFF of {samples.numbers} samples of {samples.bits} bits, {samples.count} a pixel"
    if not _are_samples_read(samples, little_endian):
        raise UnsupportedFormat(name)
    if samples.planar and not _are_planes_read(samples):
        raise UnsupportedFormat(f"{name}, in planes" + (" of tiles" if samples.tiled else ""))
    if samples.extra == ASSOCIATED and not _is_premultiplied_read(samples):
        raise UnsupportedFormat(f"{name}, with premultiplied alpha")


def _are_samples_read(samples: Samples, little_endian: bool) -> bool:
    bits, unsigned = samples.bits, samples.numbers == UNSIGNED
    if samples.compression in JPEG and bits != 8:
        return False
    if not unsigned and samples.photometric == WHITE_IS_ZERO:
        return False
    if samples.count == 1 and bits == 12 and samples.numbers != COMPLEX:
        return samples.photometric == BLACK_IS_ZERO and little_endian
    return bits in DEPTHS[samples.numbers] or (samples.count == 1 and unsigned and bits in DEPTHS_OF_ONE)


def _are_planes_read(samples: Samples) -> bool:
    if samples.photometric in ONE_COLOUR and samples.count > 1:
        return False
    if samples.photometric == YCBCR and samples.is_plain:
        return False
    if samples.tiled:  # by Pillow alone
        known = samples.photometric != WHITE_IS_ZERO and samples.extra in (None, UNASSOCIATED)
        return samples.bits == 8 and samples.numbers == UNSIGNED and known and samples.count < MAX_SAMPLES
    return not (samples.numbers == FLOAT and samples.bits == 16)


def _is_premultiplied_read(samples: Samples) -> bool:
    if samples.numbers == FLOAT:
        return samples.photometric == RGB
    return samples.numbers == UNSIGNED and samples.bits <= 16

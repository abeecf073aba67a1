"""Whether an embedded colour profile can be used (ICC.1:2022, sections 7 and 8).

libvips silently replaces a broken profile, Pillow raises: this module decides for both. It ignores the contents of
curves and tables.
"""

import struct

RGB = b"RGB "
GREY = b"GRAY"
CMYK = b"CMYK"

HEADER = 128
MOST_TAGS = 100  # Little CMS takes no more
CLASSES = (b"mntr", b"scnr", b"prtr", b"spac")
"""Display, input, output and colour space; links and named colours do not describe pixels."""
CONNECTION_SPACES = (b"XYZ ", b"Lab ")
TABLE = ((b"A2B0",), (b"D2B0",))
SUFFICIENT = {
    RGB: (*TABLE, (b"rXYZ", b"gXYZ", b"bXYZ", b"rTRC", b"gTRC", b"bTRC")),
    GREY: (*TABLE, (b"kTRC",)),
    CMYK: TABLE,
}
"""Sets of tags; a profile needs one of them."""
TYPES = {
    b"A2B0": (b"mft1", b"mft2", b"mAB "),
    b"D2B0": (b"mpet",),
    **dict.fromkeys((b"rXYZ", b"gXYZ", b"bXYZ"), (b"XYZ ",)),
    **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC", b"kTRC"), (b"curv", b"para")),
}


def is_usable(profile: bytes, space: bytes | None) -> bool:
    """Whether the profile is for pixels of that colour space and has all that a conversion needs."""
    if len(profile) < HEADER + 4 or profile[36:40] != b"acsp" or profile[12:16] not in CLASSES:
        return False
    if int.from_bytes(profile[:4]) > len(profile):  # a piece is missing, of a JPEG most likely one segment
        return False
    if space is None or profile[16:20] != space or profile[20:24] not in CONNECTION_SPACES:
        return False
    tags = _tags(profile)
    return any(all(tags.get(tag) in TYPES[tag] for tag in needed) for needed in SUFFICIENT.get(space, ()))


def _tags(profile: bytes) -> dict[bytes, bytes]:
    """Each tag within the profile, and the type of its value."""
    (count,) = struct.unpack_from(">I", profile, HEADER)
    table = profile[HEADER + 4 : HEADER + 4 + 12 * min(count, MOST_TAGS)]
    entries = struct.iter_unpack(">4sII", table[: len(table) // 12 * 12])
    return {tag: profile[at : at + 4] for tag, at, size in entries if at + size <= len(profile)}

"""Names for what is not read: pictures of other formats, and objects that are no pictures.

Signatures are from the formats' own documents and from file(1)'s magic; the longest of one start comes first.
"""

from __future__ import annotations

from thumbnailer.errors import NotAnImage, UnsupportedFormat

OTHER_PICTURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"%PDF-", "PDF"),
    (0, b"\xc5\xd0\xd3\xc6", "EPS"),
    (0, b"8BPS", "PSD"),
    (0, b"SIMPLE  =", "FITS"),
    (0, b"\0\0\2\0", "CUR (Windows cursor)"),
    (0, b"\x8aMNG\r\n\x1a\n", "MNG"),
    (0, b"\x8bJNG\r\n\x1a\n", "JNG"),
    (0, b"II\xbc", "JPEG XR"),
    (0, b"IIRO", "Olympus ORF raw"),
    (0, b"IIRS", "Olympus ORF raw"),
    (0, b"MMOR", "Olympus ORF raw"),
    (0, b"IIU\0", "Panasonic RW2 raw"),
    (0, b"FUJIFILMCCD-RAW", "Fujifilm RAF raw"),
    (0, b"FOVb", "Sigma X3F raw"),
    (0, b"\0MRM", "Minolta MRW raw"),
    (6, b"HEAPCCDR", "Canon CRW raw"),
    (0, b"qoif", "QOI"),
    (0, b"DDS ", "DDS"),
    (0, b"\x76\x2f\x31\x01", "OpenEXR"),
    (0, b"#?RADIANCE", "Radiance HDR"),
    (0, b"#?RGBE", "Radiance HDR"),
    (0, b"FLIF", "FLIF"),
    (0, b"BPG\xfb", "BPG"),
    (0, b"gimp xcf", "XCF"),
    (0, b"icns", "ICNS"),
    (0, b"AT&TFORM", "DjVu"),
    (0, b"\xd7\xcd\xc6\x9a", "WMF"),
    (40, b" EMF", "EMF"),
    (128, b"DICM", "DICOM"),
    (0, b"\x59\xa6\x6a\x95", "Sun raster"),
    (0, b"\x01\xda\x00", "SGI"),
    (0, b"\x01\xda\x01", "SGI"),
    (0, b"id=ImageMagick", "MIFF"),
    (0, b"/* XPM */", "XPM"),
    (0, b"\x08\xf2\xa6\xb6", "VIPS"),
    (0, b"\xb6\xa6\xf2\x08", "VIPS"),
    (0, b"\xabKTX", "KTX"),
    (0, b"\x89HDF\r\n\x1a\n", "HDF5"),
    *(
        (0, b"P" + digit + space, "PNM")
        for digit in (b"1", b"2", b"3", b"4", b"5", b"6", b"7")
        for space in (b"\n", b" ", b"\r")
    ),
    (0, b"PF\n", "PFM"),
    (0, b"Pf\n", "PFM"),
)

OTHER_THINGS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"PK\3\4", "a ZIP archive"),
    (0, b"PK\5\6", "a ZIP archive"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"BZh", "a bzip2 archive"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (0, b"Rar!\x1a\x07", "a RAR archive"),
    (0, b"\xfd7zXZ\0", "an xz archive"),
    (0, b"\x28\xb5\x2f\xfd", "a Zstandard archive"),
    (257, b"ustar", "a tar archive"),
    (0, b"\x1a\x45\xdf\xa3", "a Matroska or WebM video"),
    (0, b"\0\0\1\xba", "an MPEG video"),
    (0, b"\0\0\1\xb3", "an MPEG video"),
    (0, b"FLV\1", "a Flash video"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "a Windows Media file"),
    (8, b"AVI ", "an AVI video"),
    (8, b"WAVE", "WAV audio"),
    (4, b"moov", "a QuickTime movie"),
    (4, b"mdat", "a QuickTime movie"),
    (4, b"wide", "a QuickTime movie"),
    (4, b"pnot", "a QuickTime movie"),
    (0, b"OggS", "an Ogg file"),
    (0, b"fLaC", "FLAC audio"),
    (0, b"ID3", "MP3 audio"),
    (0, b"\0\1\0\0", "a font"),
    (0, b"OTTO\0", "a font"),
    (0, b"true\0", "a font"),
    (0, b"ttcf", "a font"),
    (0, b"wOFF", "a font"),
    (0, b"wOF2", "a font"),
    (0, b"\x7fELF", "a program"),
    (0, b"MZ", "a program"),
    (0, b"\xca\xfe\xba\xbe", "a program"),
    (0, b"\0asm", "a program"),
    (0, b"SQLite format 3\0", "an SQLite database"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Office document"),
)

POSTSCRIPT = b"%!PS"


def refuse_by_name(start: bytes) -> None:
    """Raise for everything that has a signature."""
    if start.startswith(POSTSCRIPT):
        raise UnsupportedFormat("EPS" if b"EPSF" in start[:64] else "PostScript")
    if name := _name(OTHER_PICTURES, start):
        raise UnsupportedFormat(name)
    if name := _name(OTHER_THINGS, start):
        raise NotAnImage(name)


def _name(signatures: tuple[tuple[int, bytes, str], ...], start: bytes) -> str | None:
    return next((name for at, mark, name in signatures if start.startswith(mark, at)), None)

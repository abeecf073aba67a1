"""Names of objects that are refused: pictures of other formats, and objects that are no pictures.

Signatures are from the formats' own documents and from file(1)'s magic.
"""

from thumbnailer.errors import NotAnImage, UnsupportedFormat

OTHER_PICTURES: tuple[tuple[str, int, *tuple[bytes, ...]], ...] = (
    ("PDF", 0, b"%PDF-"),
    ("EPS", 0, b"\xc5\xd0\xd3\xc6"),
    ("PSD", 0, b"8BPS"),
    ("FITS", 0, b"SIMPLE  ="),
    ("CUR (Windows cursor)", 0, b"\0\0\x02\0"),
    ("MNG", 0, b"\x8aMNG\r\n\x1a\n"),
    ("JNG", 0, b"\x8bJNG\r\n\x1a\n"),
    ("JPEG XR", 0, b"II\xbc"),
    ("Olympus ORF raw", 0, b"IIRO", b"IIRS", b"MMOR"),
    ("Panasonic RW2 raw", 0, b"IIU\0"),
    ("Fujifilm RAF raw", 0, b"FUJIFILMCCD-RAW"),
    ("Sigma X3F raw", 0, b"FOVb"),
    ("Minolta MRW raw", 0, b"\0MRM"),
    ("Canon CRW raw", 6, b"HEAPCCDR"),
    ("QOI", 0, b"qoif"),
    ("DDS", 0, b"DDS "),
    ("OpenEXR", 0, b"v/1\x01"),
    ("Radiance HDR", 0, b"#?RADIANCE", b"#?RGBE"),
    ("FLIF", 0, b"FLIF"),
    ("BPG", 0, b"BPG\xfb"),
    ("XCF", 0, b"gimp xcf"),
    ("ICNS", 0, b"icns"),
    ("DjVu", 0, b"AT&TFORM"),
    ("WMF", 0, b"\xd7\xcd\xc6\x9a"),
    ("EMF", 40, b" EMF"),
    ("DICOM", 128, b"DICM"),
    ("Sun raster", 0, b"Y\xa6j\x95"),
    ("SGI", 0, b"\x01\xda\0", b"\x01\xda\x01"),
    ("MIFF", 0, b"id=ImageMagick"),
    ("XPM", 0, b"/* XPM */"),
    ("VIPS", 0, b"\x08\xf2\xa6\xb6", b"\xb6\xa6\xf2\x08"),
    ("KTX", 0, b"\xabKTX"),
    ("HDF5", 0, b"\x89HDF\r\n\x1a\n"),
    ("PNM", 0, *(b"P%c%c" % (digit, space) for digit in b"1234567" for space in b"\n \r")),
    ("PFM", 0, b"PF\n", b"Pf\n"),
)
"""Name, offset, signatures."""

OTHER_THINGS: tuple[tuple[str, int, *tuple[bytes, ...]], ...] = (
    ("a ZIP archive", 0, b"PK\x03\x04", b"PK\x05\x06"),
    ("a gzip archive", 0, b"\x1f\x8b"),
    ("a bzip2 archive", 0, b"BZh"),
    ("a 7z archive", 0, b"7z\xbc\xaf'\x1c"),
    ("a RAR archive", 0, b"Rar!\x1a\x07"),
    ("an xz archive", 0, b"\xfd7zXZ\0"),
    ("a Zstandard archive", 0, b"(\xb5/\xfd"),
    ("a tar archive", 257, b"ustar"),
    ("a Matroska or WebM video", 0, b"\x1aE\xdf\xa3"),
    ("an MPEG video", 0, b"\0\0\x01\xba", b"\0\0\x01\xb3"),
    ("a Flash video", 0, b"FLV\x01"),
    ("a Windows Media file", 0, b"0&\xb2u\x8ef\xcf\x11"),
    ("an AVI video", 8, b"AVI "),
    ("WAV audio", 8, b"WAVE"),
    ("a QuickTime movie", 4, b"moov", b"mdat", b"wide", b"pnot"),
    ("an Ogg file", 0, b"OggS"),
    ("FLAC audio", 0, b"fLaC"),
    ("MP3 audio", 0, b"ID3"),
    ("a font", 0, b"\0\x01\0\0", b"OTTO\0", b"true\0", b"ttcf", b"wOFF", b"wOF2"),
    ("a program", 0, b"\x7fELF", b"MZ", b"\xca\xfe\xba\xbe", b"\0asm"),
    ("an SQLite database", 0, b"SQLite format 3\0"),
    ("an Office document", 0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),
)

POSTSCRIPT = b"%!PS"


def refuse_by_name(start: bytes) -> None:
    """Raises UnsupportedFormat or NotAnImage, with its name, for everything that has a signature."""
    if start.startswith(POSTSCRIPT):
        raise UnsupportedFormat("EPS" if b"EPSF" in start[:64] else "PostScript")
    for error, signatures in ((UnsupportedFormat, OTHER_PICTURES), (NotAnImage, OTHER_THINGS)):
        for name, at, *marks in signatures:
            if start.startswith(tuple(marks), at):
                raise error(name)

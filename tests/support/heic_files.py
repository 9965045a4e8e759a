"""HEIC files for tests: small ones from a real encoder, and others composed of their parts.

``photos`` and the tests of HEIC use it. The samples in ``heic_samples`` were made with heif-enc 1.15 (quality 90,
4:4:4) from ``photos.photograph()``: as it is, with transparency, in grey, with 10 bits, and as two tiles of 64 x 64,
the right one padded. So the fast tests need no encoder, and neither does the service, which can only decode HEIC.
"""

from __future__ import annotations

import base64
import struct
from functools import cache

from service.imaging.formats.heif_boxes import HeifFile, Item, write
from tests.support.heic_samples import SAMPLES

Property = tuple[bytes, bytes]

ALPHA = (b"auxC", bytes(4) + b"urn:mpeg:hevc:2015:auxid:1\0")
DEPTH = (b"auxC", bytes(4) + b"urn:mpeg:hevc:2015:auxid:2\0")


@cache
def sample(name: str) -> bytes:
    """One of the small files."""
    return base64.b64decode(SAMPLES[name])


def picture(name: str = "scene", *more: Property, without: bytes = b"") -> Item:
    """The primary picture of a sample as an item, with more properties, and without those of one type."""
    file = HeifFile(sample(name))
    properties = [entry for entry in file.properties(file.primary) if entry[0] != without]
    return Item(file.types[file.primary], file.content(file.primary), [*properties, *more])


def size_property(width: int, height: int) -> Property:
    """An ``ispe``."""
    return b"ispe", struct.pack(">III", 0, width, height)


def nclx(primaries: int, transfer: int, matrix: int, *, full: bool = True) -> Property:
    """A ``colr`` that describes the colours by numbers (ITU-T H.273)."""
    return b"colr", struct.pack(">4sHHHB", b"nclx", primaries, transfer, matrix, full << 7)


def grid(
    *more: Property,
    size: tuple[int, int] = (96, 64),
    claimed: tuple[int, int] | None = None,
    rows: int = 1,
    columns: int = 2,
    tiles: tuple[str, ...] = ("left", "right"),
) -> bytes:
    """A picture made of tiles, as cameras write it.

    Args:
        more: properties of the whole picture.
        size: of the whole picture, in the grid's own content.
        claimed: of the whole picture, in its property; ``size`` if None.
        rows: of tiles.
        columns: of tiles.
        tiles: samples.
    """
    content = struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, *size)
    whole = Item(b"grid", content, [size_property(*(claimed or size)), *more])
    whole.references.append((b"dimg", list(range(2, 2 + len(tiles)))))
    return write([whole, *(picture(tile) for tile in tiles)])


def with_auxiliary(kind: Property, *, premultiplied: bool = False) -> bytes:
    """The scene with an auxiliary picture of that kind: the grey sample."""
    auxiliary = picture("grey", kind)
    auxiliary.references.append((b"auxl", [1]))
    scene = picture()
    if premultiplied:
        scene.references.append((b"prem", [2]))
    return write([scene, auxiliary])


def with_metadata(exif: bytes) -> bytes:
    """The scene with an EXIF block and a description."""
    block = Item(b"Exif", struct.pack(">I", 6) + b"Exif\0\0" + exif, [], [(b"cdsc", [1])])
    return write([picture(), block])


def turned(*properties: Property) -> bytes:
    """The scene with rotations and reflections."""
    return write([picture("scene", *properties)])


def sequence() -> bytes:
    """A file without a single picture but with a track: its first frame is the scene, its second the grey sample."""
    scene, second = picture(), picture("grey")
    configuration = next(body for name, body in scene.properties if name == b"hvcC")

    def box(kind: bytes, *parts: bytes) -> bytes:
        body = b"".join(parts)
        return struct.pack(">I4s", len(body) + 8, kind) + body

    def movie(offset: int) -> bytes:
        entry = box(b"hvc1", bytes(24), struct.pack(">HH", 96, 64), bytes(50), box(b"hvcC", configuration))
        sizes = struct.pack(">IIIII", 0, 0, 2, len(scene.content), len(second.content))
        table = box(
            b"stbl",
            box(b"stsd", struct.pack(">II", 0, 1), entry),
            box(b"stsz", sizes),
            box(b"stco", struct.pack(">III", 0, 1, offset)),
        )
        media = box(b"mdia", box(b"hdlr", bytes(8), b"pict", bytes(13)), box(b"minf", table))
        sound = box(b"trak", box(b"mdia", box(b"hdlr", bytes(8), b"soun", bytes(13))))
        return box(b"moov", box(b"mvhd", bytes(100)), sound, box(b"trak", media))

    ftyp = box(b"ftyp", b"hevc\0\0\0\0msf1hevc")
    start = len(ftyp) + len(movie(0)) + 8
    return ftyp + movie(start) + box(b"mdat", scene.content, second.content)

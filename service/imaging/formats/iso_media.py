"""Reads colour and size of an ISO base media file (ISO/IEC 14496-12, HEIF 23008-12): what AVIF and HEIC files are.

``avif`` and ``heic`` use it. It looks for the ``colr`` box of the primary item, or of the first track of a sequence.
Every offset and length comes from the file, so a box that does not lie within its parent ends the search; a file
without a readable colour counts as sRGB.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import islice

from service.imaging.colour.encoding import Encoding, from_code_points
from service.imaging.formats.file_format import HEADER_STEPS, Malformed

_MAX_ASSOCIATIONS = 1 << 16
"""Bytes of the boxes that say which property belongs to which item."""

_PROFILES = (b"prof", b"rICC")
_MAX_BOXES = 4096
"""Boxes in one parent; files have at most a few for each item."""

_HEADER_ITEMS = 512
"""Items that are looked at for the size. A phone's picture of 48 megapixels has 200: its tiles."""

_SEQUENCE = b"avis"
"""With this major brand libavif shows the track, whatever items there are."""
_IN_TRACK = (b"trak", b"mdia", b"minf", b"stbl")
_SAMPLE_ENTRY_BYTES = 78
"""What stands before the boxes of a visual sample entry."""


def declared_encoding(data: bytes) -> Encoding | None:
    """The encoding of the primary picture by its ``nclx``.

    Returns:
        None for sRGB, if nothing is declared, or if the picture has an ICC profile, which then decides.
    """
    try:
        colours = _colours(data)
    except (struct.error, IndexError):
        return None
    if any(colour[:4] in _PROFILES for colour in colours):
        return None
    for colour in colours:
        if colour[:4] == b"nclx" and len(colour) >= 8:
            primaries, transfer = struct.unpack_from(">HH", colour, 4)
            # The decoder has undone the matrix and the range already.
            return from_code_points(primaries, transfer)
    return None


def primary_extent(data: bytes) -> tuple[int, int]:
    """(width, height) of the primary picture as stored, from the first bytes of the file.

    Raises:
        Malformed, struct.error, IndexError: they do not say it, or not for certain: the decoder shows a sequence, or
            only a part of the picture.
    """
    if data[8:12] == _SEQUENCE:
        raise Malformed
    meta = _only(memoryview(data), b"meta")[4:]
    pitm, iprp = _only(meta, b"pitm"), _only(meta, b"iprp")
    (primary,) = struct.unpack_from(">I" if pitm[0] else ">H", pitm, 4)
    properties = _header_boxes(_only(iprp, b"ipco"))
    ours = [
        properties[index - 1] for index in _associated(_only(iprp, b"ipma"), primary, _HEADER_ITEMS) if index
    ]
    extents = [body for name, body in ours if name == b"ispe"]
    if len(extents) != 1 or any(name == b"clap" for name, _ in ours):
        raise Malformed
    width, height = struct.unpack_from(">II", extents[0], 4)
    return width, height


def _only(parent: memoryview, name: bytes) -> memoryview:
    """The body of the one box of that type."""
    found = [body for child, body in _header_boxes(parent) if child == name]
    if len(found) != 1:
        raise Malformed
    return found[0]


def _header_boxes(parent: memoryview) -> list[tuple[bytes, memoryview]]:
    """The boxes in a parent, if they are few enough for a header."""
    found = list(islice(_boxes(parent), HEADER_STEPS + 1))
    if len(found) > HEADER_STEPS:
        raise Malformed
    return found


def _colours(data: bytes) -> list[bytes]:
    """The bodies of the ``colr`` boxes that count for the primary picture."""
    file = memoryview(data)
    for name, body in _boxes(file):
        if name == b"meta":
            return _colours_of_items(body[4:])
        if name == b"moov":
            return _colours_of_track(body)
    return []


def _boxes(parent: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """(type, body) of each box in a parent."""
    at = 0
    for _ in range(_MAX_BOXES):
        if at + 8 > len(parent):
            return
        length, name = struct.unpack_from(">I4s", parent, at)
        header = 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", parent, at + 8)
            header = 16
        end = len(parent) if length == 0 else at + length
        if (length and length < header) or end > len(parent):
            return
        yield name, parent[at + header : end]
        at = end


def _child(parent: memoryview, name: bytes) -> memoryview:
    """The body of the first box of that type; empty if there is none."""
    return next((body for child, body in _boxes(parent) if child == name), memoryview(b""))


def _colours_of_items(meta: memoryview) -> list[bytes]:
    pitm = _child(meta, b"pitm")
    if not pitm:
        return []
    (primary,) = struct.unpack_from(">I" if pitm[0] else ">H", pitm, 4)
    iprp = _child(meta, b"iprp")
    properties = list(_boxes(_child(iprp, b"ipco")))
    associations = [body for name, body in _boxes(iprp) if name == b"ipma"]
    if sum(map(len, associations)) > _MAX_ASSOCIATIONS:
        return []
    ours = {index for body in associations for index in _associated(body, primary)}
    colours = [(i, body.tobytes()) for i, (name, body) in enumerate(properties, 1) if name == b"colr"]
    # The primary item of a grid may leave its colour to its tiles.
    return [body for i, body in colours if i in ours] or [body for _, body in colours]


def _associated(ipma: memoryview, item: int, most_items: int = _MAX_BOXES) -> Iterator[int]:
    """The numbers of the properties, from 1, that belong to an item; only so many items are looked at."""
    version, flags = ipma[0], ipma[3]
    owner_layout, index_layout = (">I" if version else ">H"), ("H" if flags & 1 else "B")
    owner_bytes, index_bytes = (4 if version else 2), (2 if flags & 1 else 1)
    (entries,) = struct.unpack_from(">I", ipma, 4)
    at = 8
    for _ in range(min(entries, most_items)):
        (owner,) = struct.unpack_from(owner_layout, ipma, at)
        count = ipma[at + owner_bytes]
        at += owner_bytes + 1
        if owner == item:
            mask = 0x7FFF if flags & 1 else 0x7F
            yield from (index & mask for index in struct.unpack_from(f">{count}{index_layout}", ipma, at))
        at += count * index_bytes


def _colours_of_track(moov: memoryview) -> list[bytes]:
    box = moov
    for name in _IN_TRACK:
        box = _child(box, name)
    for _, entry in _boxes(_child(box, b"stsd")[8:]):
        return [body.tobytes() for name, body in _boxes(entry[_SAMPLE_ENTRY_BYTES:]) if name == b"colr"]
    return []

"""Reads the items of a HEIF file (ISO/IEC 23008-12) and writes a file that holds only those that are wanted.

``heic`` calls it; ``avif`` uses ``brands``. A HEIF file is a list of boxes. The box ``meta`` lists items: coded
pictures, grids of pictures, metadata; and it says where the bytes of each are, which properties it has, and how items
refer to each other. Every number comes from the file, so each read must check its bounds, and no list may be long.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from service.imaging.formats.file_format import Malformed

MAX_ITEMS = 5000
"""Items in one file. A camera's picture of 48 megapixels has 200: its tiles."""

_BRANDS_BYTES = 1024
_FULL_BOX = 4
"""Bytes of the version and the flags that begin the body of most boxes."""


@dataclass(frozen=True, slots=True)
class Box:
    """One box: its type and where its body is in the file."""

    type: bytes
    start: int
    end: int


@dataclass(slots=True)
class Item:
    """One item of a file that is read or written."""

    type: bytes
    content: bytes
    properties: list[tuple[bytes, bytes]]
    """(type, body) in the order in which they apply."""
    references: list[tuple[bytes, list[int]]] = field(default_factory=list)
    """(type of the reference, ids of the items that it goes to)."""


def brands(data: bytes) -> frozenset[bytes]:
    """The brands that a file says it conforms to; empty if it is not of this family."""
    if data[4:8] != b"ftyp":
        return frozenset()
    box = data[8 : min(int.from_bytes(data[:4], "big"), _BRANDS_BYTES)]
    version = 4  # where that of the first brand stands
    return frozenset(box[at : at + 4] for at in range(0, len(box), 4) if at != version)


def boxes(data: bytes, start: int, end: int) -> Iterator[Box]:
    """The boxes between two positions.

    Raises:
        Malformed: one does not lie within them.
    """
    while start < end:
        size, name = struct.unpack_from(">I4s", data, start)
        body = start + 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, body)
            body += 8
        stop = end if size == 0 else start + size
        if not body <= stop <= end:
            raise Malformed
        yield Box(name, body, stop)
        start = stop


class HeifFile:
    """The items of a file.

    Raises:
        Malformed, struct.error, IndexError: the file is broken or has too many items; so do all methods.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._bodies: dict[Box, tuple[bytes, bytes]] = {}
        meta = _only(boxes(data, 0, len(data)), b"meta")
        parts = {box.type: box for box in boxes(data, meta.start + _FULL_BOX, meta.end)}
        self._idat = parts.get(b"idat")
        self.primary = self._primary(parts.get(b"pitm") or _missing())
        self.types = dict(self._types(parts.get(b"iinf") or _missing()))
        self._locations = dict(self._extents(parts.get(b"iloc") or _missing()))
        self._references = list(self._reference_entries(parts[b"iref"])) if b"iref" in parts else []
        self._properties = self._property_lists(parts.get(b"iprp") or _missing())

    def properties(self, item: int) -> list[tuple[bytes, bytes]]:
        """(type, body) of each property of an item, in the order in which they apply.

        Items share properties, and one may be a profile of megabytes: its body is copied once.
        """
        return [self._property(box) for box in self._properties.get(item, [])]

    def _property(self, box: Box) -> tuple[bytes, bytes]:
        if box not in self._bodies:
            self._bodies[box] = box.type, self._data[box.start : box.end]
        return self._bodies[box]

    def references_from(self, item: int, kind: bytes) -> list[int]:
        """The items that an item refers to."""
        return [to for name, source, to in self._references if name == kind and source == item]

    def references_to(self, item: int, kind: bytes) -> list[int]:
        """The items that refer to an item."""
        return [source for name, source, to in self._references if name == kind and to == item]

    def length(self, item: int) -> int:
        """Bytes of an item's content."""
        return sum(end - start for start, end in self._pieces(item))

    def content(self, item: int) -> bytes:
        """The bytes of an item."""
        return b"".join(self._data[start:end] for start, end in self._pieces(item))

    def _pieces(self, item: int) -> list[tuple[int, int]]:
        if item not in self._locations:
            raise Malformed
        return self._locations[item]

    def _read(self, layout: str, at: int, end: int) -> tuple[int, ...]:
        if at + struct.calcsize(">" + layout) > end:
            raise Malformed
        return struct.unpack_from(">" + layout, self._data, at)

    def _version(self, box: Box) -> tuple[int, int]:
        (word,) = self._read("I", box.start, box.end)
        return word >> 24, word & 0xFFFFFF

    def _primary(self, box: Box) -> int:
        version, _ = self._version(box)
        return self._read("I" if version else "H", box.start + _FULL_BOX, box.end)[0]

    def _types(self, box: Box) -> Iterator[tuple[int, bytes]]:
        version, _ = self._version(box)
        first = box.start + _FULL_BOX + (4 if version else 2)
        for count, entry in enumerate(boxes(self._data, first, box.end)):
            if count >= MAX_ITEMS:
                raise Malformed
            entry_version, _ = self._version(entry)
            if entry.type != b"infe" or entry_version < 2:
                continue  # an older version has no type
            wide = entry_version >= 3
            (item,) = self._read("I" if wide else "H", entry.start + 4, entry.end)
            at = entry.start + (10 if wide else 8)
            yield item, self._data[at : min(at + 4, entry.end)]

    def _extents(self, box: Box) -> Iterator[tuple[int, list[tuple[int, int]]]]:
        """Each item with (start, end) of the pieces of its content in the file."""
        version, _ = self._version(box)
        sizes, more_sizes = self._read("BB", box.start + 4, box.end)
        layouts = [{0: "", 4: "I", 8: "Q"}.get(size) for size in (sizes >> 4, sizes & 15, more_sizes >> 4)]
        index = {0: "", 4: "I", 8: "Q"}.get(more_sizes & 15) if version else ""
        if version > 2 or index is None or None in layouts or not layouts[1]:
            raise Malformed
        offset, length, base = (layout or "" for layout in layouts)
        (count,) = self._read("I" if version == 2 else "H", box.start + 6, box.end)
        at = box.start + (10 if version == 2 else 8)
        head = ("I" if version == 2 else "H") + ("H" if version else "") + "H" + base + "H"
        total = 0
        for _ in range(count):
            item, *middle, extents = self._read(head, at, box.end)
            at += struct.calcsize(">" + head)
            total += extents
            if total > MAX_ITEMS:
                raise Malformed
            method = middle[0] & 15 if version else 0
            start = middle[-1] if base else 0
            pieces = []
            for _ in range(extents):
                values = self._read(index + offset + length, at, box.end)
                at += struct.calcsize(">" + index + offset + length)
                begin = start + (values[len(index)] if offset else 0)
                pieces.append((begin, begin + values[-1]))
            if method in (0, 1):  # others build an item from other items
                yield item, [self._in_file(piece, method) for piece in pieces]

    def _in_file(self, piece: tuple[int, int], method: int) -> tuple[int, int]:
        """Where a piece is in the file; ``method`` 1 counts from the start of the box ``idat``."""
        first, last = 0, len(self._data)
        if method == 1:
            if self._idat is None:
                raise Malformed
            first, last = self._idat.start, self._idat.end
        start, end = piece[0] + first, piece[1] + first
        if not first <= start < end <= last:
            raise Malformed
        return start, end

    def _reference_entries(self, box: Box) -> Iterator[tuple[bytes, int, int]]:
        version, _ = self._version(box)
        layout, size = ("I", 4) if version else ("H", 2)
        total = 0
        for entry in boxes(self._data, box.start + _FULL_BOX, box.end):
            source, count = self._read(layout + "H", entry.start, entry.end)
            total += count
            if total > MAX_ITEMS:
                raise Malformed
            for to in self._read(layout * count, entry.start + size + 2, entry.end):
                yield entry.type, source, to

    def _property_lists(self, box: Box) -> dict[int, list[Box]]:
        parts = {part.type: part for part in boxes(self._data, box.start, box.end)}
        known = list(boxes(self._data, (ipco := parts.get(b"ipco") or _missing()).start, ipco.end))
        ipma = parts.get(b"ipma") or _missing()
        version, flags = self._version(ipma)
        (count,) = self._read("I", ipma.start + 4, ipma.end)
        at = ipma.start + 8
        if count > MAX_ITEMS or len(known) > MAX_ITEMS:
            raise Malformed
        item_layout, index_layout = ("I" if version else "H"), ("H" if flags & 1 else "B")
        lists: dict[int, list[Box]] = {}
        for _ in range(count):
            item, associations = self._read(item_layout + "B", at, ipma.end)
            at += struct.calcsize(">" + item_layout + "B")
            indices = self._read(index_layout * associations, at, ipma.end)
            at += struct.calcsize(">" + index_layout) * associations
            mask = 0x7FFF if flags & 1 else 0x7F
            lists[item] = [known[(index & mask) - 1] for index in indices if index & mask]
        return lists


def first_frame(data: bytes) -> Item | None:
    """The first picture of a file that has no items but a track of pictures; None if it has items.

    Its properties are those of the track (``hvcC``, ``colr``), and the size.

    Raises:
        Malformed, struct.error: the track is broken, or none holds pictures.
    """
    top = {box.type: box for box in boxes(data, 0, len(data)) if box.type in (b"meta", b"moov")}
    if b"meta" in top or b"moov" not in top:
        return None
    for track in boxes(data, top[b"moov"].start, top[b"moov"].end):
        if track.type != b"trak":
            continue
        media = _only(boxes(data, track.start, track.end), b"mdia")
        handler = _only(boxes(data, media.start, media.end), b"hdlr")
        if data[handler.start + 8 : handler.start + 12] in (b"pict", b"vide"):
            table = media
            for name in (b"minf", b"stbl"):
                table = _only(boxes(data, table.start, table.end), name)
            return _first_sample(data, {box.type: box for box in boxes(data, table.start, table.end)})
    raise Malformed


def _first_sample(data: bytes, table: dict[bytes, Box]) -> Item:
    """From a track's table of samples (ISO/IEC 14496-12, 8.5 to 8.7)."""
    described, sizes = table.get(b"stsd") or _missing(), table.get(b"stsz") or _missing()
    entry = next(boxes(data, described.start + 8, described.end), None) or _missing()
    properties = [(box.type, data[box.start : box.end]) for box in boxes(data, entry.start + 78, entry.end)]
    width, height = struct.unpack_from(">HH", data, entry.start + 24)
    properties.append((b"ispe", struct.pack(">III", 0, width, height)))
    size, _, first_size = struct.unpack_from(">III", data, sizes.start + 4)
    if chunks := table.get(b"stco"):
        (offset,) = struct.unpack_from(">I", data, chunks.start + 8)
    else:
        (offset,) = struct.unpack_from(">Q", data, (table.get(b"co64") or _missing()).start + 8)
    end = offset + (size or first_size)
    if not 0 < offset < end <= len(data):
        raise Malformed
    return Item(entry.type, data[offset:end], properties)


def write(items: Sequence[Item]) -> bytes:
    """A file of these items: the first is the primary one, their ids are 1, 2, ... in order."""
    properties: dict[tuple[bytes, bytes], int] = {}
    associations = b""
    for number, item in enumerate(items, 1):
        indices = [properties.setdefault(entry, len(properties) + 1) for entry in item.properties]
        associations += struct.pack(f">HB{len(indices)}H", number, len(indices), *indices)
    information = b"".join(
        _full_box(b"infe", 2, struct.pack(">HH4sx", number, 0, item.type))
        for number, item in enumerate(items, 1)
    )
    references = b"".join(
        _box(kind, struct.pack(f">HH{len(to)}H", number, len(to), *to))
        for number, item in enumerate(items, 1)
        for kind, to in item.references
    )
    contents = b"".join(_box(kind, body) for kind, body in properties)
    ftyp = _box(b"ftyp", b"heic\0\0\0\0mif1heic")

    def meta(first: int) -> bytes:
        """The box, if the content of the first item is at that position of the file."""
        locations, at = b"", first
        for number, item in enumerate(items, 1):
            locations += struct.pack(">HHHII", number, 0, 1, at, len(item.content))
            at += len(item.content)
        body = (
            _full_box(b"hdlr", 0, struct.pack(">I4s12xx", 0, b"pict"))
            + _full_box(b"pitm", 0, struct.pack(">H", 1))
            + _full_box(b"iloc", 0, struct.pack(">BBH", 0x44, 0, len(items)) + locations)
            + _full_box(b"iinf", 0, struct.pack(">H", len(items)) + information)
            + (_full_box(b"iref", 0, references) if references else b"")
            + _box(
                b"iprp",
                _box(b"ipco", contents)
                + _full_box(b"ipma", 0, struct.pack(">I", len(items)) + associations, flags=1),
            )
        )
        return _full_box(b"meta", 0, body)

    start = len(ftyp) + len(meta(0)) + 8
    return b"".join([ftyp, meta(start), _box(b"mdat", b"".join(item.content for item in items))])


def _box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", len(body) + 8, kind) + body


def _full_box(kind: bytes, version: int, body: bytes, *, flags: int = 0) -> bytes:
    return _box(kind, struct.pack(">I", version << 24 | flags) + body)


def _only(found: Iterator[Box], kind: bytes) -> Box:
    return next((box for box in found if box.type == kind), None) or _missing()


def _missing() -> NoReturn:
    raise Malformed

"""Reads a directory of a TIFF file or of an EXIF block (TIFF 6.0, BigTIFF).

``tiff``, ``tiff_pages`` and ``exif`` use it. Every offset and count comes from the file, so each read must check its
bounds.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from service.imaging.formats.file_format import Malformed

_BYTES = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}
"""Type -> size of one value."""
_UNSIGNED = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
"""Type -> ``struct`` layout of an unsigned integer. 13 and 18 are pointers to directories."""

MAX_ENTRIES = 4096
"""Tags in one directory. Files have at most some hundred."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One tag of a directory."""

    at: int
    """Where the entry stands in the file."""
    tag: int
    type: int
    length: int
    """Of the data, in bytes."""
    count: int
    offset: int
    """Where the data stands: in the entry itself if it fits there, else elsewhere in the file."""

    @property
    def is_number(self) -> bool:
        """Whether the entry holds a single unsigned integer."""
        return self.count == 1 and self.type in _UNSIGNED


class Directory:
    """A directory of a file; iterating gives its entries.

    Args:
        data: the file.
        start: where the directory stands; by default it is the first one.

    Raises:
        Malformed: the file is no TIFF, or the directory does not lie within it.
        struct.error: the file ends early. Reading and iterating raise both errors, too.
    """

    def __init__(self, data: bytes, start: int | None = None) -> None:
        self._data = data
        self.order = {b"II": "<", b"MM": ">"}.get(data[:2], "")
        if not self.order:
            raise Malformed
        (version,) = self.read("H", 2)
        if version not in (42, 43):
            raise Malformed
        big = version == 43
        self.pointer_bytes = 8 if big else 4
        self._entry_bytes = 20 if big else 12
        if start is None:
            start = self.read_pointer(8 if big else 4)
        self.start = start
        (count,) = self.read("Q" if big else "H", start)
        self.count = count
        self._first = start + (8 if big else 2)
        self.end = self._first + count * self._entry_bytes
        """Where the entries end and the pointer to the next directory stands."""
        if self.end > len(data) or count > MAX_ENTRIES:
            raise Malformed

    def read(self, layout: str, at: int) -> tuple[int, ...]:
        """Integers of a ``struct`` layout, in the file's byte order."""
        if at > len(self._data):  # struct does not take offsets of 64 bits
            raise Malformed
        return struct.unpack_from(self.order + layout, self._data, at)

    def read_pointer(self, at: int) -> int:
        """An offset into the file."""
        return self.read(self._pointer, at)[0]

    @property
    def _pointer(self) -> str:
        return "Q" if self.pointer_bytes == 8 else "I"

    def __iter__(self) -> Iterator[Entry]:
        for at in range(self._first, self.end, self._entry_bytes):
            tag, value_type, count = self.read("HH" + self._pointer, at)
            length = count * _BYTES.get(value_type, 0)
            offset = at + self._entry_bytes - self.pointer_bytes
            if length > self.pointer_bytes:
                offset = self.read_pointer(offset)
            yield Entry(at, tag, value_type, length, count, offset)

    @property
    def next(self) -> int:
        """Where the next directory of the chain stands; 0 after the last one."""
        return self.read_pointer(self.end)

    def numbers(self, entry: Entry, most: int) -> tuple[int, ...]:
        """The first values, at most ``most``, of an entry that holds unsigned integers.

        Raises:
            Malformed: it holds something else.
        """
        if entry.type not in _UNSIGNED:
            raise Malformed
        return self.read(f"{min(entry.count, most)}{_UNSIGNED[entry.type]}", entry.offset)

    def number(self, entry: Entry) -> int:
        """The value of an entry that holds a single unsigned integer.

        Raises:
            Malformed: it holds something else.
        """
        if not entry.is_number:
            raise Malformed
        return self.read(_UNSIGNED[entry.type], entry.offset)[0]

"""Which of the pictures in a TIFF file is the one: the first of full size, and none if the file is a camera's raw file.

``tiff`` uses it. A TIFF file is a chain of directories, one for each page, and a page may have directories of its own
below it. Thumbnails, smaller copies and masks are marked as such. Raw files are TIFF files, too: their first page is a
thumbnail as a rule, and the sensor data are further on.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator

from service.imaging.formats.file_format import Malformed
from service.imaging.formats.raw import raw_file
from service.imaging.formats.tiff_directory import MAX_ENTRIES, Directory

MAX_PAGES = 256
"""Directories that are looked at; a later page cannot be the one. Long documents have their full pages first."""

_NEW_SUBFILE_TYPE, _SUBFILE_TYPE, _COMPRESSION, _PHOTOMETRIC, _SUB_DIRECTORIES = 254, 255, 259, 262, 330
_DNG_VERSION = 50706
_READ_TAGS = {_NEW_SUBFILE_TYPE, _SUBFILE_TYPE, _COMPRESSION, _PHOTOMETRIC}

_REDUCED, _MASK = 1, 4
"""Bits of NewSubfileType."""
_OLD_REDUCED = 2
_MASK_PHOTOMETRIC = 4
_SENSOR_PHOTOMETRICS = {32803, 34892}
"""A colour filter array, and linear raw data."""
_SENSOR_COMPRESSIONS = {262, 32767, 32769, 32770, 34713, 34826, 34828, 34892, 52546, 65000, 65535}
"""Of Kodak, Sony, Epson, Samsung, Nikon, Panasonic, Adobe (lossy DNG, DNG with JPEG XL) and Pentax."""
_RAW_MARKS = (b"CR\x02", b"IIII", b"MMMM")
"""What Canon (CR2) and Phase One write behind the header."""


def first_page(data: bytes) -> Directory:
    """The directory of the first full-size page.

    Raises:
        UnsupportedType: the file is a camera's raw file, or has thumbnails only.
        Malformed, struct.error: the first directory is broken.
    """
    if data.startswith(_RAW_MARKS, 8):
        raise raw_file()
    full = []
    for directory in _directories(data):
        tags, is_dng = _tags(directory)
        is_sensor = (
            tags.get(_PHOTOMETRIC) in _SENSOR_PHOTOMETRICS or tags.get(_COMPRESSION) in _SENSOR_COMPRESSIONS
        )
        if is_dng or is_sensor:
            raise raw_file()
        if _is_full(tags):
            full.append(directory)
    if not full:  # a thumbnail without its picture: the picture is in a camera's own place
        raise raw_file()
    return full[0]


def is_full_page(directory: Directory) -> bool:
    """Whether a page is a picture, and no thumbnail, smaller copy or mask."""
    tags, _ = _tags(directory)
    return _is_full(tags)


def _directories(data: bytes) -> Iterator[Directory]:
    """The pages in their order, then what is below them; each once, and no more than ``MAX_ENTRIES`` tags in all."""
    seen: set[int] = set()
    entries = 0
    pages: list[Directory] = []
    for directory in itertools.chain(_chain(data), (below for page in pages for below in _below(data, page))):
        if directory.start in seen or entries + directory.count > MAX_ENTRIES:
            continue
        seen.add(directory.start)
        entries += directory.count
        pages.append(directory)
        yield directory


def _chain(data: bytes) -> Iterator[Directory]:
    """The directories of the pages, up to the first broken one; the first must be sound."""
    page = Directory(data)
    seen = {page.start}
    yield page
    for _ in range(MAX_PAGES):
        try:
            start = page.next
            if start == 0 or start in seen:
                return
            seen.add(start)
            page = Directory(data, start)
        except (Malformed, struct.error):
            return
        yield page


def _below(data: bytes, page: Directory) -> Iterator[Directory]:
    for entry in page:
        if entry.tag == _SUB_DIRECTORIES:
            try:
                for start in page.numbers(entry, 16):
                    yield Directory(data, start)
            except (Malformed, struct.error):
                return


def _tags(directory: Directory) -> tuple[dict[int, int], bool]:
    """The values of ``_READ_TAGS``, and whether the directory is one of a DNG file."""
    tags: dict[int, int] = {}
    is_dng = False
    try:
        for entry in directory:
            is_dng |= entry.tag == _DNG_VERSION
            if entry.tag in _READ_TAGS and entry.is_number:
                tags.setdefault(entry.tag, directory.number(entry))
    except (Malformed, struct.error):
        pass  # if it is the page that counts, ``tiff`` reports it
    return tags, is_dng


def _is_full(tags: dict[int, int]) -> bool:
    if tags.get(_PHOTOMETRIC) == _MASK_PHOTOMETRIC:
        return False
    return not tags.get(_NEW_SUBFILE_TYPE, 0) & (_REDUCED | _MASK) and tags.get(_SUBFILE_TYPE) != _OLD_REDUCED

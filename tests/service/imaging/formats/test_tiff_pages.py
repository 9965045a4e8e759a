"""Which page of a TIFF file counts, and which files are raw files."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from service.errors import ServiceError, UnsupportedType
from service.imaging.decode import decode
from service.imaging.formats.tiff_pages import first_page
from tests.support import photos
from tests.support.tiff_files import Field, chained, tiff_file


def page(level: int, width: int = 16, fields: dict[int, Field] | None = None, **settings: object) -> bytes:
    samples = np.full((12, width, 3), level, np.uint8)
    return tiff_file(samples, photometric=2, fields=fields, **settings)  # type: ignore[arg-type]


REDUCED: dict[int, Field] = {254: (4, [1])}
OLD_REDUCED: dict[int, Field] = {255: (3, [2])}
MASK: dict[int, Field] = {254: (4, [4])}
PAGE: dict[int, Field] = {254: (4, [2]), 297: (3, [0, 2])}


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("kinds", "chosen"),
    [
        ([{}, {}], 0),
        ([REDUCED, {}], 1),
        ([OLD_REDUCED, {}], 1),
        ([MASK, REDUCED, {}, {}], 2),
        ([PAGE, PAGE], 0),
        ([{}, REDUCED], 0),
    ],
)
def test_the_first_full_size_page_counts(kinds: list[dict[int, Field]], chosen: int, order: str) -> None:
    file = chained(*(page(i * 40, 16 + i, fields, order=order) for i, fields in enumerate(kinds)))
    picture = decode(file, max_pixels=10**6)
    assert picture.rgb.shape == (12, 16 + chosen, 3)
    assert (picture.rgb == chosen * 40).all()


@pytest.mark.parametrize(
    "file",
    [
        page(9, fields={50706: (1, [1, 4, 0, 0])}),
        chained(page(9, fields=REDUCED | {50706: (1, [1, 4, 0, 0])}), page(9, fields={262: (3, [32803])})),
        chained(page(9, fields=REDUCED), page(9, fields={262: (3, [32803])})),
        chained(page(9, fields=REDUCED), page(9, fields={262: (3, [34892])})),
        chained(page(9), page(9, fields={259: (3, [34713])})),
        chained(page(9), page(9, fields={259: (3, [32767])})),
        page(9, fields=REDUCED),
        page(9, order=">", fields={262: (3, [32803]), 259: (3, [65535])}),
    ],
    ids=["DNG", "DNG, thumbnail first", "sensor", "linear", "NEF", "ARW", "thumbnail only", "PEF"],
)
def test_a_raw_file_is_refused_in_words_and_its_thumbnail_is_not_cut_out(file: bytes) -> None:
    with pytest.raises(UnsupportedType, match="raw file") as caught:
        decode(file, max_pixels=10**6)
    assert caught.value.status == 415


def with_sub_directory(first: dict[int, Field], below: dict[int, Field]) -> bytes:
    """A page, and one below it."""
    pages = chained(page(9, fields=first | {330: (4, [0])}), page(80, 20, fields=below))
    (start,) = struct.unpack_from("<I", pages, 4)
    (count,) = struct.unpack_from("<H", pages, start)
    link = start + 2 + 12 * count
    (second,) = struct.unpack_from("<I", pages, link)
    pages = pages[:link] + bytes(4) + pages[link + 4 :]
    at = next(at for at in range(start + 2, link, 12) if pages[at : at + 2] == struct.pack("<H", 330))
    return pages[: at + 8] + struct.pack("<I", second) + pages[at + 12 :]


def test_sensor_data_below_a_thumbnail_make_a_raw_file() -> None:
    with pytest.raises(UnsupportedType, match="raw file"):
        decode(with_sub_directory(REDUCED, {262: (3, [32803])}), max_pixels=10**6)


def test_a_full_picture_below_a_thumbnail_counts() -> None:
    assert decode(with_sub_directory(REDUCED, {}), max_pixels=10**6).rgb.shape == (12, 20, 3)


@pytest.mark.parametrize("mark", [b"CR\x02\0", b"IIII", b"MMMM"], ids=["CR2", "IIQ", "IIQ, big-endian"])
def test_the_mark_of_a_maker_behind_the_header_makes_a_raw_file(mark: bytes) -> None:
    file = page(9)
    with pytest.raises(UnsupportedType, match="raw file"):
        first_page(file[:8] + mark + file[12:])


def test_a_circle_of_pages_ends() -> None:
    file = bytearray(chained(page(1, fields=REDUCED), page(2, fields=REDUCED)))
    (first,) = struct.unpack_from("<I", file, 4)
    (count,) = struct.unpack_from("<H", file, first)
    (second,) = struct.unpack_from("<I", file, first + 2 + 12 * count)
    struct.pack_into("<I", file, second + 2 + 12 * count, first)
    with pytest.raises(ServiceError):
        first_page(bytes(file))


def test_a_broken_later_page_does_not_matter() -> None:
    file = bytearray(chained(page(70), page(2)))
    (start,) = struct.unpack_from("<I", file, 4)
    (count,) = struct.unpack_from("<H", file, start)
    struct.pack_into("<I", file, start + 2 + 12 * count, len(file) + 99)
    assert (decode(bytes(file), max_pixels=10**6).rgb == 70).all()


@pytest.mark.timeout(30)
def test_many_long_directories_cost_little() -> None:
    """A thousand tags in each of 200 pages, and each with 16 directories below it: minutes, if all are read."""
    tags = 1000
    page_bytes = 2 + 12 * tags + 4
    starts = [8 + i * page_bytes for i in range(200)]
    data = b"II*\0" + struct.pack("<I", 8)
    for i in range(200):
        below = struct.pack("<HHII", 330, 4, 16, 8 + 200 * page_bytes)
        data += struct.pack("<H", tags) + below * tags + struct.pack("<I", [*starts, 0][i + 1])
    data += struct.pack("<16I", *starts[:16])
    assert first_page(data).start == 8


def test_ordinary_tiff_files_are_no_raw_files() -> None:
    for name in photos.MODES:
        if name.startswith("TIFF"):
            assert first_page(photos.mode(name)).start > 0

"""The directory of a TIFF file: its entries, and offsets that lead outside the file."""

from __future__ import annotations

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.imaging.formats.file_format import Malformed
from service.imaging.formats.tiff_directory import Directory
from tests.support import photos


def test_the_entries_are_read_in_either_byte_order() -> None:
    little = struct.pack("<2sHI", b"II", 42, 8) + struct.pack("<HHHIHHI", 1, 274, 3, 1, 6, 0, 0)
    big = struct.pack(">2sHI", b"MM", 42, 8) + struct.pack(">HHHIHHI", 1, 274, 3, 1, 6, 0, 0)
    for data in (little, big):
        directory = Directory(data)
        [entry] = directory
        assert (entry.tag, entry.count, entry.is_number, directory.number(entry)) == (274, 1, True, 6)


def test_a_number_outside_its_entry_is_read_from_the_file() -> None:
    directory = Directory(photos.tiff({}))
    numbers = {entry.tag: directory.number(entry) for entry in directory if entry.is_number}
    assert (numbers[256], numbers[257]) == (8, 8)


def test_an_entry_with_several_values_is_not_a_number() -> None:
    directory = Directory(photos.tiff({258: (3, [8, 8, 8])}))
    [entry] = [entry for entry in directory if entry.tag == 258]
    assert not entry.is_number
    with pytest.raises(Malformed):
        directory.number(entry)


@pytest.mark.parametrize(
    "data",
    [
        b"XX*\0" + bytes(20),
        struct.pack("<2sHI", b"II", 41, 8) + bytes(20),
        struct.pack("<2sHI", b"II", 42, 1 << 31) + bytes(20),
        struct.pack("<2sHIH", b"II", 42, 8, 60_000),
    ],
    ids=["byte order", "version", "offset outside", "more entries than bytes"],
)
def test_a_file_without_a_whole_directory_is_malformed(data: bytes) -> None:
    with pytest.raises((Malformed, struct.error)):
        Directory(data)


@given(st.binary(max_size=80), st.sampled_from([b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"]))
def test_any_bytes_give_entries_or_one_of_the_two_errors(data: bytes, start: bytes) -> None:
    with suppress(Malformed, struct.error):
        list(Directory(start + data))

"""The items of HEIF files: what is written can be read, and broken numbers end in a refusal."""

from __future__ import annotations

import struct
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.imaging.formats.file_format import Malformed
from service.imaging.formats.heif_boxes import MAX_ITEMS, HeifFile, Item, boxes, brands, first_frame, write
from tests.support import heic_files
from tests.support.examples import examples

REFUSALS = (Malformed, struct.error, IndexError)

TYPES = st.binary(min_size=4, max_size=4)
ITEMS = st.lists(
    st.builds(
        Item,
        TYPES,
        st.binary(min_size=1, max_size=50),
        st.lists(st.tuples(TYPES, st.binary(max_size=20)), max_size=4),
    ),
    min_size=1,
    max_size=20,
)


@given(ITEMS)
def test_what_is_written_is_read_again(items: list[Item]) -> None:
    for first, _ in pairwise(range(1, len(items) + 1)):
        items[first - 1].references = [(b"dimg", [first, first + 1])]
    file = HeifFile(write(items))
    assert file.primary == 1
    for number, item in enumerate(items, 1):
        assert file.types[number] == item.type
        assert file.content(number) == item.content
        assert file.length(number) == len(item.content)
        assert file.properties(number) == item.properties
        assert file.references_from(number, b"dimg") == (item.references[0][1] if item.references else [])
    assert file.references_to(1, b"dimg") == ([1] if len(items) > 1 else [])


def read_everything(data: bytes) -> None:
    file = HeifFile(data)
    for item in file.types:
        file.properties(item)
        file.content(item)


@settings(deadline=None, max_examples=examples(300))
@given(st.sampled_from(["scene", "rgba", "grid"]), st.data())
def test_a_damaged_file_is_read_or_refused(name: str, data: st.DataObject) -> None:
    damaged = bytearray(heic_files.grid() if name == "grid" else heic_files.sample(name))
    for at, value in data.draw(
        st.lists(st.tuples(st.integers(0, 600), st.integers(0, 255)), min_size=1, max_size=6)
    ):
        damaged[at] = value
    try:
        read_everything(bytes(damaged))
        first_frame(bytes(damaged))
    except REFUSALS:
        pass


@given(st.binary(max_size=300))
def test_random_boxes_are_refused(data: bytes) -> None:
    with pytest.raises(REFUSALS):
        HeifFile(data)


def test_a_sequence_cut_short_anywhere_is_refused() -> None:
    data = heic_files.sequence()
    assert first_frame(data) is not None
    for end in range(32, len(data), 13):
        with pytest.raises(REFUSALS):
            first_frame(data[:end])


def test_too_many_items_are_refused() -> None:
    items = [Item(b"hvc1", b"x", [])] * (MAX_ITEMS + 1)
    with pytest.raises(Malformed):
        HeifFile(write(items))


def test_a_box_may_have_a_long_size_or_reach_to_the_end() -> None:
    data = struct.pack(">I4sQ2s", 1, b"long", 18, b"ab") + struct.pack(">I4s3s", 0, b"last", b"cde")
    found = [(box.type, data[box.start : box.end]) for box in boxes(data, 0, len(data))]
    assert found == [(b"long", b"ab"), (b"last", b"cde")]


def test_brands_are_those_of_the_first_box_without_its_version() -> None:
    data = struct.pack(">I4s4s4s4s", 20, b"ftyp", b"heic", b"avif", b"mif1") + b"xxxx"
    assert brands(data) == {b"heic", b"mif1"}
    assert brands(b"\0\0\0\x14free") == frozenset()

"""The colour and the size of the primary picture of an ISO base media file, sound or broken."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.imaging.colour.encoding import from_code_points
from service.imaging.formats.file_format import Malformed
from service.imaging.formats.iso_media import declared_encoding, primary_extent
from tests.support import declared, photos
from tests.support.examples import examples


def box(name: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I4s", 8 + len(body), name) + body


def nclx(primaries: int, transfer: int) -> bytes:
    return box(b"colr", b"nclx", struct.pack(">HHHB", primaries, transfer, 6, 0x80))


def file(
    properties: list[bytes], associations: dict[int, list[int]], *, primary: int = 1, wide: bool = False
) -> bytes:
    """A file with those properties; item -> numbers of its properties. ``wide``: all fields in their longer form."""
    number = ">I" if wide else ">H"
    ipma = struct.pack(">BBBBI", wide, 0, 0, wide, len(associations))
    for item, indices in associations.items():
        ipma += struct.pack(number, item) + bytes([len(indices)])
        ipma += b"".join(
            struct.pack(">H" if wide else ">B", index | (0x8000 if wide else 0x80)) for index in indices
        )
    return box(b"ftyp", b"avif") + box(
        b"meta",
        bytes(4),
        box(b"pitm", bytes([wide, 0, 0, 0]), struct.pack(number, primary)),
        box(b"iprp", box(b"ipco", *properties), box(b"ipma", ipma)),
    )


P3 = from_code_points(12, 13)


@pytest.mark.parametrize("wide", [False, True])
def test_the_colour_of_the_primary_item_counts(wide: bool) -> None:
    properties = [box(b"ispe", bytes(12)), nclx(9, 16), nclx(12, 13)]
    assert declared_encoding(file(properties, {1: [1, 3], 2: [1, 2]}, wide=wide)) == P3
    assert declared_encoding(
        file(properties, {1: [1, 3], 2: [1, 2]}, primary=2, wide=wide)
    ) == from_code_points(9, 16)


def test_a_grid_without_a_colour_has_that_of_its_tiles() -> None:
    assert declared_encoding(file([nclx(12, 13), box(b"ispe", bytes(12))], {1: [2], 2: [1]})) == P3


@pytest.mark.parametrize("kind", [b"prof", b"rICC"])
def test_a_profile_decides_before_nclx(kind: bytes) -> None:
    assert declared_encoding(file([nclx(12, 13), box(b"colr", kind, declared.P3)], {1: [1, 2]})) is None


def test_a_sequence_has_the_colour_of_its_first_track() -> None:
    entry = box(b"av01", bytes(78), box(b"av1C", bytes(4)), nclx(12, 13))
    stsd = box(b"stsd", bytes(4), struct.pack(">I", 1), entry)
    track = box(b"trak", box(b"mdia", box(b"minf", box(b"stbl", stsd))))
    assert declared_encoding(box(b"ftyp", b"avis") + box(b"moov", track)) == P3


def test_a_box_may_have_a_length_of_64_bits_or_reach_to_the_end() -> None:
    whole = file([nclx(12, 13)], {1: [1]})
    at = whole.index(b"meta") - 4
    meta = whole[at + 8 :]
    assert declared_encoding(whole[:at] + struct.pack(">I4sQ", 1, b"meta", 16 + len(meta)) + meta) == P3
    assert declared_encoding(whole[:at] + struct.pack(">I4s", 0, b"meta") + meta) == P3


@pytest.mark.parametrize(
    "data", [b"", b"\0\0\0\x08meta", b"\0\0\0\0meta", file([], {}), file([nclx(1, 13)], {1: [1]})]
)
def test_nothing_readable_means_srgb(data: bytes) -> None:
    assert declared_encoding(data) is None


@given(st.data())
@settings(max_examples=examples(300), deadline=None)
def test_broken_boxes_end_in_an_encoding_or_none(data: st.DataObject) -> None:
    damaged = bytearray(
        data.draw(st.sampled_from([photos.mode("AVIF"), file([nclx(12, 13)], {1: [1]}, wide=True)]))
    )
    for at, value in data.draw(
        st.lists(st.tuples(st.integers(0, len(damaged) - 1), st.integers(0, 255)), max_size=9)
    ):
        damaged[at] = value
    declared_encoding(bytes(damaged[: data.draw(st.integers(0, len(damaged)))]))


# -- size --------------------------------------------------------------------------------------------------------


def extent(width: int, height: int) -> bytes:
    return box(b"ispe", struct.pack(">III", 0, width, height))


@pytest.mark.parametrize("wide", [False, True])
def test_the_size_is_that_of_the_primary_item(wide: bool) -> None:
    properties = [extent(9000, 9000), nclx(12, 13), extent(30, 20)]
    associations = {7: [1], 8: [2, 3], 9: [1, 2]}
    assert primary_extent(file(properties, associations, primary=8, wide=wide)) == (30, 20)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        file([extent(30, 20)], {1: [1]}, primary=2),
        file([extent(30, 20)], {1: [2]}),
        file([extent(30, 20), extent(3, 2)], {1: [1, 2]}),
        file([extent(30, 20), box(b"clap", bytes(32))], {1: [1, 2]}),
        file([extent(30, 20)] * 1000, {1: [1]}),
        file([extent(30, 20)], {item: [1] for item in range(5000)}, primary=4999),
        file([extent(30, 20)], {1: [1]}).replace(b"avif", b"avis", 1),
        file([extent(30, 20)], {1: [1]})[:-1],
    ],
    ids=[
        "nothing",
        "no such item",
        "no such property",
        "two sizes",
        "a part",
        "many properties",
        "many items",
        "a sequence",
        "cut short",
    ],
)
def test_a_size_that_is_not_certain_or_dear_to_find_is_not_said(data: bytes) -> None:
    with pytest.raises((Malformed, struct.error, IndexError)):
        primary_extent(data)

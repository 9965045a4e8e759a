"""HEIC files: what reaches the decoder, the orientation, and files whose numbers do not fit each other."""

from __future__ import annotations

import struct
from io import BytesIO
from itertools import product

import numpy as np
import numpy.typing as npt
import pytest
from pi_heif.as_plugin import HeifImageFile
from PIL import Image, ImageCms

from service.errors import ServiceError, Undecodable
from service.imaging.decode import decode
from service.imaging.formats.heic import HEIC
from service.imaging.formats.heif_boxes import HeifFile, Item, write
from service.imaging.picture import Picture
from tests.support import declared, heic_files, photos
from tests.support.heic_files import ALPHA, DEPTH, grid, picture, size_property, turned

SCENE = photos.photograph()


def read(data: bytes) -> Picture:
    return decode(data, max_pixels=1_000_000)


def ftyp(*brands: bytes) -> bytes:
    body = brands[0] + bytes(4) + b"".join(brands[1:])
    return struct.pack(">I4s", len(body) + 8, b"ftyp") + body + bytes(99)


@pytest.mark.parametrize(
    ("brands", "matches"),
    [
        ((b"heic", b"mif1", b"heic"), True),
        ((b"heix",), True),
        ((b"hevc", b"msf1"), True),
        ((b"heim",), True),
        ((b"heis",), True),
        ((b"mif1", b"heic"), True),
        ((b"mif1",), True),
        ((b"mif1", b"miaf", b"avif"), False),
        ((b"avif", b"mif1"), False),
        ((b"mp42", b"isom"), False),
    ],
)
def test_a_file_is_a_heic_by_its_brands_unless_it_is_an_avif(
    brands: tuple[bytes, ...], matches: bool
) -> None:
    assert HEIC.matches(ftyp(*brands)) is matches


def test_a_picture_decodes() -> None:
    assert photos.error(read(heic_files.sample("scene")).rgb, SCENE) < 1


def test_a_picture_of_ten_bits_becomes_one_of_eight() -> None:
    assert photos.error(read(heic_files.sample("ten-bit")).rgb, SCENE) < 1


def test_tiles_are_joined_and_what_lies_beyond_the_picture_is_cut_off() -> None:
    found = read(grid()).rgb
    assert found.shape == (64, 96, 3)
    assert photos.error(found, SCENE) < 1


def rotation(quarters: int) -> heic_files.Property:
    return b"irot", bytes([quarters])


def mirror(axis: int) -> heic_files.Property:
    return b"imir", bytes([axis])


TURNS = [
    *(((rotation(n),)) for n in range(4)),
    *(((mirror(n),)) for n in range(2)),
    *((rotation(n), mirror(axis)) for n, axis in product(range(4), range(2))),
    *((mirror(axis), rotation(n)) for n, axis in product(range(4), range(2))),
]


@pytest.mark.parametrize("properties", TURNS)
def test_rotations_and_reflections_apply_once_and_as_libheif_applies_them(
    properties: tuple[heic_files.Property, ...],
) -> None:
    data = turned(*properties)
    expected = np.asarray(HeifImageFile(BytesIO(data)).convert("RGB"))
    assert np.array_equal(read(data).rgb, expected)


def test_exif_does_not_turn_a_picture() -> None:
    """HEIF says so; cameras write the same orientation in both places."""
    data = heic_files.with_metadata(photos.exif(6).tobytes().removeprefix(b"Exif\0\0"))
    assert photos.error(read(data).rgb, SCENE) < 1


def test_no_metadata_reaches_the_decoder() -> None:
    data = heic_files.with_metadata(photos.exif(secret=True).tobytes())
    assert photos.SECRET.encode() in data
    assert photos.SECRET.encode() not in HEIC.strip_metadata(data).data


def test_an_alpha_picture_is_the_transparency() -> None:
    grey = read(heic_files.sample("grey")).rgb[..., 0]
    found = read(heic_files.with_auxiliary(ALPHA))
    assert found.alpha is not None
    assert photos.error(found.alpha, grey) < 2


def own_colours(picture: Picture) -> npt.NDArray[np.float64]:
    """The colours before the picture was composited over its ground."""
    assert picture.alpha is not None
    weight = np.maximum(picture.alpha, 1)[..., np.newaxis] / 255
    return (picture.rgb - np.array(picture.ground) * (1 - weight)) / weight


def test_colours_that_are_multiplied_by_the_transparency_are_divided_by_it() -> None:
    found = read(heic_files.with_auxiliary(ALPHA, premultiplied=True))
    plain = read(heic_files.with_auxiliary(ALPHA))
    own, multiplied = own_colours(found), own_colours(plain)
    assert found.alpha is not None
    soft = (found.alpha > 80) & (found.alpha < 200)
    assert float((own - multiplied)[soft].mean()) > 5


def test_other_auxiliary_pictures_are_passed_over() -> None:
    data = heic_files.with_auxiliary(DEPTH)
    found = read(data)
    assert found.alpha is None
    assert photos.error(found.rgb, SCENE) < 1
    assert len(HeifFile(HEIC.strip_metadata(data).data).types) == 1


def test_only_the_primary_picture_and_its_tiles_are_copied() -> None:
    whole = HeifFile(grid())
    items = [Item(whole.types[n], whole.content(n), whole.properties(n)) for n in (1, 2, 3)]
    items[0].references.append((b"dimg", [2, 3]))
    data = write([*items, picture("grey"), picture("scene")])
    copy = HeifFile(HEIC.strip_metadata(data).data)
    assert list(copy.types.values()) == [b"grid", b"hvc1", b"hvc1"]


def test_a_profile_survives_and_numbers_are_handed_to_the_colour_code() -> None:
    profile = photos.srgb_profile()
    assert read(turned((b"colr", b"prof" + profile))).icc == profile
    stripped = HEIC.strip_metadata(turned(heic_files.nclx(12, 13, 6)))
    image = HEIC.open(BytesIO(stripped.data))
    assert image.info["nclx_profile"]["color_primaries"] == 12
    assert image.info["nclx_profile"]["transfer_characteristics"] == 13


def hostile() -> dict[str, bytes]:
    """Files whose parts contradict each other."""
    scene = heic_files.sample("scene")
    at = scene.index(b"ispe") + 8
    huge = picture("scene", size_property(1 << 31, 1 << 31), without=b"ispe")
    return {
        "the frame is larger than the file says": turned_size(16, 16),
        "the picture has no size": write([picture("scene", without=b"ispe")]),
        "the picture has no configuration": write([picture("scene", without=b"hvcC")]),
        "the picture has two sizes": write([picture("scene", size_property(96, 64 + 1))]),
        "the picture is zero-sized": scene[:at] + bytes(8) + scene[at + 8 :],
        "the picture claims an exapixel": write([huge]),
        "the grid has too few tiles": grid(columns=4),
        "the grid has too many tiles": grid(tiles=("left", "right", "right")),
        "the grid's tiles lie outside": grid(rows=2, columns=2, tiles=("left",) * 4),
        "the grid's tiles do not cover it": grid(size=(200, 64)),
        "the grid's tiles differ": grid(tiles=("left", "scene")),
        "the grid's tiles have other samples": write(mixed_grid()),
        "the grid has two sizes": grid(claimed=(90, 64)),
        "the grid has no tiles": grid(tiles=()),
        "the grid is cut short": write([Item(b"grid", b"\0\0", [size_property(96, 64)])]),
        "the grid is made of itself": write(
            [
                Item(
                    b"grid",
                    struct.pack(">BBBBHH", 0, 0, 0, 0, 96, 64),
                    [size_property(96, 64)],
                    [(b"dimg", [1])],
                )
            ]
        ),
        "the transparency is larger than the picture": write(
            [picture("left"), Item(*with_reference(picture("grey", ALPHA)))]
        ),
        "another coding": write([Item(b"av01", b"x", [size_property(96, 64)])]),
        "no item": ftyp(b"heic") + b"\0\0\0\x08meta",
    }


def mixed_grid() -> list[Item]:
    """Two tiles of one size, of 8 and of 10 bits."""
    content = struct.pack(">BBBBHH", 0, 0, 0, 1, 192, 64)
    whole = Item(b"grid", content, [size_property(192, 64)], [(b"dimg", [2, 3])])
    return [whole, picture("scene"), picture("ten-bit")]


def turned_size(width: int, height: int) -> bytes:
    return write([picture("scene", size_property(width, height), without=b"ispe")])


def with_reference(
    item: Item,
) -> tuple[bytes, bytes, list[tuple[bytes, bytes]], list[tuple[bytes, list[int]]]]:
    return item.type, item.content, item.properties, [(b"auxl", [1])]


@pytest.mark.parametrize("name", hostile())
def test_a_file_that_contradicts_itself_is_refused(name: str) -> None:
    with pytest.raises(ServiceError) as caught:
        read(hostile()[name])
    assert caught.value.status == 422


def test_a_picture_in_another_coding_is_refused_in_words() -> None:
    with pytest.raises(Undecodable, match="not coded in HEVC"):
        read(hostile()["another coding"])


def test_a_second_parameter_set_in_the_stream_does_not_reach_the_decoder() -> None:
    """It could say another size, which a decoder would allocate."""
    scene = picture()
    parameters = bytes([33 << 1, 1]) + bytes(30)
    scene.content = struct.pack(">I", len(parameters)) + parameters + scene.content
    stripped = HEIC.strip_metadata(write([scene]))
    assert parameters not in stripped.data
    assert photos.error(read(write([scene])).rgb, SCENE) < 1


def test_a_second_picture_in_the_stream_does_not_reach_the_decoder() -> None:
    """A decoder would keep a frame for each."""
    scene = picture()
    once = HEIC.strip_metadata(write([scene])).data
    scene.content *= 3
    assert HEIC.strip_metadata(write([scene])).data == once


def test_a_sequence_without_a_single_picture_shows_its_first_frame() -> None:
    assert photos.error(read(heic_files.sequence()).rgb, SCENE) < 1


def test_a_profile_that_many_tiles_share_is_copied_once() -> None:
    profile = (b"colr", b"prof" + bytes(1 << 20))
    tiles = 1000
    whole = Item(
        b"grid",
        struct.pack(">BBBBHH", 0, 0, 9, 99, 6400, 640),
        [size_property(6400, 640)],
        [(b"dimg", list(range(2, 2 + tiles)))],
    )
    data = write([whole, *(picture("left", profile) for _ in range(tiles))])
    assert len(HEIC.strip_metadata(data).data) <= len(data)


def test_bytes_that_many_tiles_share_are_not_copied_for_each() -> None:
    """A small file would grow by the number of its tiles."""
    tiles = 200
    data = bytearray(grid(size=(tiles * 64, 64), columns=tiles, tiles=("left",) * tiles))
    at = data.index(b"iloc") + 12
    first = data[at + 14 : at + 14 + 14]  # the entry of the first tile
    for tile in range(tiles):
        entry = at + 14 * (tile + 1)
        data[entry + 6 : entry + 14] = first[6:14]
    del data[-190 * len(picture("left").content) :]
    box = data.index(b"mdat") - 4
    data[box : box + 4] = struct.pack(">I", len(data) - box)
    with pytest.raises(Undecodable):
        HEIC.strip_metadata(bytes(data))


def test_a_file_cut_short_anywhere_is_refused() -> None:
    for data in (heic_files.sample("scene"), grid(), heic_files.sample("rgba")):
        for end in range(12, len(data), 97):
            with pytest.raises(ServiceError):
                read(data[:end])


def test_the_decoder_sees_a_file_that_pillow_can_open_again() -> None:
    stripped = HEIC.strip_metadata(grid(rotation(1)))
    assert stripped.size == (96, 64)
    assert stripped.orientation == 8
    assert isinstance(HEIC.open(BytesIO(stripped.data)), Image.Image)


def test_colours_that_are_declared_by_numbers_become_srgb() -> None:
    plain = read(heic_files.sample("scene")).rgb
    declared_p3 = read(turned(heic_files.nclx(12, 13, 6)))
    shown = ImageCms.profileToProfile(
        Image.fromarray(plain),
        ImageCms.ImageCmsProfile(BytesIO(declared.P3)),
        ImageCms.createProfile("sRGB"),
        outputMode="RGB",
    )
    assert shown is not None
    assert declared_p3.icc is None
    assert photos.error(declared_p3.rgb, np.asarray(shown)) < 2
    assert photos.error(declared_p3.rgb, plain) > 3

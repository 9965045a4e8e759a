"""HEIC: a HEIF file (ISO/IEC 23008-12) whose picture is coded in HEVC, as phones write it.

``recognise`` lists it. The decoder (libheif with libde265) gets a file that is written here. It holds the picture, the
tiles that it is made of, and its transparency. Thumbnails, depth maps, gain maps, further pictures and all metadata are
left out. So the decoder meets no structure that was not checked: every size that it will allocate is known before.

What the file says about its colours by numbers (``nclx``) becomes sRGB here, through ``iso_media``. A profile is in the
decoder's ``info["icc_profile"]``.

The orientation is that of the picture's own properties. HEIF says that the orientation in EXIF does not count, and
cameras write both.
"""

from __future__ import annotations

import struct
from io import BytesIO

import numpy as np
from PIL.ImageFile import ImageFile

from service.errors import Undecodable
from service.imaging.formats.file_format import FileFormat, Malformed, StrippedFile
from service.imaging.formats.heif_boxes import HeifFile, Item, brands, first_frame, write
from service.imaging.formats.hevc import Configuration
from service.imaging.formats.iso_media import declared_encoding, primary_extent
from service.imaging.formats.opened import in_srgb

DECODING_THREADS = 2
"""Of the decoder, for the tiles of one picture. Several pictures are decoded at the same time already."""

_BRANDS = frozenset(
    (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1", b"MiHE")
)
_OTHER_BRANDS = frozenset((b"avif", b"avis"))
_ALPHA = (b"urn:mpeg:hevc:2015:auxid:1\0", b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0")
_KEPT_PROPERTIES = {b"hvcC", b"ispe", b"colr", b"clap", b"auxC"}
_CODED, _GRID = b"hvc1", b"grid"

_SAMPLES = slice(16, 19)
"""Where an ``hvcC`` says the chroma format and the depths, which were compared with the stream's own."""

_LEAST_TILE = 64
"""Pixels: the smallest side of a tile that the format allows (ISO/IEC 23000-22). Each tile costs a decoder's start."""
_PADDING = 64
"""Pixels that a side of a coded frame may have beyond the picture: frames are made of blocks."""

# The pixels of a 2 x 2 image after the orientations 1-8 of EXIF have been applied to it.
_ORIENTATIONS: dict[tuple[int, ...], int] = {
    (0, 1, 2, 3): 1,
    (1, 0, 3, 2): 2,
    (3, 2, 1, 0): 3,
    (2, 3, 0, 1): 4,
    (0, 2, 1, 3): 5,
    (2, 0, 3, 1): 6,
    (3, 1, 2, 0): 7,
    (1, 3, 0, 2): 8,
}


def _matches(data: bytes) -> bool:
    # AVIF files are built alike and share the brand "mif1".
    found = brands(data)
    return not found.isdisjoint(_BRANDS) and found.isdisjoint(_OTHER_BRANDS)


def _strip(data: bytes) -> StrippedFile:
    if (frame := first_frame(data)) is not None:
        return StrippedFile(
            write([_checked(frame)]),
            _size_in(frame.properties),
            open=in_srgb(_open, declared_encoding(data)),
        )
    file = HeifFile(data)
    budget = _Budget(len(data))
    items = _picture(file, file.primary, budget, first=1)
    alpha = next((item for item in file.references_to(file.primary, b"auxl") if _is_alpha(file, item)), None)
    size = _size(file, file.primary)
    if alpha is not None:
        if any(side > limit for side, limit in zip(_size(file, alpha), size, strict=True)):
            raise Malformed
        transparency = _picture(file, alpha, budget, first=len(items) + 1)
        transparency[0].references.append((b"auxl", [1]))
        if alpha in file.references_from(file.primary, b"prem"):
            items[0].references.append((b"prem", [len(items) + 1]))
        items += transparency
    return StrippedFile(
        write(items),
        size,
        _orientation(file.properties(file.primary)),
        open=in_srgb(_open, declared_encoding(data)),
    )


class _Budget:
    """Limits the bytes that are copied: several items may lie at the same place in the file."""

    def __init__(self, total: int) -> None:
        self._left = total

    def take(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise Malformed


def _picture(file: HeifFile, item: int, budget: _Budget, *, first: int) -> list[Item]:
    """A picture, and after it the tiles that it is made of, for a file in which its id is ``first``."""
    kind = file.types.get(item)
    if kind == _CODED:
        return [_coded(file, item, budget)]
    if kind != _GRID:
        raise Undecodable(
            "The picture in the HEIC file is not coded in HEVC, or is composed in an unusual way. "
            "Send it as JPEG or PNG."
        )
    tiles = file.references_from(item, b"dimg")
    budget.take(file.length(item))
    content = file.content(item)
    _check_grid(content, _size(file, item), [_size(file, tile) for tile in tiles])
    kept = [entry for entry in file.properties(item) if entry[0] in _KEPT_PROPERTIES]
    grid = Item(_GRID, content, kept)
    grid.references.append((b"dimg", list(range(first + 1, first + 1 + len(tiles)))))
    coded = [_coded(file, tile, budget) for tile in tiles]
    if len({_only(tile.properties, b"hvcC")[_SAMPLES] for tile in coded}) != 1:
        raise Malformed
    return [grid, *coded]


def _coded(file: HeifFile, item: int, budget: _Budget) -> Item:
    budget.take(file.length(item))
    return _checked(Item(file.types.get(item, b""), file.content(item), file.properties(item)))


def _checked(item: Item) -> Item:
    """A picture coded in HEVC, once it is sure that the decoder's frame is as the file says."""
    if item.type != _CODED:
        raise Malformed
    properties = [entry for entry in item.properties if entry[0] in _KEPT_PROPERTIES]
    configuration = Configuration(_only(properties, b"hvcC"))
    frame, claimed = configuration.frame, _size_in(properties)
    if frame.size != claimed or any(
        side > limit + _PADDING for side, limit in zip(frame.coded, claimed, strict=True)
    ):
        raise Malformed
    return Item(_CODED, configuration.slices(item.content), properties)


def _check_grid(grid: bytes, size: tuple[int, int], tiles: list[tuple[int, int]]) -> None:
    """Make sure that a grid has the tiles that it needs and no more, and the size that the file says."""
    _, flags, rows, columns = struct.unpack_from(">BBBB", grid)
    rows, columns = rows + 1, columns + 1
    claimed = struct.unpack_from(">II" if flags & 1 else ">HH", grid, 4)
    if claimed != size or len(tiles) != rows * columns or len(set(tiles)) != 1:
        raise Malformed
    for side, tile, count in zip(size, tiles[0], (columns, rows), strict=True):
        if tile < _LEAST_TILE or not (count - 1) * tile < max(side, 1) <= count * tile:
            raise Malformed


def _only(properties: list[tuple[bytes, bytes]], kind: bytes) -> bytes:
    found = [body for name, body in properties if name == kind]
    if len(found) != 1:
        raise Malformed
    return found[0]


def _size(file: HeifFile, item: int) -> tuple[int, int]:
    return _size_in(file.properties(item))


def _size_in(properties: list[tuple[bytes, bytes]]) -> tuple[int, int]:
    width, height = struct.unpack_from(">II", _only(properties, b"ispe"), 4)
    return width, height


def _is_alpha(file: HeifFile, item: int) -> bool:
    return any(name == b"auxC" and body[4:].startswith(_ALPHA) for name, body in file.properties(item))


def _orientation(properties: list[tuple[bytes, bytes]]) -> int:
    """The EXIF orientation that does the same as the picture's rotations and reflections, in their order."""
    pixels = np.arange(4).reshape(2, 2)
    for name, body in properties:
        if name == b"irot":
            pixels = np.rot90(pixels, body[0] & 3)  # anticlockwise
        elif name == b"imir":
            pixels = pixels[:, ::-1] if body[0] & 1 else pixels[::-1]
    return _ORIENTATIONS[tuple(pixels.ravel().tolist())]  # the eight are all that these operations can give


def _open(file: BytesIO) -> ImageFile:
    # Imported with the first HEIC file: most services never see one.
    from pi_heif import options  # noqa: PLC0415
    from pi_heif.as_plugin import HeifImageFile  # noqa: PLC0415

    options.DECODE_THREADS = DECODING_THREADS
    options.THUMBNAILS = options.DEPTH_IMAGES = options.AUX_IMAGES = False
    image: ImageFile = HeifImageFile(file)
    return image


HEIC = FileFormat("HEIC", _matches, _strip, _open, primary_extent)

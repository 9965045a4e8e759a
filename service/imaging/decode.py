"""From the bytes of an image file to upright RGB pixels.

The pipeline calls ``decode`` in a thread of its pool. It must keep only three parts of the input: its pixels, its
transparency, and its ICC profile if that is an RGB one. It drops EXIF with its GPS position, XMP, comments and further
frames; ``service.imaging.formats.recognise`` says why. The peak memory that ``decode`` states is tested.
"""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import AvifImagePlugin, Image

from service.errors import BadDimensions, NoPixels, ServiceError, Undecodable
from service.host.out_of_memory import can_allocate, require, says_no_memory
from service.imaging.colour import modes, profiles, transparency
from service.imaging.formats.exif import exif_orientation
from service.imaging.formats.file_format import FileFormat, StrippedFile
from service.imaging.formats.opened import IntoArray, Opened
from service.imaging.formats.recognise import FORMATS, recognise
from service.imaging.picture import Picture, Pixels, strips

_FLIPS = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}
"""EXIF orientation -> how OpenCV flips the pixels: 0 upside down, 1 left and right, -1 both. From 5 on, rows and
columns are swapped before."""

_ROWS_TURNED = 32
"""So many rows at once make runs of bytes in the turned picture that are long enough to be written fast."""


def configure_pillow() -> None:
    """Set Pillow's limits for the whole process. Start-up calls this once, before the first picture."""
    # The header is checked against our own limit. Pillow's would warn, and refuse pictures below a larger setting.
    Image.MAX_IMAGE_PIXELS = None
    # Several pictures are decoded at the same time already; the default is one thread for each core of the host.
    AvifImagePlugin.DEFAULT_MAX_THREADS = 2


def decodes_alone(data: bytes) -> bool:
    """Whether no other such file may be decoded at the same time. The first bytes tell; the caller must see to it."""
    return any(file_format.decodes_alone and file_format.matches(data) for file_format in FORMATS)


def decode(data: bytes, *, max_pixels: int) -> Picture:
    """Decode the first frame of an image file.

    What a file declares about its colours, its transparency and its pages is honoured as ``docs/pictures.md`` says.
    Deeper samples become 8 bits; signed integers must lie in 0-65535 and floats in 0-1. CMYK, Lab and grey pixels
    become sRGB, through their own profile if they bring one. A broken profile is ignored.

    Peak memory: at most ``peak_bytes`` (24 bytes a pixel; of these, a HEIC of 12 bits with transparency takes 21, WebP
    20, other HEIC 9-13, a JPEG 3-12, a PNG 9), the result included. No file takes more than one of ``max_pixels``
    pixels does, except where ``decodes_alone``.

    Raises:
        UnsupportedType: not an image, a format outside the allow-list, or a camera's raw file.
        BadDimensions: zero-sized, or width x height above ``max_pixels``; read from the header, before decoding.
        Undecodable: damaged, truncated, or a variant without a meaning in 8-bit RGB.
        MemoryError: there was not enough memory, or decoding failed when there was not.
    """
    file_format = recognise(data)
    stripped = file_format.strip_metadata(data)
    size = stripped.size
    if size is not None:
        check_size(size, max_pixels)
    try:
        image = _open(file_format, stripped)
        size = image.size
        check_size(size, max_pixels)
        require(peak_bytes(size[0] * size[1], len(data)), "decoding")
        orientation = _orientation(stripped, image)
        image.load()
        return _upright_picture(image, orientation)
    except ServiceError:
        raise
    # Pillow has no common base for what damaged files raise (OSError, SyntaxError, ValueError, EOFError, struct.error,
    # zlib.error, ...).
    except Exception as error:
        width, height = size or (0, 0)
        if says_no_memory(error) or not can_allocate(peak_bytes(width * height, len(data))):
            raise MemoryError(f"while decoding a {file_format.name} image") from error
        raise _undecodable(file_format) from error


def peak_bytes(pixels: int, length: int) -> int:
    """The most memory that decoding a file of that many pixels and bytes takes."""
    return 24 * pixels + 3 * length + (16 << 20)


def upright_size(data: bytes) -> tuple[int, int]:
    """Width and height in pixels of the first frame, turned upright, from the header; no pixel is decoded.

    Raises:
        UnsupportedType: as ``decode``.
        Undecodable: the header is damaged.
    """
    file_format = recognise(data)
    try:
        stripped = file_format.strip_metadata(data)
        image = _open(file_format, stripped)
        orientation = _orientation(stripped, image)
    except ServiceError:
        raise
    except Exception as error:  # as in decode
        raise _undecodable(file_format) from error
    width, height = image.size  # a part of the coded picture, if the file says so
    return (height, width) if orientation >= 5 else (width, height)


def _open(file_format: FileFormat, stripped: StrippedFile) -> Opened:
    return (stripped.open or file_format.open)(BytesIO(stripped.data))


def _orientation(stripped: StrippedFile, image: Opened) -> int:
    if stripped.orientation is not None:
        return stripped.orientation
    return exif_orientation(image.info.get("exif", b""))


def _undecodable(file_format: FileFormat) -> Undecodable:
    return Undecodable(
        f"The {file_format.name} image cannot be decoded. It is damaged, incomplete, or of an unusual kind."
    )


def check_size(size: tuple[int, int], max_pixels: int) -> None:
    """Refuse a picture by its size in pixels.

    Raises:
        BadDimensions: a side is zero, or width x height is above ``max_pixels``.
    """
    width, height = size
    if width <= 0 or height <= 0:
        raise NoPixels("The image has no pixels: its width or height is zero.")
    if width * height > max_pixels:
        raise BadDimensions(
            f"The image is {width} x {height} = {width * height} pixels; at most {max_pixels} are allowed."
        )


def _upright_picture(image: Opened, orientation: int) -> Picture:
    """Convert strip by strip, and write each strip to its upright place: no second copy of full size exists.

    RGB pixels that are stored upright in an array are the picture's own.
    """
    width, height = image.size
    profile = profiles.parse_profile(image.info.get("icc_profile"))
    transform = profiles.srgb_transform(image.mode, profile)
    icc = image.info["icc_profile"] if profiles.keeps_profile(image.mode, profile) else None
    stored = image.rgb if isinstance(image, IntoArray) and transform is None else None
    if stored is not None and orientation == 1:
        return Picture(stored, icc=icc)
    shape = (width, height) if orientation >= 5 else (height, width)
    rgb = np.empty((*shape, 3), np.uint8)
    alpha = np.empty(shape, np.uint8) if modes.has_transparency(image) else None
    for rows in strips(height, width, least=1 if stored is None else _ROWS_TURNED):
        if stored is not None:
            _write_upright(stored[rows], rgb, rows, orientation)
            continue
        strip = image.crop((0, rows.start, width, rows.stop))
        colours, opacity = modes.to_rgb(strip, transform)
        if alpha is not None and opacity is not None:
            _write_upright(opacity, alpha, rows, orientation)
        _write_upright(colours, rgb, rows, orientation)
    if alpha is None or alpha.min() == 255:
        return Picture(rgb, icc=icc)
    ground = transparency.choose_ground(rgb, alpha)
    for rows in strips(*alpha.shape):
        transparency.composite(rgb[rows], alpha[rows], ground)
    return Picture(rgb, alpha, icc, ground)


def _write_upright(strip: Pixels, upright: Pixels, rows: slice, orientation: int) -> None:
    """Write rows of a file, of the EXIF orientation 1-8, to their place in the upright image."""
    if orientation in (3, 4, 6, 7):  # the first row becomes the last row or column
        height = upright.shape[1 if orientation >= 5 else 0]
        rows = slice(height - rows.stop, height - rows.start)
    place = upright[:, rows] if orientation >= 5 else upright[rows]
    place[...] = strip if orientation == 1 else _turned(strip, orientation)


def _turned(strip: Pixels, orientation: int) -> Pixels:
    """The pixels of a file, upright. NumPy takes several times as long to reorder pixels of three bytes."""
    import cv2  # noqa: PLC0415  # takes long to import, so it must not happen before the port is open

    if orientation >= 5:
        strip = cv2.transpose(strip)
    return strip if orientation == 5 else cv2.flip(strip, _FLIPS[orientation])

"""From the bytes of an image file to upright RGB pixels.

The pipeline calls ``decode`` in a thread of its pool. It must keep only three parts of the input: its pixels, its
transparency, and its ICC profile if that is an RGB one. It drops EXIF with its GPS position, XMP, comments and further
frames; ``service.imaging.formats.recognise`` says why. The peak memory that ``decode`` states is tested.
"""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import AvifImagePlugin, Image

from service.errors import BadDimensions, ServiceError, Undecodable
from service.host.out_of_memory import can_allocate, is_out_of_memory, require
from service.imaging import colour
from service.imaging.formats.exif import exif_orientation
from service.imaging.formats.recognise import recognise
from service.imaging.picture import Picture, Pixels, strips


def configure_pillow() -> None:
    """Set Pillow's limits for the whole process. Start-up calls this once, before the first picture."""
    # The header is checked against our own limit. Pillow's would warn, and refuse pictures below a larger setting.
    Image.MAX_IMAGE_PIXELS = None
    # Several pictures are decoded at the same time already; the default is one thread for each core of the host.
    AvifImagePlugin.DEFAULT_MAX_THREADS = 2


def decode(data: bytes, *, max_pixels: int) -> Picture:
    """Decode the first frame of an image file.

    Sixteen-bit samples keep their high byte; 32-bit integers must lie in 0-65535 and floats in 0-1. CMYK, Lab and
    grey pixels become sRGB, through their own profile if they bring one. A broken profile is ignored.

    Peak memory: at most ``peak_bytes`` (24 bytes a pixel; of these, a HEIC of 12 bits with transparency takes 21, WebP
    20, other HEIC 9-13, a JPEG 8-12, a PNG 9), the result included. No file takes more than one of ``max_pixels``
    pixels does.

    Raises:
        UnsupportedType: not an image, or a format outside the allow-list.
        BadDimensions: zero-sized, or width x height above ``max_pixels``; read from the header, before decoding.
        Undecodable: damaged, truncated, or a variant without a meaning in 8-bit RGB.
        MemoryError: there was not enough memory, or decoding failed when there was not.
    """
    file_format = recognise(data)
    stripped = file_format.strip_metadata(data)
    size = stripped.size
    if size is not None:
        _check_size(size, max_pixels)
    try:
        image = file_format.open(BytesIO(stripped.data))
        size = image.size
        _check_size(size, max_pixels)
        require(peak_bytes(size[0] * size[1], len(data)), "decoding")
        orientation = stripped.orientation
        if orientation is None:
            orientation = exif_orientation(image.info.get("exif", b""))
        with file_format.decoding_lock:
            image.load()
        return _upright_picture(image, orientation)
    except ServiceError:
        raise
    # Pillow has no common base for what damaged files raise (OSError, SyntaxError, ValueError, EOFError, struct.error,
    # zlib.error, ...).
    except Exception as error:
        width, height = size or (0, 0)
        if is_out_of_memory(error) or not can_allocate(peak_bytes(width * height, len(data))):
            raise MemoryError(f"while decoding a {file_format.name} image") from error
        raise Undecodable(
            f"The {file_format.name} image cannot be decoded. It is damaged, incomplete, or of an unusual kind."
        ) from error


def peak_bytes(pixels: int, length: int) -> int:
    """The most memory that decoding a file of that many pixels and bytes takes."""
    return 24 * pixels + 3 * length + (16 << 20)


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width <= 0 or height <= 0:
        raise BadDimensions("The image has no pixels: its width or height is zero.")
    if width * height > max_pixels:
        raise BadDimensions(
            f"The image is {width} x {height} = {width * height} pixels; at most {max_pixels} are allowed."
        )


def _upright_picture(image: Image.Image, orientation: int) -> Picture:
    """Convert strip by strip, and write each strip to its upright place: no second copy of full size exists."""
    width, height = image.size
    profile = colour.parse_profile(image.info.get("icc_profile"))
    transform = colour.srgb_transform(image.mode, profile)
    shape = (width, height) if orientation >= 5 else (height, width)
    rgb = np.empty((*shape, 3), np.uint8)
    alpha = np.empty(shape, np.uint8) if colour.has_transparency(image) else None
    rgb_stored = _as_stored(rgb, orientation)
    alpha_stored = None if alpha is None else _as_stored(alpha, orientation)
    for rows in strips(height, width):
        strip = image.crop((0, rows.start, width, rows.stop))
        colours, opacity = colour.to_rgb(strip, transform)
        if alpha_stored is not None and opacity is not None:
            alpha_stored[rows] = opacity
            colour.composite_over_white(colours, opacity)
        rgb_stored[rows] = colours
    if alpha is not None and alpha.min() == 255:
        alpha = None
    return Picture(
        rgb, alpha, image.info["icc_profile"] if colour.keeps_profile(image.mode, profile) else None
    )


def _as_stored(upright: Pixels, orientation: int) -> Pixels:
    """A view of the upright image in which row and column are those of the file (EXIF orientation 1-8)."""
    view = upright.swapaxes(0, 1) if orientation >= 5 else upright
    if orientation in (3, 4, 6, 7):
        view = view[::-1]
    if orientation in (2, 3, 7, 8):
        view = view[:, ::-1]
    return view

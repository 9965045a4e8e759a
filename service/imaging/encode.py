"""From pixels to the bytes of the answer.

The pipeline calls ``check_output_size`` as soon as it knows the size of a picture, and ``encode`` at the end. The same
pixels must give the same bytes, and the memory that ``peak_bytes`` states must be enough.
"""

from __future__ import annotations

from io import BytesIO
from typing import Any
from zipfile import ZipFile, ZipInfo

import numpy as np
from PIL import (
    AvifImagePlugin,  # noqa: F401 - registers the writer; else the first answer would import every plugin
    Image,
    WebPImagePlugin,  # noqa: F401 - likewise
)

from service.errors import BadDimensions
from service.host.out_of_memory import require
from service.imaging.options import Format
from service.imaging.picture import Pixels
from service.imaging.png_writer import write_png
from service.imaging.webp_writer import write_webp

MAX_SIDE: dict[Format, int] = {Format.WEBP: 16383, Format.JPEG: 65500, Format.AVIF: 32768, Format.ZIP: 65500}
"""The largest side, in pixels, that each format can hold; PNG takes any. An AVIF file could be written up to 65536,
but its decoders stop at 32768. A zip holds a JPEG."""


_BYTES_A_PIXEL: dict[Format, int] = {
    Format.PNG: 5,
    Format.JPEG: 10,
    Format.WEBP: 34,
    Format.AVIF: 47,
    Format.ZIP: 10,
}
_BYTES_A_SIDE = 2900  # for each pixel of an AVIF's width and height: libaom adds borders
_BYTES_ALWAYS = 5_000_000


def peak_bytes(output_format: Format, pixels: int, sides: int) -> int:
    """The most memory that ``encode`` takes beside the pixels and a file as large as they are; measured.

    Noise makes files that are larger, and a file may be there twice while it grows: that is counted here.

    Args:
        output_format: of the answer.
        pixels: of the answer.
        sides: its width and height together.
    """
    borders = _BYTES_A_SIDE * sides if output_format is Format.AVIF else 0
    return _BYTES_A_PIXEL[output_format] * pixels + borders + _BYTES_ALWAYS


def check_output_size(width: int, height: int, output_format: Format) -> None:
    """Refuse an image that the format of the answer cannot hold, before any work is done on it.

    Raises:
        BadDimensions: the message says how long a side may be, and which format takes any.
    """
    limit = MAX_SIDE.get(output_format)
    if limit is not None and max(width, height) > limit:
        raise BadDimensions(
            f"The image is {width} x {height} pixels; {output_format.value} takes at most {limit} a side. "
            "Ask for format=png, or for a smaller size."
        )


def encode(
    pixels: Pixels, output_format: Format, icc: bytes | None = None, *, quality: int | None = None
) -> bytes:
    """Write H x W (grey), H x W x 3 (RGB) or H x W x 4 (RGBA) uint8 pixels as a file of that format.

    The same arguments give the same bytes. A grey image (a mask) gets no profile, because it is not a colour. A zip
    takes RGBA alone, and stores its two files as they are: they are compressed already.
    Peak memory beside ``pixels``: ``peak_bytes``, and as much as ``pixels`` for the file.

    Args:
        pixels: the answer.
        output_format: PNG ignores ``quality``.
        icc: the profile of the colours.
        quality: 1-100; None is the format's default.

    Raises:
        MemoryError: there is not that much.
    """
    height, width = pixels.shape[:2]
    require(peak_bytes(output_format, width * height, width + height), "encoding")
    if output_format is not Format.ZIP:
        return _image(pixels, output_format, icc, quality)
    buffer = BytesIO()
    with ZipFile(buffer, "w") as archive:  # ZipInfo has a date of its own that never changes
        archive.writestr(ZipInfo("color.jpg"), _image(pixels, Format.JPEG, icc, quality))
        archive.writestr(ZipInfo("alpha.png"), _image(pixels[..., 3], Format.PNG, None, None))
    return buffer.getvalue()


def _image(pixels: Pixels, output_format: Format, icc: bytes | None, quality: int | None) -> bytes:
    grey = pixels.ndim == 2
    if output_format is Format.PNG:
        return write_png(pixels, None if grey else icc)
    if output_format is Format.WEBP and pixels.ndim == 3 and pixels.shape[2] == 4:
        return write_webp(pixels, icc, quality=quality or 90)
    image = _as_image(pixels) if output_format is Format.JPEG else Image.fromarray(pixels)
    settings: dict[str, Any] = {}
    # Chosen by processor time and size, on photographs of 2 MP.
    match output_format:
        case Format.WEBP:  # opaque, methods 2, 4: 0.10 s 159 kB, 0.26 s 155 kB; a mask must stay exact
            exact = grey and quality is None
            settings = {"lossless": True, "method": 2} if exact else {"quality": quality or 90, "method": 2}
        case Format.JPEG:  # full colour resolution, because cut-outs have hard edges in colour
            settings = {"quality": quality or 92, "subsampling": "4:4:4"}
        case Format.AVIF:  # a cut-out, speeds 8, 9: 1.0 s 296 kB, 0.31 s 366 kB
            subsampling = "4:0:0" if grey else "4:4:4"
            settings = {
                "quality": quality or 85,
                "speed": 9,
                "subsampling": subsampling,
                "max_threads": 2,
            }
    if icc is not None and not grey:
        settings["icc_profile"] = icc
    buffer = BytesIO()
    image.save(buffer, format=output_format.value, **settings)
    return buffer.getvalue()


def _as_image(pixels: Pixels) -> Image.Image:
    """Colours as Pillow keeps RGB, with a fourth byte; its own conversion takes several times as long."""
    if pixels.ndim == 2:
        return Image.fromarray(pixels)
    height, width = pixels.shape[:2]
    if pixels.shape[2] == 4:
        rgbx = np.ascontiguousarray(pixels)
    else:
        import cv2  # noqa: PLC0415  # takes long to import, so it must not happen before the port is open

        rgbx = cv2.cvtColor(pixels, cv2.COLOR_RGB2RGBA).reshape(height, width, 4)
    return Image.frombuffer("RGBX", (width, height), rgbx, "raw", "RGBX", 0, 1)

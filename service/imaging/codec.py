"""From the bytes of an image file to upright RGB pixels, and from pixels to the bytes of the answer. Pure.

What survives of the input: its pixels, its transparency, and its ICC profile if that is an RGB one. What does not:
everything else (EXIF with its GPS position, XMP, comments, further frames). See ``containers`` for why.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import AvifImagePlugin, Image, ImageFile
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from service.errors import BadDimensions, ServiceError, Undecodable
from service.imaging.formats.container import Kind, unwrap
from service.imaging.formats.tiff import exif_orientation
from service.imaging.options import Format, Options

if TYPE_CHECKING:
    from PIL.ImageCms import ImageCmsProfile, ImageCmsTransform

Pixels = npt.NDArray[np.uint8]

MAX_PROFILE_BYTES = 4 << 20
"""Larger ICC profiles are ignored; printing profiles with large tables reach 3 MB."""

STRIP_PIXELS = 1 << 18
"""Pixels are converted in strips of whole rows of about this many."""

_ONE_AVIF = threading.Lock()
"""libavif decodes the frame that the AV1 stream holds, up to 16384 x 16384, and scales it to the size it claims.
Pillow cannot lower that limit, so such a lie can cost 1 GiB; never more than once at a time."""

_DECODERS: dict[Kind, Callable[[BytesIO], ImageFile.ImageFile]] = {
    Kind.JPEG: JpegImageFile,
    Kind.PNG: PngImageFile,
    Kind.WEBP: WebPImageFile,
    Kind.AVIF: AvifImageFile,
    Kind.BMP: BmpImageFile,
    Kind.TIFF: TiffImageFile,
    Kind.GIF: GifImageFile,
}


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A decoded image, upright."""

    rgb: Pixels
    """H x W x 3, uint8, C-contiguous; sRGB, or in the space of ``icc``. Where the input is transparent it is
    composited over white, so that what the network sees is what a viewer shows."""
    alpha: Pixels | None = None
    """H x W, uint8, the input's own transparency; None if it is opaque."""
    icc: bytes | None = None
    """The RGB profile that came with the pixels."""

    @property
    def width(self) -> int:
        """In pixels."""
        return int(self.rgb.shape[1])

    @property
    def height(self) -> int:
        """In pixels."""
        return int(self.rgb.shape[0])


def configure_pillow() -> None:
    """Set Pillow's process-wide limits. Start-up calls this once, before any picture is decoded."""
    # The service has its own limit on pixels, checked against the header. Pillow's limit would warn about large
    # pictures, and refuse some that the setting allows.
    Image.MAX_IMAGE_PIXELS = None
    # Several pictures are decoded at the same time already. The default is one thread per core of the host.
    AvifImagePlugin.DEFAULT_MAX_THREADS = 2


def decode(data: bytes, *, max_pixels: int) -> Picture:
    """Decode the first frame of an image file.

    Sixteen-bit samples keep their high byte; 32-bit integers must lie in 0-65535 and floats in 0-1. CMYK, Lab and
    grey pixels become sRGB, through their own profile if they bring one. A broken profile is ignored.

    Peak memory: at most 24 bytes a pixel (WebP takes most, 20; a JPEG 8-12, a PNG 9) + 3 x ``len(data)`` + 16 MiB, the
    result included; no file takes more than one of ``max_pixels`` pixels does.

    Raises:
        UnsupportedType: not an image, or a format outside the allow-list.
        BadDimensions: zero-sized, or width x height above ``max_pixels``; read from the header, before decoding.
        Undecodable: damaged, truncated, or a variant without a meaning in 8-bit RGB.
    """
    container = unwrap(data)
    if container.size is not None:
        _check_size(container.size, max_pixels)
    try:
        image = _DECODERS[container.kind](BytesIO(container.data))
        _check_size(image.size, max_pixels)
        orientation = container.orientation
        if container.kind in (Kind.WEBP, Kind.AVIF):
            orientation = exif_orientation(image.info.get("exif", b""))
        with _ONE_AVIF if container.kind is Kind.AVIF else nullcontext():
            image.load()
        return _picture(image, orientation)
    except ServiceError:
        raise
    # Pillow has no common base for what damaged files raise (OSError, SyntaxError, ValueError, EOFError, struct.error,
    # zlib.error, ...). A MemoryError here is a claim of the file: the pixels themselves were checked to fit.
    except Exception as error:
        raise Undecodable(
            f"The {container.kind} image cannot be decoded: it is damaged, cut short, or of an unusual variant."
        ) from error


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width <= 0 or height <= 0:
        raise BadDimensions("The image has no pixels: its width or height is zero.")
    if width * height > max_pixels:
        raise BadDimensions(
            f"The image is {width} x {height} = {width * height} pixels; at most {max_pixels} are taken."
        )


def _picture(image: Image.Image, orientation: int) -> Picture:
    """Convert strip by strip, writing each straight to its upright place: no second full-size copy exists."""
    width, height = image.size
    profile = _profile(image.info.get("icc_profile"))
    transform = _to_srgb(image.mode, profile)
    transparent = image.mode in _WITH_ALPHA or image.has_transparency_data
    shape = (width, height) if orientation >= 5 else (height, width)
    rgb = np.empty((*shape, 3), np.uint8)
    alpha = np.empty(shape, np.uint8) if transparent else None
    rgb_stored = _as_stored(rgb, orientation)
    alpha_stored = None if alpha is None else _as_stored(alpha, orientation)
    rows = max(1, STRIP_PIXELS // width)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        strip = image.crop((0, top, width, bottom))
        colours, opacity = _convert(strip, transform)
        if alpha_stored is not None and opacity is not None:
            alpha_stored[top:bottom] = opacity
            _over_white(colours, opacity)
        rgb_stored[top:bottom] = colours
    if alpha is not None and alpha.min() == 255:
        alpha = None
    keep = profile is not None and _space(profile) == "RGB" and image.mode not in ("CMYK", "LAB")
    return Picture(rgb, alpha, image.info["icc_profile"] if keep else None)


def _as_stored(upright: Pixels, orientation: int) -> Pixels:
    """A view of the upright image in which row and column are those of the file (EXIF orientation 1-8)."""
    view = upright.swapaxes(0, 1) if orientation >= 5 else upright
    if orientation in (3, 4, 6, 7):
        view = view[::-1]
    if orientation in (2, 3, 7, 8):
        view = view[:, ::-1]
    return view


_WITH_ALPHA = {"LA": "LA", "La": "LA", "PA": "RGBA", "RGBA": "RGBA", "RGBa": "RGBA"}
_WITH_COLOUR_KEY = {"1": "LA", "L": "LA", "P": "RGBA", "RGB": "RGBA"}


def _convert(strip: Image.Image, transform: ImageCmsTransform | None) -> tuple[Pixels, Pixels | None]:
    """A strip in any mode -> its colours (h x w x 3) and, if it has any transparency, its opacity (h x w)."""
    opacity: Pixels | None = None
    if strip.mode in ("I", "F") or strip.mode.startswith("I;16"):
        values = np.asarray(strip)
        if (key := strip.info.get("transparency")) is not None:
            opacity = np.where(values == key, np.uint8(0), np.uint8(255))
        strip = Image.fromarray(_eight_bits(values))
    elif with_alpha := _WITH_ALPHA.get(strip.mode) or (
        _WITH_COLOUR_KEY.get(strip.mode) if strip.has_transparency_data else None
    ):
        strip = strip.convert(with_alpha)
        opacity = np.asarray(strip.getchannel("A"))
        strip = strip.convert(with_alpha[:-1])
    if transform is not None:
        strip = transform.apply(strip if strip.mode != "1" else strip.convert("L"))
    return np.array(strip.convert("RGB")), opacity


def _eight_bits(values: npt.NDArray[Any]) -> Pixels:
    """Grey values of 16 bits, 32 bits or floating point -> 8 bits."""
    if values.dtype.kind == "f":
        if not (values.min() >= 0 and values.max() <= 1):
            raise Undecodable("The image holds floating-point values outside 0-1; send 8 or 16 bits.")
        return (values * 255 + 0.5).astype(np.uint8)
    if values.min() < 0 or values.max() > 65535:
        raise Undecodable("The image holds 32-bit values outside 0-65535; send 8 or 16 bits.")
    return (values >> 8).astype(np.uint8)


def _over_white(colours: Pixels, opacity: Pixels) -> None:
    """Composite in place: c * a + 255 * (1 - a), rounded; 16 bits hold the largest sum, 255 * 255 + 127."""
    weight = opacity[..., np.newaxis].astype(np.uint16)
    colours[...] = (colours * weight + 255 * (255 - weight) + 127) // 255


def _profile(icc: object) -> ImageCmsProfile | None:
    """A usable colour profile, or None."""
    if not isinstance(icc, bytes) or not 128 < len(icc) <= MAX_PROFILE_BYTES:
        return None
    from PIL import ImageCms  # noqa: PLC0415  # most images bring no profile

    try:
        return ImageCms.ImageCmsProfile(BytesIO(icc))
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None


def _space(profile: ImageCmsProfile) -> str:
    return profile.profile.xcolor_space.strip()


def _to_srgb(mode: str, profile: ImageCmsProfile | None) -> ImageCmsTransform | None:
    """How pixels of that mode become sRGB by their profile; None if it is not of their kind."""
    if mode == "CMYK":
        space, source = "CMYK", "CMYK"
    elif mode in ("1", "L", "LA", "La", "F") or mode.startswith("I"):
        space, source = "GRAY", "L"
    else:
        return None
    if profile is None or _space(profile) != space:
        return None
    from PIL import ImageCms  # noqa: PLC0415

    try:
        return ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), source, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None


MAX_SIDE: dict[Format, int] = {Format.WEBP: 16383, Format.JPEG: 65500, Format.AVIF: 32768}
"""The largest side, in pixels, that each format can hold; PNG takes any. AVIF could be written up to 65536, but its
decoders stop at 32768."""


def check_output_size(width: int, height: int, options: Options) -> None:
    """Refuse, before any work is done on it, an image that the chosen format cannot hold.

    Raises:
        BadDimensions: says which side is too long, and which format takes it.
    """
    limit = MAX_SIDE.get(options.format)
    if limit is not None and max(width, height) > limit:
        raise BadDimensions(
            f"The image is {width} x {height} pixels; {options.format.value} takes at most {limit} a side. "
            "Ask for format=png."
        )


def encode(pixels: Pixels, output_format: Format, icc: bytes | None = None) -> bytes:
    """Write H x W (grey), H x W x 3 (RGB) or H x W x 4 (RGBA) uint8 pixels as a file of that format.

    The same pixels and profile give the same bytes. A grey image (a mask) gets no profile: it is not a colour.
    Peak memory beside ``pixels``, bytes a pixel, measured: PNG and JPEG 5, WebP 30, AVIF 42, and the file itself.
    """
    image = Image.fromarray(pixels)
    grey = image.mode == "L"
    settings: dict[str, Any]
    # Chosen on a 2 MP cut-out: where more effort costs several times the time for a few percent of size.
    match output_format:
        case Format.PNG:  # a megapixel, levels 6, 3, 1 by runs: 257 ms 1.03 MB, 99 ms 1.19 MB, 59 ms 1.06 MB
            settings = {"compress_level": 1, "compress_type": zlib.Z_RLE}
        case Format.WEBP:  # methods 2, 4: 0.20 s 107 kB, 0.31 s 101 kB; a mask must stay exact
            settings = {"lossless": True, "method": 2} if grey else {"quality": 90, "method": 2}
        case Format.JPEG:  # full colour resolution: cut-outs have hard edges in colour
            settings = {"quality": 92, "subsampling": "4:4:4"}
        case Format.AVIF:  # speeds 8, 9: 0.27 s 198 kB, 0.13 s 211 kB
            subsampling = "4:0:0" if grey else "4:4:4"
            settings = {"quality": 85, "speed": 9, "subsampling": subsampling, "max_threads": 2}
    if icc is not None and not grey:
        settings["icc_profile"] = icc
    buffer = BytesIO()
    image.save(buffer, format=output_format.value, **settings)
    return buffer.getvalue()

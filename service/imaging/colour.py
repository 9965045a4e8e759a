"""Colours of decoded pixels: modes, transparency, and ICC profiles.

``decode`` calls it for each strip of an image. It turns every mode that Pillow decodes into 8-bit RGB, and decides
which ICC profile is applied, kept or ignored. ``PIL.ImageCms`` must stay imported inside the functions: most images
have no profile.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from service.errors import Undecodable
from service.imaging.picture import Pixels

if TYPE_CHECKING:
    from PIL.ImageCms import ImageCmsProfile, ImageCmsTransform

MAX_PROFILE_BYTES = 4 << 20
"""Larger ICC profiles are ignored. Printing profiles with large tables reach 3 MB."""

_WITH_ALPHA = {"LA": "LA", "La": "LA", "PA": "RGBA", "RGBA": "RGBA", "RGBa": "RGBA"}
_WITH_COLOUR_KEY = {"1": "LA", "L": "LA", "P": "RGBA", "RGB": "RGBA"}


def has_transparency(image: Image.Image) -> bool:
    """Whether an image has an alpha channel, a transparent colour or a palette with transparent entries."""
    return image.mode in _WITH_ALPHA or image.has_transparency_data


def to_rgb(strip: Image.Image, transform: ImageCmsTransform | None) -> tuple[Pixels, Pixels | None]:
    """Convert pixels of any mode.

    Args:
        strip: some rows of an image.
        transform: of ``srgb_transform``; None leaves the colours in their own space.

    Returns:
        the colours, h x w x 3; the opacity, h x w, or None if the image has no transparency.

    Raises:
        Undecodable: values of 32 bits or of floating point are outside their range.
    """
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
            raise Undecodable(
                "The image has floating-point values outside 0-1. Send an image of 8 or 16 bits."
            )
        return (values * 255 + 0.5).astype(np.uint8)
    if values.min() < 0 or values.max() > 65535:
        raise Undecodable("The image has 32-bit values outside 0-65535. Send an image of 8 or 16 bits.")
    return (values >> 8).astype(np.uint8)


def composite_over_white(colours: Pixels, opacity: Pixels) -> None:
    """Composite in place: c * a + 255 * (1 - a), rounded. 16 bits hold the largest sum, 255 * 255 + 127."""
    weight = opacity[..., np.newaxis].astype(np.uint16)
    colours[...] = (colours * weight + 255 * (255 - weight) + 127) // 255


def parse_profile(icc: object) -> ImageCmsProfile | None:
    """The ICC profile of an image; None if there is none, or if it is broken or too large."""
    if not isinstance(icc, bytes) or not 128 < len(icc) <= MAX_PROFILE_BYTES:
        return None
    from PIL import ImageCms  # noqa: PLC0415 - see the module's docstring

    try:
        return ImageCms.ImageCmsProfile(BytesIO(icc))
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None


def keeps_profile(mode: str, profile: ImageCmsProfile | None) -> bool:
    """Whether the RGB pixels made from an image of that mode are in the colour space of its profile."""
    return profile is not None and _space(profile) == "RGB" and mode not in ("CMYK", "LAB")


def srgb_transform(mode: str, profile: ImageCmsProfile | None) -> ImageCmsTransform | None:
    """How CMYK and grey pixels become sRGB by their own profile; None if the profile is not for that mode."""
    if mode == "CMYK":
        space, source = "CMYK", "CMYK"
    elif mode in ("1", "L", "LA", "La", "F") or mode.startswith("I"):
        space, source = "GRAY", "L"
    else:
        return None
    if profile is None or _space(profile) != space:
        return None
    from PIL import ImageCms  # noqa: PLC0415 - see the module's docstring

    try:
        return ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), source, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None


def _space(profile: ImageCmsProfile) -> str:
    return profile.profile.xcolor_space.strip()

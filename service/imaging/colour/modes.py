"""Turns every mode that Pillow decodes into 8-bit RGB and opacity.

``decode`` and the modules of formats call it for strips of an image. It knows no declared colours: a transform of
``profiles`` is handed in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from service.errors import Undecodable
from service.imaging.picture import Pixels

if TYPE_CHECKING:
    from PIL.ImageCms import ImageCmsTransform


class _HasMode(Protocol):
    @property
    def mode(self) -> str: ...

    @property
    def has_transparency_data(self) -> bool: ...


_WITH_ALPHA = {"LA": "LA", "La": "LA", "PA": "RGBA", "RGBA": "RGBA", "RGBa": "RGBA"}
_WITH_COLOUR_KEY = {"1": "LA", "L": "LA", "P": "RGBA", "RGB": "RGBA"}


def has_transparency(image: _HasMode) -> bool:
    """Whether an image has an alpha channel, a transparent colour or a palette with transparent entries."""
    return image.mode in _WITH_ALPHA or image.has_transparency_data


def to_rgb(strip: Image.Image, transform: ImageCmsTransform | None) -> tuple[Pixels, Pixels | None]:
    """Convert pixels of any mode.

    Args:
        strip: some rows of an image.
        transform: of ``profiles.srgb_transform``; None leaves the colours in their own space.

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
        source = {"RGB": "RGB", "CMYK": "CMYK"}.get(transform.input_mode, "L")
        strip = transform.apply(strip if strip.mode == source else strip.convert(source))
    return np.array(strip if strip.mode == "RGB" else strip.convert("RGB")), opacity


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

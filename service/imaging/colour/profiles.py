"""ICC profiles: which one is applied, kept or ignored, and what a colour is in one.

``decode`` decides with it what happens to the profile of an image, ``compose`` converts the colours that a client asks
for. ``PIL.ImageCms`` must stay imported inside the functions: most images have no profile.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from service.imaging.options import Colour
from service.imaging.picture import Pixels

if TYPE_CHECKING:
    from PIL.ImageCms import ImageCmsProfile, ImageCmsTransform

MAX_PROFILE_BYTES = 4 << 20
"""Larger ICC profiles are ignored. Printing profiles with large tables reach 3 MB."""

_GREY_MODES = {"1", "L", "LA", "La", "F"}


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
    """Whether the RGB pixels made from an image of that mode stay in the colour space of its profile.

    A profile that only leads away from its space (a scanner's, with tables) is not kept: no colour could be brought
    into that space.
    """
    return (
        profile is not None
        and mode not in ("CMYK", "LAB")
        and space_of(profile) == "RGB"
        and (profile.profile.is_matrix_shaper or _transform_from_srgb(profile) is not None)
    )


def srgb_transform(mode: str, profile: ImageCmsProfile | None) -> ImageCmsTransform | None:
    """How pixels that do not keep their profile become sRGB by it; None if the profile is not for that mode."""
    if mode == "CMYK":
        space, source = "CMYK", "CMYK"
    elif profile is not None and space_of(profile) == "RGB" and mode != "LAB":
        space, source = "RGB", "RGB"
    elif mode in _GREY_MODES or mode.startswith("I"):
        space, source = "GRAY", "L"
    else:
        return None
    if profile is None or space_of(profile) != space or keeps_profile(mode, profile):
        return None
    from PIL import ImageCms  # noqa: PLC0415 - see the module's docstring

    try:
        return ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), source, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None


def in_space_of(icc: bytes | None, colour: Colour) -> Colour:
    """An sRGB colour as it is written in pixels of that profile; unchanged without a profile.

    Colours outside the profile's gamut become the nearest that it has. The rounding is that of 8 bits.
    """
    profile = parse_profile(icc)
    transform = None if profile is None else _transform_from_srgb(profile)
    if transform is None:
        return colour
    red, green, blue = transform.apply(Image.new("RGB", (1, 1), colour)).tobytes()
    return red, green, blue


def transform_between(source: bytes | None, target: bytes | None) -> Callable[[Pixels], Pixels]:
    """How pixels (h x w x 3) of one profile become pixels of another one.

    No profile is sRGB, and so is one that is broken or leads nowhere, as when a picture is decoded.
    """
    before, after = parse_profile(source), parse_profile(target)
    if source == target or (before is None and after is None):
        return _unchanged
    from PIL import ImageCms  # noqa: PLC0415 - see the module's docstring

    try:
        transform = ImageCms.buildTransform(
            before or ImageCms.createProfile("sRGB"),
            after or ImageCms.createProfile("sRGB"),
            "RGB",
            "RGB",
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        )
    except (ImageCms.PyCMSError, OSError, ValueError):
        return _unchanged
    return lambda pixels: np.asarray(transform.apply(Image.fromarray(pixels)))


def _unchanged(pixels: Pixels) -> Pixels:
    return pixels


def _transform_from_srgb(profile: ImageCmsProfile) -> ImageCmsTransform | None:
    from PIL import ImageCms  # noqa: PLC0415 - see the module's docstring

    try:
        return ImageCms.buildTransform(
            ImageCms.createProfile("sRGB"),
            profile,
            "RGB",
            "RGB",
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        )
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None


def space_of(profile: ImageCmsProfile) -> str:
    """The colour space that a profile is for: ``RGB``, ``GRAY``, ``CMYK``, ``Lab`` and so on."""
    return profile.profile.xcolor_space.strip()

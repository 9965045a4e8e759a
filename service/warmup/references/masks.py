"""Masks as files, and the difference between two of them.

``acceptance`` reads and compares masks when a set is made, ``reference_set`` when the service judges one. All masks are
8-bit: a difference is measured on what a client would get.
"""

from __future__ import annotations

from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from service.imaging.picture import strips

Mask = npt.NDArray[np.uint8]
"""H x W, 0 = background, 255 = foreground."""

Size = tuple[int, int]
"""Width and height in pixels."""


class NotAMask(Exception):
    """The bytes are not a mask of that size; the message says why, and begins with a verb."""


def mask_of_answer(data: bytes, size: Size) -> Mask:
    """The mask in an answer of the pipeline: the alpha of a cut-out, or a grey mask, as PNG.

    Raises:
        NotAMask: it does not decode, has another size, or neither is grey nor has alpha.
    """
    image = _open(data, size)
    if image.mode == "RGBA":
        return np.asarray(image.getchannel("A"))
    if image.mode != "L":
        raise NotAMask(f"has no alpha channel (mode {image.mode})")
    return np.asarray(image)


def check_mask_file(data: bytes, size: Size) -> None:
    """Check that the PNG of an accepted mask is whole and of that size, by its header and its checksums.

    No pixel is decoded, because a start with fifty masks would have to wait for it.

    Raises:
        NotAMask: it is damaged, has another size, or is not grey.
    """
    try:
        with Image.open(BytesIO(data), formats=["PNG"]) as image:
            found, mode = image.size, image.mode
            image.verify()
    except Exception as error:  # as in _open
        raise NotAMask("does not decode as a PNG") from error
    if mode != "L":
        raise NotAMask(f"is no grey mask (mode {mode})")
    _check_size(found, size)


def given_mask(data: bytes, size: Size) -> Mask:
    """The mask in a PNG that another service or a person made.

    If it is transparent anywhere, its alpha counts, whatever its colours. Otherwise it must be grey. 16-bit samples
    keep their high byte.

    Raises:
        NotAMask: as above, or it is a colour picture without transparency, or constant.
    """
    image = _open(data, size)
    mask: Mask
    if image.has_transparency_data and (alpha := np.asarray(image.convert("RGBA"))[..., 3]).min() < 255:
        mask = alpha
    elif image.mode.startswith("I"):  # 16-bit samples; Pillow's own conversion would clip them
        mask = (np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8)
    else:
        rgb = np.asarray(image.convert("RGB"))
        mask = rgb[..., 0]
        if not ((mask == rgb[..., 1]) & (mask == rgb[..., 2])).all():
            raise NotAMask(
                "is a colour picture without transparency; a grey mask or a cut-out with transparency is needed"
            )
    if mask.min() == mask.max():
        raise NotAMask(f"is constant ({mask.flat[0]} everywhere), so nothing would be compared")
    return np.ascontiguousarray(mask)


def mean_error(one: Mask, other: Mask) -> float:
    """The mean absolute difference of two masks of the same size, 0-1.

    It works in strips, so that large masks need little memory beside themselves.
    """
    if one.shape != other.shape:
        raise ValueError(f"masks of {one.shape} and {other.shape} cannot be compared")
    total = 0
    for rows in strips(*one.shape):
        total += int(np.abs(one[rows].astype(np.int16) - other[rows]).sum(dtype=np.int64))
    return total / one.size / 255


def _open(data: bytes, size: Size) -> Image.Image:
    """The decoded PNG, if it has that size; another size is noticed before it is decoded."""
    try:
        with Image.open(BytesIO(data), formats=["PNG"]) as image:
            _check_size(image.size, size)
            image.load()
            return image
    except NotAMask:
        raise
    # Pillow has no common base for what damaged files raise.
    except Exception as error:
        raise NotAMask("does not decode as a PNG") from error


def _check_size(found: Size, size: Size) -> None:
    if found != size:
        turned = " (the mask of the upright picture is needed)" if found == size[::-1] else ""
        raise NotAMask(f"is {found[0]} x {found[1]} pixels; the picture is {size[0]} x {size[1]}{turned}")

"""Decodes JPEG pixels with the package simplejpeg, where the result is certain to be Pillow's.

``jpeg`` calls it; the start of the service logs ``in_use`` and the metric ``build_info`` shows it. Both packages have a
libjpeg-turbo, and let it compute in the same way (``islow``, ``fancy upsampling``). simplejpeg takes less time, because
it writes three bytes for each pixel into the memory of the result.

libjpeg only warns of most damage, and goes on. Whether such a file is refused must be left to Pillow, and so must every
file that simplejpeg does not take, such as one with an unusual sampling of colours. A damaged file is decoded twice.
"""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from types import ModuleType

import numpy as np
import PIL
from PIL import features

from service.imaging.picture import Pixels

simplejpeg: ModuleType | None = None
with suppress(ImportError):  # there is no wheel for this machine
    simplejpeg = import_module("simplejpeg")


def decode(data: bytes, size: tuple[int, int]) -> Pixels | None:
    """Decode a whole file of three components.

    It releases the interpreter's lock, and takes no memory beside the result but libjpeg's own.

    Args:
        data: the file.
        size: (width, height), as its header says.

    Returns:
        H x W x 3; None if Pillow must decide: the package is missing, libjpeg reports an error or a warning, or the
        picture has another size.

    Raises:
        MemoryError: there is not enough for the pixels.
    """
    if simplejpeg is None:
        return None
    width, height = size
    rgb = np.empty((height, width, 3), np.uint8)  # libjpeg writes every pixel, or simplejpeg raises an error
    try:
        decoded = simplejpeg.decode_jpeg(data, "RGB", buffer=rgb, strict=True)
    except (ValueError, RuntimeError):
        return None
    return rgb if decoded.shape == rgb.shape else None


def in_use() -> str:
    """What decodes ordinary files, with its version: ``simplejpeg 1.9.0 (libjpeg-turbo)``."""
    if simplejpeg is not None:
        return f"simplejpeg {simplejpeg.__version__} (libjpeg-turbo)"
    turbo = features.version("libjpeg_turbo")
    return f"pillow {PIL.__version__}" + (f" (libjpeg-turbo {turbo})" if turbo else "")


def missing() -> list[str]:
    """The packages that are not installed, so that decoding takes longer."""
    return [] if simplejpeg is not None else ["simplejpeg"]

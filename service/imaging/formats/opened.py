"""What ``decode`` needs of an opened file, and the wrapper for files with declared encodings.

Mostly that is Pillow's own image. Where Pillow would get the colours or the transparency of a file wrong, the module of
the format returns an object of its own that gives right strips. Working on strips keeps it within ``decode``'s memory.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any, Protocol

import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile

from service.imaging.colour.encoding import Encoding
from service.imaging.colour.modes import has_transparency, to_rgb
from service.imaging.picture import Pixels

Box = tuple[int, int, int, int]


class Opened(Protocol):
    """An image file whose header was read. Pillow's images have all of this."""

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) as stored."""
        ...

    @property
    def mode(self) -> str:
        """Pillow's mode of the strips; right once the pixels are loaded."""
        ...

    @property
    def info(self) -> dict[Any, Any]:
        """``icc_profile`` and ``exif``, if the file has them."""
        ...

    @property
    def has_transparency_data(self) -> bool:
        """Whether strips have an alpha channel, a transparent colour or a palette with transparent entries."""
        ...

    def load(self) -> object:
        """Decode the pixels."""
        ...

    def crop(self, box: Box) -> Image.Image:
        """Part of the pixels: left, top, right, bottom."""
        ...


class IntoArray(ImageFile):
    """A file of Pillow's whose RGB pixels are decoded straight into an array, which saves several copies of them.

    A class of a format has it in front of Pillow's own.
    """

    rgb: Pixels | None = None
    """H x W x 3, once the pixels are loaded; None for other pixels."""

    def load(self) -> Any:
        """Decode the pixels."""
        if self.mode == "RGB" and self.tile and self.rgb is None:
            self.rgb = self.decode_rgb()
        return super().load() if self.rgb is None else None

    def decode_rgb(self) -> Pixels:
        """Decode RGB pixels with Pillow; H x W x 3."""
        import cv2  # noqa: PLC0415  # takes long to import, so it must not happen before the port is open

        width, height = self.size
        rgbx = np.zeros((height, width, 4), np.uint8)  # a damaged file must not show what was in the memory
        self.im = Image.frombuffer("RGBX", self.size, rgbx, "raw", "RGBX", 0, 1).im
        # Pillow's own arrangement of RGB, but one that may lie in the memory of others.
        self._mode = "RGBX"
        super().load()
        self._mode = "RGB"
        rgb: Pixels = cv2.cvtColor(rgbx, cv2.COLOR_RGBA2RGB).reshape(height, width, 3)
        self.close()  # frees the other pixels
        return rgb

    def crop(self, box: tuple[float, float, float, float] | None = None) -> Image.Image:
        """See ``Opened``."""
        if self.rgb is None or box is None:
            return super().crop(box)
        left, top, right, bottom = map(round, box)
        return Image.fromarray(self.rgb[top:bottom, left:right])


class InSrgb:
    """An opened image whose strips become sRGB by the encoding that its container declares."""

    def __init__(self, image: ImageFile, encoding: Encoding) -> None:
        self._image, self._encoding = image, encoding
        self.size = image.size
        self.info = {key: value for key, value in image.info.items() if key == "exif"}

    @property
    def has_transparency_data(self) -> bool:
        """See ``Opened``."""
        return has_transparency(self._image)

    @property
    def mode(self) -> str:
        """See ``Opened``."""
        return "RGBA" if self.has_transparency_data else "RGB"

    def load(self) -> object:
        """See ``Opened``."""
        return self._image.load()

    def crop(self, box: Box) -> Image.Image:
        """See ``Opened``."""
        colours, opacity = to_rgb(self._image.crop(box), None)
        return strip_of(self._encoding.to_srgb(colours), opacity)


def in_srgb(
    open_file: Callable[[BytesIO], ImageFile], encoding: Encoding | None
) -> Callable[[BytesIO], Opened]:
    """A function that opens a file with ``open_file``; its strips become sRGB by the encoding, if there is one."""
    if encoding is None:
        return open_file
    return lambda file: InSrgb(open_file(file), encoding)


def strip_of(colours: Pixels, opacity: Pixels | None) -> Image.Image:
    """A strip: RGB, or RGBA with an opacity."""
    return Image.fromarray(colours if opacity is None else np.dstack([colours, opacity]))

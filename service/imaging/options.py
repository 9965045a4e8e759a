"""What the answer to one picture looks like.

``service.http.parameters`` reads these options from a request; ``compose`` and ``encode`` carry them out. Options must
hold enums, numbers and flags, never a string that a client sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

Colour = tuple[int, int, int]
"""Red, green, blue, 0-255 each."""

GREEN: Colour = (120, 255, 155)
"""The green of ``output=green`` and of the overlay, as in transparent-background."""

WHITE: Colour = (255, 255, 255)


class Output(StrEnum):
    """What the answer shows."""

    RGBA = "rgba"
    MASK = "mask"
    GREEN = "green"
    WHITE = "white"
    BLUR = "blur"
    OVERLAY = "overlay"
    COLOUR = "#rrggbb"


class Format(StrEnum):
    """The file format of the answer."""

    PNG = "png"
    WEBP = "webp"
    JPEG = "jpeg"
    AVIF = "avif"

    @property
    def content_type(self) -> str:
        """The media type, for the ``Content-Type`` header."""
        return f"image/{self.value}"


@dataclass(frozen=True, slots=True)
class Options:
    """The options of one request; the defaults are those of the API."""

    output: Output = Output.RGBA
    colour: Colour | None = None
    """The background colour; set if and only if ``output`` is ``Output.COLOUR``."""
    format: Format = Format.PNG
    threshold: float | None = None
    """0-1; makes the mask hard: pixels with a higher alpha are foreground. None keeps the soft mask."""
    reverse: bool = False
    """Keep the background and remove the foreground."""

    @property
    def background(self) -> Colour | None:
        """The flat colour behind the foreground, or None if this output has none."""
        match self.output:
            case Output.GREEN:
                return GREEN
            case Output.WHITE:
                return WHITE
            case _:
                return self.colour

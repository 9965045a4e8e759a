"""What the answer to one picture looks like.

``service.http.parameters`` reads these options from a request; ``compose`` and ``encode`` carry them out. Options must
hold enums, numbers and flags, never a string that a client sent.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

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
    BACKGROUND = "background"
    """The foreground on a second picture that the client sends."""
    COLOUR = "#rrggbb"


class Format(StrEnum):
    """The file format of the answer."""

    PNG = "png"
    WEBP = "webp"
    JPEG = "jpeg"
    AVIF = "avif"
    ZIP = "zip"
    """``color.jpg``, the colours of the foreground, and ``alpha.png``, its mask; for ``Output.RGBA`` alone."""

    @property
    def content_type(self) -> str:
        """The media type, for the ``Content-Type`` header."""
        return "application/zip" if self is Format.ZIP else f"image/{self.value}"


IMAGE_FORMATS = tuple(each for each in Format if each is not Format.ZIP)
"""Those that hold one picture."""


class Length(NamedTuple):
    """A length in pixels, or as a share of a length that is known later."""

    value: float
    """Pixels, or a share: 0.1 is 10 %."""
    is_share: bool = False

    def of(self, whole: int) -> float:
        """In pixels, if a share is one of ``whole`` pixels."""
        return self.value * whole if self.is_share else self.value


class Margin(NamedTuple):
    """What is left around a subject; shares are of the subject's height (top, bottom) or width (right, left)."""

    top: Length = Length(0)
    right: Length = Length(0)
    bottom: Length = Length(0)
    left: Length = Length(0)


class Region(NamedTuple):
    """A rectangle of the upright input; shares are of its width (x) or height (y)."""

    x1: Length
    y1: Length
    x2: Length
    y2: Length


class Position(NamedTuple):
    """Where a subject stands, as CSS aligns a background: 0 is the left or the top edge, 1 the right or the bottom."""

    x: float
    y: float


CENTRE = Position(0.5, 0.5)


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
    opacity: int = 255
    """0-255, of ``colour``; below 255 the answer has four channels."""
    quality: int | None = None
    """1-100, for JPEG, WebP, AVIF and the colours of a zip; None is each format's default, and
    an exact WebP for a mask."""
    clean_edges: bool = False
    """Put the estimated colours of the foreground, without the old background's share, on a flat background too.
    ``rgba`` and ``background`` always do; without it ``green``, ``white`` and colours are as transparent-background
    makes them."""
    roi: Region | None = None
    """The part of the input in which anything can be foreground; None is all of it."""
    crop: Margin | None = None
    """Cut the answer down to the subject and this margin; None keeps the size of the input."""
    scale: float | None = None
    """0.1-1; the largest size at which the subject fits into this share of the answer's sides. None keeps its size."""
    position: Position | None = None
    """Where the subject stands in the answer; None leaves it where it is. A client that asks for ``scale`` alone wants
    ``CENTRE``."""
    longest_side: int | None = None
    """Pixels; a larger answer is reduced to it, a smaller one is not enlarged."""
    most_pixels: int | None = None
    """Width x height; a larger answer is reduced to it."""
    needs_subject: bool = False
    """Refuse a picture in which the engine found nothing that it is sure of."""

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

    @property
    def moves_subject(self) -> bool:
        """Whether the subject may stand elsewhere, or in another size, than in the input."""
        return self.scale is not None or self.position is not None

    @property
    def depends_on_subject(self) -> bool:
        """Whether the size of the answer, or what stands where in it, depends on where the subject is."""
        return self.crop is not None or self.moves_subject

    @property
    def work(self) -> Hashable:
        """Answers with the same value take about the same time a pixel of the input; there are few values."""
        limited = self.longest_side is not None or self.most_pixels is not None
        return self.output, self.format, self.clean_edges, self.depends_on_subject, limited

"""Where the subject stands in the answer, and how large both are: arithmetic on sizes, without pixels.

The pipeline calls ``place`` when it knows where the subject is, and ``compose`` carries the placement out. Every box
that is returned must lie within its picture and have at least one pixel a side, whatever the options are.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from service.errors import NoSubject, RegionEmpty, RegionOutside
from service.imaging.options import CENTRE, Margin, Options, Output, Region

Size = tuple[int, int]
"""(width, height) in pixels."""


class Box(NamedTuple):
    """A rectangle of whole pixels."""

    left: int
    top: int
    width: int
    height: int

    @property
    def right(self) -> int:
        """The first column behind it."""
        return self.left + self.width

    @property
    def bottom(self) -> int:
        """The first row below it."""
        return self.top + self.height

    @property
    def rows(self) -> slice:
        """Its rows."""
        return slice(self.top, self.bottom)

    @property
    def columns(self) -> slice:
        """Its columns."""
        return slice(self.left, self.right)


class Placement(NamedTuple):
    """Which part of the input is shown where."""

    canvas: Size
    """Of the answer."""
    source: Box
    """The part of the input that is shown."""
    target: Box
    """Where it is shown in the answer; it is resized if the sizes differ."""


class _Rectangle(NamedTuple):
    """Left, top, right and bottom; it may have fractions of a pixel and lie outside its picture."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        return self.right - self.left

    @property
    def height(self) -> float:
        return self.bottom - self.top


def whole(size: Size) -> Placement:
    """The whole input at its own size."""
    box = Box(0, 0, *size)
    return Placement(size, box, box)


def place(size: Size, subject: Box | None, options: Options) -> Placement:
    """The placement that the options ask for.

    First ``crop`` decides what the answer shows: the input, or the subject with its margin, which may reach beyond the
    input. Then ``scale`` and ``position`` move the subject within that; what is not the subject is left behind. Last,
    ``longest_side`` and ``most_pixels`` reduce the result.

    Args:
        size: of the upright input.
        subject: the box of the subject in it; None if there is none.
        options: what is asked for.

    Raises:
        NoSubject: the options depend on where the subject is, and there is none.
    """
    if not options.depends_on_subject:
        source, target = Box(0, 0, *size), _Rectangle(0, 0, *size)
        return _reduced(size, source, target, options)
    if subject is None:
        raise NoSubject(
            "No subject was found in the picture, so there is nothing to crop to or to place. "
            "Ask for it without crop, scale and position."
        )
    everything = Box(0, 0, *size)
    shown = _Rectangle(0, 0, *size)
    if options.crop is not None:
        shown = _with_margin(subject, options.crop)
        if options.output in (Output.BLUR, Output.OVERLAY):  # beyond the input there is no background to show
            shown = _within(shown, everything)
    canvas = max(1, round(shown.width)), max(1, round(shown.height))
    if options.moves_subject:
        return _reduced(canvas, subject, _moved(subject, shown, options), options)
    source = _whole_pixels(_within(shown, everything), size)
    return _reduced(canvas, source, _relative(source, shown), options)


def largest_answer(size: Size, options: Options) -> tuple[int, int]:
    """How large an answer can be that these options make of such an input, wherever its subject is.

    Returns:
        The most pixels, and the most of width and height together.
    """
    if not options.depends_on_subject:
        width, height = reduced_size(size, options)
        return width * height, width + height
    width, height = size
    if options.crop is not None and options.output not in (Output.BLUR, Output.OVERLAY):
        around = _with_margin(Box(0, 0, *size), options.crop)
        width, height = max(width, round(around.width)), max(height, round(around.height))
    if options.longest_side is not None:
        width, height = min(width, options.longest_side), min(height, options.longest_side)
    pixels = width * height
    return pixels if options.most_pixels is None else min(pixels, options.most_pixels), width + height


def reduced_size(size: Size, options: Options) -> Size:
    """The size of an answer that would have this size, after ``longest_side`` and ``most_pixels``."""
    width, height = size
    factor = 1.0
    if options.longest_side is not None:
        factor = min(factor, options.longest_side / max(size))
    if options.most_pixels is not None:
        factor = min(factor, math.sqrt(options.most_pixels / (width * height)))
    if factor >= 1:
        return size
    if options.most_pixels is None:
        return max(1, round(width * factor)), max(1, round(height * factor))
    # Rounding up could exceed the number of pixels, and so could a side that must not be 0.
    width = max(1, math.floor(width * factor))
    height = max(1, min(math.floor(height * factor), options.most_pixels // width))
    return min(width, options.most_pixels // height), height


def region_box(size: Size, region: Region) -> Box:
    """A region of interest in whole pixels of a picture of that size.

    Raises:
        RegionOutside: it reaches beyond the picture.
        RegionEmpty: it holds no pixel.
    """
    width, height = size
    left, right = region.x1.of(width), region.x2.of(width)
    top, bottom = region.y1.of(height), region.y2.of(height)
    if min(left, top, right, bottom) < 0 or max(left, right) > width or max(top, bottom) > height:
        raise RegionOutside(
            f"The region of interest reaches beyond the picture, which is {width} x {height} pixels."
        )
    box = Box(
        math.floor(left),
        math.floor(top),
        math.ceil(right) - math.floor(left),
        math.ceil(bottom) - math.floor(top),
    )
    if left >= right or top >= bottom:
        raise RegionEmpty(
            "The region of interest is empty. Give its left, top, right and bottom edge, in this order."
        )
    return box


def cover(size: Size, canvas: Size) -> tuple[float, float, float, float]:
    """The part of a picture that fills a canvas, as CSS ``cover`` does: the largest centred one of the canvas's shape.

    Returns:
        left, top, right and bottom, in pixels of the picture, with fractions.
    """
    width, height = size
    factor = min(width / canvas[0], height / canvas[1])
    wide, high = min(canvas[0] * factor, width), min(canvas[1] * factor, height)
    left, top = (width - wide) / 2, (height - high) / 2
    return left, top, min(left + wide, width), min(top + high, height)


def _with_margin(subject: Box, margin: Margin) -> _Rectangle:
    return _Rectangle(
        subject.left - round(margin.left.of(subject.width)),
        subject.top - round(margin.top.of(subject.height)),
        subject.right + round(margin.right.of(subject.width)),
        subject.bottom + round(margin.bottom.of(subject.height)),
    )


def _within(shown: _Rectangle, box: Box) -> _Rectangle:
    return _Rectangle(
        max(shown.left, box.left),
        max(shown.top, box.top),
        min(shown.right, box.right),
        min(shown.bottom, box.bottom),
    )


def _relative(box: Box, shown: _Rectangle) -> _Rectangle:
    return _Rectangle(
        box.left - shown.left, box.top - shown.top, box.right - shown.left, box.bottom - shown.top
    )


def _moved(subject: Box, shown: _Rectangle, options: Options) -> _Rectangle:
    """Where the subject stands on the canvas after ``scale`` and ``position``."""
    factor = 1.0
    if options.scale is not None:
        factor = options.scale * min(shown.width / subject.width, shown.height / subject.height)
    width, height = min(subject.width * factor, shown.width), min(subject.height * factor, shown.height)
    room_x, room_y = shown.width - width, shown.height - height
    if options.position is not None:
        left, top = room_x * options.position.x, room_y * options.position.y
    else:  # about the middle that it has, as far as the canvas allows
        before = _relative(subject, shown)
        left = min(max((before.left + before.right - width) * CENTRE.x, 0), room_x)
        top = min(max((before.top + before.bottom - height) * CENTRE.y, 0), room_y)
    return _Rectangle(left, top, left + width, top + height)


def _reduced(canvas: Size, source: Box, target: _Rectangle, options: Options) -> Placement:
    size = reduced_size(canvas, options)
    across, down = size[0] / canvas[0], size[1] / canvas[1]
    scaled = _Rectangle(target.left * across, target.top * down, target.right * across, target.bottom * down)
    return Placement(size, source, _whole_pixels(scaled, size))


def _whole_pixels(shown: _Rectangle, size: Size) -> Box:
    """The nearest box of whole pixels within a picture of that size, of at least one pixel."""
    left, right = _whole_range(shown.left, shown.right, size[0])
    top, bottom = _whole_range(shown.top, shown.bottom, size[1])
    return Box(left, top, right - left, bottom - top)


def _whole_range(start: float, end: float, limit: int) -> tuple[int, int]:
    length = min(max(round(end - start), 1), limit)
    first = min(max(round(start), 0), limit - length)
    return first, first + length

"""From a picture and its mask to the pixels of the answer.

The pipeline calls ``compose`` after inference. The formulas are those of ``Remover.process`` in transparent-background
1.3.4, and a change must stay within one level of 255 of its results; it computes in float64, and this module in
float32. Colours that a client asks for are sRGB, so they are brought into the picture's own colour space first, and so
is a second picture that is put behind the first. What shows through a transparent input is the picture's ground, and it
is taken off where the answer has another one.

The package makes several float64 copies of the image. Here the arithmetic runs in strips of rows, so that
beside the input (7 bytes a pixel: RGB and the float32 mask) there is little more than the result.

Peak memory in bytes a pixel, beside the input and 13 MiB for the strips:

* mask: 1;
* rgba: 4, plus the memory of ``foreground`` if there is no threshold, plus 4 for the mask if it is reversed or the
  input was transparent; the same for a colour with an opacity below 255;
* a flat background: 3;
* a second picture: 3, plus the memory of ``foreground`` and 4 for the mask as above, and a sixteenth of the second
  picture (the first answer's pixels; the second picture itself is an input);
* blur: 3;
* overlay: 5, of which 2 are for finding the outline; OpenCV takes some more for that.

If only a part of the input is shown, or in another size, that part is copied first (8 bytes a pixel of the answer), and
everything else is done in the size of the answer. A pixel of the answer counts as one of the input then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from service.engines import blocks
from service.engines.protocol import RGB, Alpha
from service.imaging.colour.profiles import in_space_of, transform_between
from service.imaging.mask import Floats, check_mask, is_unchanged, mask_rows
from service.imaging.options import GREEN, WHITE, Colour, Options, Output
from service.imaging.picture import Picture, Pixels, strips
from service.imaging.placement import Box, Placement, Size, cover, whole
from service.imaging.resize import resize
from service.native import loops

Foreground = Callable[[RGB, Alpha], RGB]
"""Estimates the colours of the foreground alone, as ``Engine.foreground`` does."""

BLUR_SIGMA = 15.0
"""Standard deviation, in pixels of the answer, of the blur behind ``output=blur``."""

_BLOCK = 32
"""Pixels a side of the blocks that are left out where nothing is mixed."""

_BLUR_WIDTH = 1 << 15
"""Pixels of a row that are blurred at once. OpenCV keeps as many rows of its input as the blur is high: 91."""

_BLUR_REACH = 64
"""Pixels to each side that a blurred pixel depends on: more than half of 91."""


def channels(options: Options) -> int:
    """Of the answer."""
    if options.output is Output.MASK:
        return 1
    return 4 if options.output is Output.RGBA or options.opacity < 255 else 3


def needs_foreground(options: Options) -> bool:
    """Whether the colours of the foreground alone are estimated."""
    clean = options.clean_edges or options.output in (Output.RGBA, Output.BACKGROUND) or options.opacity < 255
    return (
        clean
        and options.threshold is None
        and options.output not in (Output.MASK, Output.BLUR, Output.OVERLAY)
    )


def peak_bytes(options: Options, pixels: int, behind: int = 0) -> int:
    """The most memory that ``compose`` takes beside its input and ``foreground``, whatever the input's transparency is.

    Args:
        options: what the answer looks like.
        pixels: of the answer.
        behind: pixels of the second picture.
    """
    match options.output:
        case Output.MASK:
            each = 1
        case Output.OVERLAY | Output.BLUR:
            each = 6
        case _:
            # The mask, and for a flat background a copy of the colours from which the ground is taken off.
            each = (
                channels(options)
                + (4 if needs_foreground(options) else 0)
                + (3 if channels(options) == 3 else 0)
            )
    framed = options.depends_on_subject or options.longest_side is not None or options.most_pixels is not None
    return (each + (8 if framed else 0)) * pixels + behind // 16 + (13 << 20)


def compose(
    picture: Picture,
    alpha: Alpha,
    options: Options,
    foreground: Foreground,
    *,
    placement: Placement | None = None,
    background: Picture | None = None,
) -> Pixels:
    """Make the answer's pixels.

    First the threshold applies to the mask, then the reversal. Then the mask is multiplied by the input's own
    transparency, so that transparent parts of the input stay transparent or show the background, for all options.

    Args:
        picture: the image.
        alpha: its mask, H x W, float32, 0-1; left unchanged.
        options: what the answer looks like.
        foreground: called where the answer shows the foreground's own colours: ``rgba`` and ``background``, flat
            backgrounds with ``clean_edges``, and no threshold.
        placement: which part of the picture is shown where; None is all of it, at its own size.
        background: the second picture; given if and only if the output is ``background``.

    Returns:
        uint8: H x W for ``mask``, H x W x 4 for ``rgba`` and a colour that is not opaque, else H x W x 3.

    Raises:
        BadMask: the mask is not valid for this picture.
    """
    check_mask(picture, alpha)
    height, width = alpha.shape
    placement = placement or whole((width, height))
    picture, alpha = _part_shown(picture, alpha, placement)
    match options.output:
        case Output.MASK:
            answer = _transparent(placement.canvas, ())
            _write_mask(_at(answer, placement.target), picture, alpha, options)
            return answer
        case Output.BLUR:
            return _blur(picture, alpha, options)
        case Output.OVERLAY:
            return _overlay(picture, alpha, options)
        case Output.RGBA:
            return _cut_out(picture, alpha, options, foreground, placement)
        case Output.GREEN | Output.WHITE | Output.COLOUR:
            return _flat(picture, alpha, options, foreground, placement)
        case Output.BACKGROUND:
            if background is None:
                raise ValueError("output=background needs a second picture")
            answer = _filling(background, placement.canvas, picture.icc)
            _put_over(_at(answer, placement.target), picture, alpha, options, foreground)
            return answer


def _transparent(canvas: Size, channels: tuple[int, ...]) -> Pixels:
    return np.zeros((canvas[1], canvas[0], *channels), np.uint8)


def _at(answer: Pixels, box: Box) -> Pixels:
    """A view of a box of the answer."""
    return answer[box.rows, box.columns]


def _part_shown(picture: Picture, alpha: Alpha, placement: Placement) -> tuple[Picture, Alpha]:
    """The part of a picture and its mask that the answer shows, in the size in which it shows it."""
    source, size = placement.source, (placement.target.width, placement.target.height)
    if size == (source.width, source.height):
        if size == (alpha.shape[1], alpha.shape[0]):
            return picture, alpha

        def part(pixels: Pixels) -> Pixels:
            return np.ascontiguousarray(_at(pixels, source))

        mask = np.ascontiguousarray(alpha[source.rows, source.columns])
    else:
        box = source.left, source.top, source.right, source.bottom

        def part(pixels: Pixels) -> Pixels:
            return resize(pixels, box, size)

        # Colours over a ground and transparency are resized alike, so the ground can still be taken off.
        mask = resize(alpha, box, size)
        np.clip(mask, 0, 1, out=mask)
    own = None if picture.alpha is None else part(picture.alpha)
    return Picture(part(picture.rgb), own, picture.icc, picture.ground), mask


def _filling(background: Picture, canvas: Size, icc: bytes | None) -> Pixels:
    """A picture that fills the canvas as CSS ``cover`` does, over white, in the colour space of that profile."""
    height, width = background.rgb.shape[:2]
    box = cover((width, height), canvas)
    shown = Picture(
        resize(background.rgb, box, canvas),
        None if background.alpha is None else resize(background.alpha, box, canvas),
        background.icc,
        background.ground,
    )
    transform = transform_between(background.icc, icc)
    for rows in strips(canvas[1], canvas[0]):
        shown.rgb[rows] = transform(_shown(shown, rows))
    return shown.rgb


def _strips(picture: Picture, alpha: Alpha, options: Options, *, least: int = 1) -> Iterator[slice]:
    """The rows that are worked on at once: all of them if that takes no more memory."""
    if is_unchanged(picture, options):
        yield slice(0, len(alpha))
    else:
        yield from strips(*alpha.shape, least=least)


def _write_mask(target: Pixels, picture: Picture, alpha: Alpha, options: Options) -> None:
    for rows, strip in _strips_to_write(target, picture, alpha, options):
        loops.mask_levels(mask_rows(picture, alpha, options, rows), strip)


def _strips_to_write(
    target: Pixels, picture: Picture, alpha: Alpha, options: Options
) -> Iterator[tuple[slice, Pixels]]:
    """The rows that are written at once, each with the contiguous array to write; ``target`` gets it afterwards."""
    whole_rows = target.flags.c_contiguous
    for rows in _strips(picture, alpha, options) if whole_rows else strips(*alpha.shape):
        strip = target[rows] if whole_rows else np.empty(target[rows].shape, np.uint8)
        yield rows, strip
        if not whole_rows:
            target[rows] = strip


def _cut_out(
    picture: Picture, alpha: Alpha, options: Options, foreground: Foreground, placement: Placement
) -> Pixels:
    answer = _transparent(placement.canvas, (4,))
    target = _at(answer, placement.target)
    colours = _colours(picture, alpha, options, foreground)
    for rows, strip in _strips_to_write(target, picture, alpha, options):
        loops.join_rgba(colours[rows], mask_rows(picture, alpha, options, rows), strip)
    _restore_own_colours(target, picture)
    return answer


def _flat(
    picture: Picture, alpha: Alpha, options: Options, foreground: Foreground, placement: Placement
) -> Pixels:
    colour = in_space_of(picture.icc, options.background or WHITE)
    if options.opacity < 255:
        answer = _cut_out(picture, alpha, options, foreground, placement)
        _put_over_colour(answer, colour, options.opacity)
        return answer
    answer = np.empty((placement.canvas[1], placement.canvas[0], 3), np.uint8)
    answer[:1] = colour
    answer[1:] = answer[0]  # whole rows, because NumPy is slow on axes as short as a pixel
    _put_over(_at(answer, placement.target), picture, alpha, options, foreground)
    return answer


def _colours(picture: Picture, alpha: Alpha, options: Options, foreground: Foreground) -> RGB:
    """The colours of the foreground alone; those of the picture if the mask is hard."""
    if options.threshold is not None:
        return picture.rgb
    mask = alpha
    if options.reverse or picture.alpha is not None:
        mask = np.empty_like(alpha)
        for rows in strips(*alpha.shape):
            mask[rows] = mask_rows(picture, alpha, options, rows)
    return foreground(picture.rgb, mask)


def _restore_own_colours(result: Pixels, picture: Picture) -> None:
    """Where the input itself is partly transparent, its colours are known and need no estimate: take the ground off."""
    if picture.alpha is None:
        return
    ground = np.array(picture.ground, np.float32)
    for rows in strips(*picture.alpha.shape):
        own = picture.alpha[rows]
        soft = (own > 0) & (own < 255)
        weight = own[soft][:, np.newaxis] * np.float32(1 / 255)
        colours = (picture.rgb[rows][soft] - ground * (1 - weight)) / weight
        result[rows][soft, :3] = np.clip(colours + 0.5, 0, 255).astype(np.uint8)


def _over(picture: Picture, rows: slice, back: Floats) -> Floats:
    """Some rows of the picture; its transparent parts show ``back`` (h x w x 3) instead of the picture's ground."""
    colours = picture.rgb[rows].astype(np.float32)
    if picture.alpha is not None:
        shown = back - np.array(picture.ground, np.float32)
        shown *= ((255 - picture.alpha[rows]) * np.float32(1 / 255))[..., np.newaxis]
        colours += shown
        np.clip(colours, 0, 255, out=colours)
    return colours


def _shown(picture: Picture, rows: slice) -> Pixels:
    """Some rows of the picture as a viewer shows them: over white."""
    if picture.alpha is None or picture.ground == WHITE:
        return picture.rgb[rows]
    white = np.full(picture.rgb[rows].shape, 255, np.float32)
    shown: Pixels = (_over(picture, rows, white) + 0.5).astype(np.uint8)
    return shown


def _blend(front: Pixels | Floats, mask: Floats, back: Pixels | Floats) -> Pixels:
    """front * mask + back * (1 - mask), truncated."""
    import cv2  # noqa: PLC0415  # as above

    weight = cv2.merge((mask, mask, mask)).reshape(front.shape)
    shown = cv2.multiply(front, weight, dtype=cv2.CV_32F).reshape(front.shape)
    np.subtract(1, weight, out=weight)
    shown += cv2.multiply(back, weight, dtype=cv2.CV_32F).reshape(front.shape)
    blended: Pixels = shown.astype(np.uint8)
    return blended


def _blend_into(target: Pixels, front: Pixels, mask: Floats) -> None:
    """Put some rows of a front over those of ``target``, which stay where the mask is clear."""
    visible, soft = blocks.kinds(mask, _BLOCK)
    for rows, columns in blocks.parts(visible & ~soft, _BLOCK, mask.shape):
        target[rows, columns] = front[rows, columns]
    loops.blend(target, front, mask, blocks.rectangles(soft, _BLOCK, mask.shape))


def _put_over(
    target: Pixels, picture: Picture, alpha: Alpha, options: Options, foreground: Foreground
) -> None:
    """Put the foreground over what ``target`` shows."""
    if not (options.clean_edges or options.output is Output.BACKGROUND):
        _put_picture_over(target, picture, alpha, options)
        return
    colours = _colours(picture, alpha, options, foreground)
    if picture.alpha is not None:
        if colours is picture.rgb:
            colours = colours.copy()
        _restore_own_colours(colours, picture)
    for rows in _strips(picture, alpha, options, least=_BLOCK):
        _blend_into(target[rows], colours[rows], mask_rows(picture, alpha, options, rows))


def _put_picture_over(target: Pixels, picture: Picture, alpha: Alpha, options: Options) -> None:
    """Put the picture's own colours over what ``target`` shows."""
    for rows in _strips(picture, alpha, options, least=_BLOCK):
        mask = mask_rows(picture, alpha, options, rows, own=False)
        if picture.alpha is None:
            _blend_into(target[rows], picture.rgb[rows], mask)
        else:
            back = target[rows].astype(np.float32)
            target[rows] = _blend(_over(picture, rows, back), mask, back)


def _put_over_colour(answer: Pixels, colour: Colour, opacity: int) -> None:
    """Put a cut-out over a colour that is not opaque, in place."""
    back = np.array(colour, np.float32)
    for rows in strips(*answer.shape[:2]):
        front = answer[rows, :, 3:].astype(np.float32) * np.float32(1 / 255)
        behind = (1 - front) * np.float32(opacity / 255)
        whole_opacity = front + behind
        colours = answer[rows, :, :3] * front + back * behind
        colours /= np.maximum(whole_opacity, np.float32(1e-6))
        answer[rows, :, :3] = np.clip(colours + 0.5, 0, 255).astype(np.uint8)
        answer[rows, :, 3:] = (whole_opacity * 255 + 0.5).astype(np.uint8)


def _blur(picture: Picture, alpha: Alpha, options: Options) -> Pixels:
    shown: Pixels = picture.rgb
    if picture.alpha is not None and picture.ground != WHITE:
        shown = np.empty_like(picture.rgb)
        for rows in strips(*alpha.shape):
            shown[rows] = _shown(picture, rows)
    result = _blurred(shown)
    _put_picture_over(result, picture, alpha, options)
    return result


def _blurred(rgb: RGB) -> Pixels:
    import cv2  # noqa: PLC0415  # takes seconds, so it must not happen before the port is open

    height, width = rgb.shape[:2]
    if height > _BLUR_WIDTH > width:  # for each row, however short, OpenCV takes microseconds
        return np.ascontiguousarray(_blurred(np.ascontiguousarray(rgb.swapaxes(0, 1))).swapaxes(0, 1))
    if width <= _BLUR_WIDTH:
        blurred: Pixels = cv2.GaussianBlur(rgb, (0, 0), BLUR_SIGMA)
        return blurred
    result = np.empty_like(rgb)
    for left in range(0, width, _BLUR_WIDTH):
        right = min(left + _BLUR_WIDTH, width)
        start = max(left - _BLUR_REACH, 0)
        block = cv2.GaussianBlur(rgb[:, start : right + _BLUR_REACH], (0, 0), BLUR_SIGMA)
        result[:, left:right] = block[:, left - start : right - start]
    return result


def _overlay(picture: Picture, alpha: Alpha, options: Options) -> Pixels:
    import cv2  # noqa: PLC0415  # as above

    green = in_space_of(picture.icc, GREEN)
    result = np.empty_like(picture.rgb)
    inside = np.empty(alpha.shape, np.uint8)
    tint = np.array(green, np.uint16)
    for rows in strips(*alpha.shape):
        mask = mask_rows(picture, alpha, options, rows)
        inside[rows] = (mask > 0.5) * np.uint8(255)
        shown = _shown(picture, rows)
        tinted = ((shown + tint) // 2).astype(np.uint8)
        result[rows] = _blend(tinted, mask, shown)
    border = cv2.Canny(inside, 50, 100)
    for rows in strips(*alpha.shape):
        result[rows][border[rows] != 0] = green
    return result

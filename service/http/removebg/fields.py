"""The fields of remove.bg's contract that say what the answer looks like, and what they mean here.

``contract`` calls ``parse`` with what ``reading`` found. An empty field counts as absent, an unknown one is ignored,
and a wrong value is refused with the code that clients know. No string that a client sent may leave this module as a
result: ``parse`` returns enums, numbers and flags. Only a message may quote one, through ``quoting``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from PIL import ImageColor

from service.errors import BadParameter
from service.http import measures
from service.http.removebg.errors import RemoveBgError, two_backgrounds
from service.imaging.options import (
    Colour,
    Format,
    Length,
    Margin,
    Options,
    Output,
    Position,
    Region,
)

T = TypeVar("T")

MEGAPIXEL = 1_000_000

SIZES: Final[Mapping[str, int]] = {
    "preview": MEGAPIXEL // 4,
    "small": MEGAPIXEL // 4,
    "regular": MEGAPIXEL // 4,
    "medium": MEGAPIXEL * 3 // 2,
    "hd": 4 * MEGAPIXEL,
    "full": 25 * MEGAPIXEL,
    "4k": 25 * MEGAPIXEL,
    "50MP": 50 * MEGAPIXEL,
    "auto": 50 * MEGAPIXEL,
}
"""The most pixels of an answer; the first is the default."""

FORMATS: Final[Mapping[str, Format | None]] = {
    "auto": None,
    "png": Format.PNG,
    "jpg": Format.JPEG,
    "webp": Format.WEBP,
    "zip": Format.ZIP,
}
"""None: JPEG for an opaque answer, else PNG. The first is the default."""

CHANNELS: Final = ("rgba", "alpha")

TYPES: Final = (
    "person", "product", "animal", "car", "car_interior", "car_part", "transportation", "graphics", "graphic", "other",
)  # fmt: skip
"""The kinds of subject that a client may name; the answer says the same kind again. Nothing here depends on it."""

NOT_APPLIED: Final = ("type", "type_level", "semitransparency", "shadow_type", "shadow_opacity", "add_shadow")
"""Fields that are accepted, and change nothing."""

FLAGS_NOT_APPLIED: Final = ("semitransparency", "add_shadow")
"""Those of them that must be flags."""

_HEX = re.compile(r"#?([0-9a-fA-F]{3,4}|[0-9a-fA-F]{6}|[0-9a-fA-F]{8})")
_YES, _NO = frozenset({"true", "1", "yes", "on"}), frozenset({"false", "0", "no", "off"})


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the fields ask for."""

    options: Options
    kind: str
    """One of ``TYPES``; ``other`` if the client named none."""


def parse(fields: Mapping[str, str], *, with_background: bool) -> Wanted:
    """Read the fields.

    Args:
        fields: name -> value; those that name pictures are ignored.
        with_background: whether a picture for the background came along.

    Raises:
        RemoveBgError: a value is wrong, or two do not go together.
    """
    given = {name: value.strip() for name, value in fields.items() if value.strip()}
    for name in FLAGS_NOT_APPLIED:
        _flag(given, name)
    most_pixels = SIZES[_choice(given, "size", tuple(SIZES))]
    colour = _colour(given["bg_color"]) if "bg_color" in given else None
    if colour is not None and with_background:
        raise two_backgrounds()
    output, background, opacity = _output(given, colour, with_background=with_background)
    opaque = output in (Output.BACKGROUND, Output.WHITE) or (output is Output.COLOUR and opacity == 255)
    chosen = FORMATS[_choice(given, "format", tuple(FORMATS))]
    if chosen is None:
        chosen = Format.JPEG if opaque else Format.PNG
    elif chosen is Format.JPEG and not opaque and output is not Output.MASK:
        # JPEG has no transparency: what is transparent becomes white.
        output, background, opacity = _over_white(background, opacity)
    elif chosen is Format.ZIP and output is not Output.RGBA:
        raise RemoveBgError(
            "invalid_format",
            "A zip holds the colours and the mask of a cut-out, so it takes no background and no channels=alpha.",
        )
    scale, position = _scale_and_position(given)
    crop, margin = _flag(given, "crop"), _margin(given)
    return Wanted(
        Options(
            output=output,
            colour=background,
            opacity=opacity,
            format=chosen,
            clean_edges=output in (Output.COLOUR, Output.WHITE),
            roi=_region(given),
            crop=margin if crop else None,
            scale=scale,
            position=position,
            most_pixels=most_pixels,
            needs_subject=True,
        ),
        given["type"] if given.get("type") in TYPES else "other",
    )


def _output(
    given: Mapping[str, str], colour: tuple[Colour, int] | None, *, with_background: bool
) -> tuple[Output, Colour | None, int]:
    if _choice(given, "channels", CHANNELS) == "alpha":
        return Output.MASK, None, 255
    if with_background:
        return Output.BACKGROUND, None, 255
    if colour is None or colour[1] == 0:
        return Output.RGBA, None, 255
    return Output.COLOUR, *colour


def _over_white(colour: Colour | None, opacity: int) -> tuple[Output, Colour | None, int]:
    if colour is None:
        return Output.WHITE, None, 255
    red, green, blue = (round(value * opacity / 255 + 255 - opacity) for value in colour)
    return Output.COLOUR, (red, green, blue), 255


def _choice(given: Mapping[str, str], name: str, values: tuple[str, ...]) -> str:
    value = given.get(name, values[0])
    if value not in values:
        raise RemoveBgError(f"invalid_{name}", f"The field {name} must be one of {', '.join(values)}.")
    return value


def _flag(given: Mapping[str, str], name: str) -> bool:
    value = given.get(name, "").lower()
    if value and value not in _YES | _NO:
        raise RemoveBgError(f"invalid_{name}", f"The field {name} must be true or false.")
    return value in _YES


def _colour(value: str) -> tuple[Colour, int]:
    """The colour and its opacity, 0-255."""
    name = value.lower()
    if (found := _HEX.fullmatch(value)) is not None:
        digits = found[1] if len(found[1]) > 4 else "".join(digit * 2 for digit in found[1])
        red, green, blue, *opacity = bytes.fromhex(digits)
        return (red, green, blue), opacity[0] if opacity else 255
    if name == "transparent":
        return (0, 0, 0), 0
    if name in ImageColor.colormap:
        red, green, blue = ImageColor.getrgb(name)[:3]
        return (red, green, blue), 255
    raise RemoveBgError(
        "invalid_bg_color",
        "The field bg_color must be 3, 4, 6 or 8 hexadecimal digits, for instance 81d4fa, or a colour's name in CSS.",
    )


def _region(given: Mapping[str, str]) -> Region | None:
    if "roi" not in given:
        return None
    region = _measured("invalid_roi", lambda: measures.region("roi", given["roi"]))
    whole = Length(1, is_share=True)
    everything = region.x1.value == region.y1.value == 0 and region.x2 == region.y2 == whole
    return None if everything else region


def _margin(given: Mapping[str, str]) -> Margin:
    if "crop_margin" not in given:
        return Margin()
    return _measured("invalid_crop_margin", lambda: measures.margin("crop_margin", given["crop_margin"]))


def _scale_and_position(given: Mapping[str, str]) -> tuple[float | None, Position | None]:
    scale, position = given.get("scale"), given.get("position")
    _measured("invalid_scale", lambda: measures.scale_and_position(scale, None))
    return _measured("invalid_position", lambda: measures.scale_and_position(scale, position))


def _measured(code: str, read: Callable[[], T]) -> T:
    """What ``read`` returns; a spelling that it refuses is refused with this code."""
    try:
        return read()
    except BadParameter as error:
        raise RemoveBgError(code, error.message) from error

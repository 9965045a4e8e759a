"""The fields of remove.bg's contract that say what the answer looks like, and what they mean here.

``contract`` calls ``parse`` with what ``reading`` found. An empty field counts as absent, an unknown one is passed
over, and a wrong value is refused with the code that clients know. No string that a client sent may leave this module.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from PIL import ImageColor

from service.http.removebg.errors import RemoveBgError
from service.imaging.options import (
    CENTRE,
    Colour,
    Format,
    Length,
    Margin,
    Options,
    Output,
    Position,
    Region,
)

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

MAX_MARGIN_SHARE: Final = 0.5
MAX_MARGIN_PIXELS: Final = 500

_LENGTH = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,6})?)(px|%)|0+")
_PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,6})?)%")
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
        fields: name -> value; those that name pictures are passed over.
        with_background: whether a picture for the background came along.

    Raises:
        RemoveBgError: a value is wrong, or two do not go together.
    """
    given = {name: value.strip() for name, value in fields.items() if value.strip()}
    for name in ("semitransparency", "add_shadow"):
        _flag(given, name, default=False)
    most_pixels = SIZES[_choice(given, "size", tuple(SIZES))]
    colour = _colour(given["bg_color"]) if "bg_color" in given else None
    if colour is not None and with_background:
        raise RemoveBgError(
            "multiple_bg_sources", "More than one background was given. Give a colour or one picture."
        )
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
    scale, position = _scale(given), _position(given)
    if scale is not None and position is None and given.get("position") is None:
        position = CENTRE
    crop, margin = _flag(given, "crop", default=False), _margin(given)
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


def _flag(given: Mapping[str, str], name: str, *, default: bool) -> bool:
    value = given.get(name, "").lower()
    if value in _YES or value in _NO:
        return value in _YES
    if value:
        raise RemoveBgError(f"invalid_{name}", f"The field {name} must be true or false.")
    return default


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


def _length(text: str) -> Length | None:
    found = _LENGTH.fullmatch(text)
    if found is None:
        return None
    if found[1] is None:
        return Length(0)
    return Length(float(found[1]) / 100, is_share=True) if found[2] == "%" else Length(float(found[1]))


def _region(given: Mapping[str, str]) -> Region | None:
    if "roi" not in given:
        return None
    lengths = [_length(text) for text in given["roi"].split()]
    known = [length for length in lengths if length is not None]
    if len(lengths) != 4 or len(known) != 4:
        raise RemoveBgError(
            "invalid_roi",
            "The field roi must be four lengths in px or %: the left, top, right and bottom edge, "
            "for instance 0% 0% 100% 50%.",
        )
    region = Region(*known)
    everything = Region(Length(0), Length(0), Length(1, is_share=True), Length(1, is_share=True))
    return None if region == everything else region


def _margin(given: Mapping[str, str]) -> Margin:
    if "crop_margin" not in given:
        return Margin()
    lengths = [_length(text) for text in given["crop_margin"].split()]
    known = [
        length
        for length in lengths
        if length is not None and length.value <= (MAX_MARGIN_SHARE if length.is_share else MAX_MARGIN_PIXELS)
    ]
    if len(known) != len(lengths) or len(known) not in (1, 2, 4):
        raise RemoveBgError(
            "invalid_crop_margin",
            "The field crop_margin must be one, two or four lengths of at most 50% or 500px, for instance 10% 20px.",
        )
    if len(known) == 1:
        return Margin(*known * 4)
    return Margin(*known * 2) if len(known) == 2 else Margin(*known)


def _share(text: str) -> float | None:
    """0-1."""
    found = _PERCENT.fullmatch(text)
    if found is None or float(found[1]) > 100:
        return None
    return float(found[1]) / 100


def _scale(given: Mapping[str, str]) -> float | None:
    value = given.get("scale", "original")
    if value == "original":
        return None
    share = _share(value)
    if share is None or share < 0.1:
        raise RemoveBgError("invalid_scale", "The field scale must be from 10% to 100%, or original.")
    return share


def _position(given: Mapping[str, str]) -> Position | None:
    value = given.get("position", "original")
    if value == "original":
        return None
    if value == "center":
        return CENTRE
    shares = [_share(text) for text in value.split()]
    known = [share for share in shares if share is not None]
    if len(known) != len(shares) or len(known) not in (1, 2):
        raise RemoveBgError(
            "invalid_position",
            "The field position must be original, center, or one or two shares from 0% to 100%, the horizontal first.",
        )
    return Position(known[0], known[-1])

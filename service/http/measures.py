"""Lengths, shares and places as clients write them: ``30px``, ``10%``, ``center``.

``parameters`` reads those of ``/process`` with it, and other services' contracts read theirs, which have other names
but the same spelling: remove.bg's. Nothing but numbers may leave this module.
"""

from __future__ import annotations

import re

from service.errors import BadParameter
from service.http.quoting import quote
from service.imaging.options import CENTRE, Length, Margin, Position, Region

MOST_MARGIN_SHARE, MOST_MARGIN_PIXELS = 0.5, 500
LEAST_SCALE = 0.1

_LENGTH = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(px|%)")


def margin(name: str, text: str) -> Margin:
    """One, two or four lengths, as in CSS: all sides; top and bottom, right and left; or each, clockwise from the top.

    Raises:
        BadParameter: another spelling, or a length above its limit.
    """
    lengths = _lengths(text)
    if lengths is None or len(lengths) not in (1, 2, 4) or any(map(_too_wide, lengths)):
        raise BadParameter(
            f"{name} is {quote(text)}, but it must be one, two or four lengths of at most 50% or 500px, such as "
            "'10%' or '20px 0 20px 40px' (top, right, bottom, left)."
        )
    if len(lengths) == 4:
        return Margin(*lengths)
    vertical, horizontal = lengths[0], lengths[-1]
    return Margin(vertical, horizontal, vertical, horizontal)


def scale_and_position(scale: str | None, position: str | None) -> tuple[float | None, Position | None]:
    """``Options.scale`` and ``Options.position``; a scale alone puts the subject into the middle.

    Args:
        scale: ``10%`` to ``100%``, or ``original``; None if it was not given.
        position: ``original``, ``center``, or one or two shares; None if it was not given.

    Raises:
        BadParameter: another spelling.
    """
    share = None if scale is None else _scale(scale)
    if position is None:
        return share, None if share is None else CENTRE
    return share, _position(position)


def region(name: str, text: str) -> Region:
    """Left, top, right and bottom.

    Raises:
        BadParameter: not four lengths.
    """
    lengths = _lengths(text)
    if lengths is None or len(lengths) != 4:
        raise BadParameter(
            f"{name} is {quote(text)}, but it must be four lengths: left, top, right and bottom, such as "
            "'0% 10% 100% 90%' or '0px 40px 300px 500px'."
        )
    return Region(*lengths)


def _scale(text: str) -> float | None:
    if text == "original":
        return None
    length = _length(text)
    if length is None or not length.is_share or not LEAST_SCALE <= length.value <= 1:
        raise BadParameter(f"scale is {quote(text)}, but it must be from 10% to 100%, or original.")
    return length.value


def _position(text: str) -> Position | None:
    if text == "original":
        return None
    if text == "center":
        return CENTRE
    lengths = _lengths(text)
    if (
        lengths is None
        or len(lengths) not in (1, 2)
        or not all(each.is_share and each.value <= 1 for each in lengths)
    ):
        raise BadParameter(
            f"position is {quote(text)}, but it must be original, center, or one or two values from 0% to 100% "
            "(from the left, from the top), such as '50% 100%'."
        )
    return Position(lengths[0].value, lengths[-1].value)


def _lengths(text: str) -> list[Length] | None:
    """The lengths in a text, between spaces; None if anything else is in it."""
    lengths = [_length(word) for word in text.split(" ") if word]
    known = [length for length in lengths if length is not None]
    return known if len(known) == len(lengths) else None


def _length(word: str) -> Length | None:
    if word == "0":
        return Length(0)
    match = _LENGTH.fullmatch(word)
    if match is None:
        return None
    number = float(match[1])
    return Length(number / 100, is_share=True) if match[2] == "%" else Length(number)


def _too_wide(length: Length) -> bool:
    return length.value > (MOST_MARGIN_SHARE if length.is_share else MOST_MARGIN_PIXELS)

"""What a client may ask of ``/process``, read from the query and the form fields together.

Values are exact: names and words are lower case, a colour is ``#`` and six hexadecimal digits, a flag is ``true``
or ``false``. One spelling each keeps caches, logs and tests honest; a near miss is answered with the right one.
No string of a client's goes any further than this module: what leaves it are enums, numbers and flags.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from service.errors import BadParameter

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
    """One request's wishes; the defaults are the defaults of the API."""

    output: Output = Output.RGBA
    colour: Colour | None = None
    """The background colour; set if and only if ``output`` is ``Output.COLOUR``."""
    format: Format = Format.PNG
    threshold: float | None = None
    """0-1; makes the mask hard: foreground is what lies above it. None keeps the soft mask."""
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


NAMES = ("output", "format", "threshold", "reverse")
"""The parameters there are."""

_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
_NUMBER = re.compile(r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_QUOTED_LENGTH = 40


def parse(parameters: Mapping[str, str] | Iterable[tuple[str, str]]) -> Options:
    """Read the parameters of one request.

    Args:
        parameters: (name, value) pairs, decoded. Pass query and form fields in one sequence, so that a parameter
            given in both is seen as the duplicate it is; a plain mapping cannot hold duplicates.

    Raises:
        BadParameter: an unknown name, a name given twice, an invalid value, or ``rgba`` asked for as JPEG.
    """
    pairs = parameters.items() if isinstance(parameters, Mapping) else parameters
    given: dict[str, str] = {}
    for name, value in pairs:
        if name not in NAMES:
            raise BadParameter(f"There is no parameter {_quote(name)}; there are {', '.join(NAMES)}.")
        if name in given:
            raise BadParameter(f"The parameter {name} is given more than once; give it once.")
        given[name] = value

    output, colour = _output(given.get("output", Output.RGBA))
    options = Options(
        output=output,
        colour=colour,
        format=_choice("format", Format, given.get("format", Format.PNG)),
        threshold=_threshold(given["threshold"]) if "threshold" in given else None,
        reverse=_flag("reverse", given.get("reverse", "false")),
    )
    if options.output is Output.RGBA and options.format is Format.JPEG:
        raise BadParameter(
            "JPEG has no transparency, so output=rgba cannot be JPEG; ask for png, webp or avif, "
            "or for another output."
        )
    return options


def _output(value: str) -> tuple[Output, Colour | None]:
    if _COLOUR.fullmatch(value):
        return Output.COLOUR, (int(value[1:3], 16), int(value[3:5], 16), int(value[5:7], 16))
    if value == Output.COLOUR:  # the placeholder of the documentation, taken literally
        raise BadParameter("output=#rrggbb wants digits: for instance #ff8800, written %23ff8800 in a query.")
    if value == "" or _COLOUR.fullmatch(f"#{value}"):
        raise BadParameter(
            f"output is {_quote(value)}; a colour starts with '#', written %23 in a query (%23ff8800), "
            "where a bare '#' ends the address."
        )
    return _choice("output", Output, value), None


_Choice = TypeVar("_Choice", bound=StrEnum)


def _choice(name: str, choices: type[_Choice], value: str) -> _Choice:
    try:
        return choices(value)
    except ValueError:
        raise BadParameter(f"{name} is {_quote(value)}; it takes one of {', '.join(choices)}.") from None


def _threshold(value: str) -> float:
    # float() alone would take "nan", "inf", "1_0" and other scripts' digits.
    number = float(value) if _NUMBER.fullmatch(value) else -1.0
    if not 0.0 <= number <= 1.0:
        raise BadParameter(f"threshold is {_quote(value)}; it takes a number from 0 to 1, for instance 0.5.")
    return number


def _flag(name: str, value: str) -> bool:
    if value not in ("true", "false"):
        raise BadParameter(f"{name} is {_quote(value)}; it takes true or false.")
    return value == "true"


def _quote(text: str) -> str:
    """The client's own words, short and printable."""
    return ascii(text if len(text) <= _QUOTED_LENGTH else text[:_QUOTED_LENGTH] + "...")

"""The parameters of ``/process``, read from the query and the form fields together.

The handler of ``/process`` calls ``parse``. There is one spelling for each value: names and words are lower case, a
colour is ``#`` and six hexadecimal digits, a flag is ``true`` or ``false``. The error for a wrong value says which
values are right. No string that a client sent may leave this module: it returns enums, numbers and flags.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum
from typing import TypeVar

from service.errors import BadParameter
from service.imaging.options import Colour, Format, Options, Output

NAMES = ("output", "format", "threshold", "reverse")
"""All parameters."""

IGNORED_FIELDS = frozenset(
    {
        "_charset_",  # browsers: the encoding of the form
        "submit",  # the button that was pressed
        "MAX_FILE_SIZE",  # PHP
        "utf8",  # Rails
        "_method",
        "authenticity_token",
        "csrfmiddlewaretoken",  # Django
        "csrf_token",  # Flask
        "_csrf",  # Spring, Express
        "_token",  # Laravel
        "__RequestVerificationToken",  # ASP.NET
    }
)
"""Fields that browsers and web frameworks add to every form; they say nothing about the picture."""

_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
_NUMBER = re.compile(r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_QUOTED_LENGTH = 40


def parse(pairs: Iterable[tuple[str, str]]) -> Options:
    """Read the parameters of one request.

    Args:
        pairs: (name, value), decoded. Pass query and form fields in one sequence, so that a parameter in both is
            refused as a duplicate.

    Raises:
        BadParameter: an unknown name, a name given twice, an invalid value, or ``rgba`` together with JPEG.
    """
    given: dict[str, str] = {}
    for name, value in pairs:
        if name not in NAMES:
            raise BadParameter(
                f"The parameter {_quote(name)} is unknown. The parameters are {', '.join(NAMES)}."
            )
        if name in given:
            raise BadParameter(f"The parameter {name} is given more than once. Give it once.")
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
            "JPEG has no transparency, so it cannot hold output=rgba. Ask for png, webp or avif, "
            "or for another output."
        )
    return options


def _output(value: str) -> tuple[Output, Colour | None]:
    if _COLOUR.fullmatch(value):
        return Output.COLOUR, (int(value[1:3], 16), int(value[3:5], 16), int(value[5:7], 16))
    if value == Output.COLOUR:  # the placeholder of the documentation
        raise BadParameter(
            "output=#rrggbb stands for a colour. Write hexadecimal digits, for instance #ff8800; "
            "in a query, write %23ff8800."
        )
    if value == "" or _COLOUR.fullmatch(f"#{value}"):
        raise BadParameter(
            f"output is {_quote(value)}, but a colour starts with '#'. In a query, write %23 for it (%23ff8800): "
            "a '#' ends the address."
        )
    return _choice("output", Output, value), None


_Choice = TypeVar("_Choice", bound=StrEnum)


def _choice(name: str, choices: type[_Choice], value: str) -> _Choice:
    try:
        return choices(value)
    except ValueError:
        raise BadParameter(
            f"{name} is {_quote(value)}, but it must be one of {', '.join(choices)}."
        ) from None


def _threshold(value: str) -> float:
    # float() alone would also take "nan", "inf", "1_0" and the digits of other scripts.
    number = float(value) if _NUMBER.fullmatch(value) else -1.0
    if not 0.0 <= number <= 1.0:
        raise BadParameter(
            f"threshold is {_quote(value)}, but it must be a number from 0 to 1, for instance 0.5."
        )
    return number


def _flag(name: str, value: str) -> bool:
    if value not in ("true", "false"):
        raise BadParameter(f"{name} is {_quote(value)}, but it must be true or false.")
    return value == "true"


def _quote(text: str) -> str:
    """A client's string, printable and at most ``_QUOTED_LENGTH`` characters long as printed.

    It is shortened after it is escaped, because one character can become ten (``\\U0001d4ff``).
    """
    escaped = ascii(text)[1:-1]
    return f"'{escaped}'" if len(escaped) <= _QUOTED_LENGTH else f"'{escaped[:_QUOTED_LENGTH]}...'"

"""The parameters of ``/process``, read from the query and the form fields together.

The handler of ``/process`` calls ``parse``. There is one spelling for each value: names and words are lower case, a
colour is ``#`` and six hexadecimal digits. Only a flag, ``true`` or ``false``, may have capitals, as programs in Python
send it. The error for a wrong value says which values are right. No string that a client sent may leave this module as
a result: it returns enums, numbers and flags. Only a message may quote one, through ``quoting``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import TypeVar

from service.errors import BadParameter
from service.http import measures
from service.http.quoting import quote
from service.imaging.options import Colour, Format, Margin, Options, Output

NAMES = (
    "output",
    "format",
    "quality",
    "threshold",
    "reverse",
    "crop",
    "margin",
    "scale",
    "position",
    "size",
)
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
_WHOLE_NUMBER = re.compile(r"[1-9][0-9]{0,8}")


def parse(pairs: Iterable[tuple[str, str]]) -> Options:
    """Read the parameters of one request.

    Args:
        pairs: (name, value), decoded. Pass query and form fields in one sequence, so that a parameter in both is
            refused as a duplicate.

    Raises:
        BadParameter: an unknown name, a name given twice, an invalid value, or values that do not go
            together, such as ``rgba`` and JPEG.
    """
    given: dict[str, str] = {}
    for name, value in pairs:
        if name not in NAMES:
            raise BadParameter(
                f"The parameter {quote(name)} is unknown. The parameters are {', '.join(NAMES)}."
            )
        if name in given:
            raise BadParameter(f"The parameter {name} is given more than once. Give it once.")
        given[name] = value

    output, colour = _output(given.get("output", Output.RGBA))
    scale, position = measures.scale_and_position(given.get("scale"), given.get("position"))
    options = Options(
        output=output,
        colour=colour,
        format=_choice("format", Format, given.get("format", Format.PNG)),
        threshold=_threshold(given["threshold"]) if "threshold" in given else None,
        reverse=_flag("reverse", given.get("reverse", "false")),
        quality=_whole_number("quality", given["quality"], 100) if "quality" in given else None,
        crop=_crop(given),
        scale=scale,
        position=position,
        longest_side=_whole_number("size", given["size"]) if "size" in given else None,
    )
    _check_together(options)
    return options


def check_background(options: Options, *, given: bool) -> None:
    """Make sure that a second picture was sent if and only if the output needs one.

    Raises:
        BadParameter: what is missing, or too much.
    """
    wanted = options.output is Output.BACKGROUND
    if wanted and not given:
        raise BadParameter(
            "output=background needs a second picture: send a form with a file part called 'background' that holds one."
        )
    if given and not wanted:
        raise BadParameter(
            "The form has a part called 'background', which only output=background uses. Ask for that, or leave "
            "the file out."
        )


def _check_together(options: Options) -> None:
    """Refuse options of which one would have no effect."""
    if options.output is Output.RGBA and options.format is Format.JPEG:
        raise BadParameter(
            "JPEG has no transparency, so it cannot hold output=rgba. Ask for png, webp or avif, "
            "or for another output."
        )
    if options.format is Format.ZIP and options.output is not Output.RGBA:
        raise BadParameter(
            "format=zip holds the colours and the mask of a cut-out, so it goes with output=rgba alone."
        )
    if options.quality is not None and options.format is Format.PNG:
        raise BadParameter("quality is for jpeg, webp, avif and zip: a PNG loses nothing.")
    if options.moves_subject and options.output in (Output.BLUR, Output.OVERLAY):
        raise BadParameter(
            f"scale and position take the subject off its background, and output={options.output} shows that "
            "background. Leave them out, or ask for another output."
        )


def _crop(given: Mapping[str, str]) -> Margin | None:
    if _flag("crop", given.get("crop", "false")):
        return measures.margin("margin", given["margin"]) if "margin" in given else Margin()
    if "margin" in given:
        raise BadParameter("margin is what crop=true leaves around the subject. Ask for crop=true, too.")
    return None


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
            f"output is {quote(value)}, but a colour starts with '#'. In a query, write %23 for it (%23ff8800): "
            "a '#' ends the address."
        )
    return _choice("output", Output, value), None


_Choice = TypeVar("_Choice", bound=StrEnum)


def _choice(name: str, choices: type[_Choice], value: str) -> _Choice:
    try:
        return choices(value)
    except ValueError:
        raise BadParameter(f"{name} is {quote(value)}, but it must be one of {', '.join(choices)}.") from None


def _threshold(value: str) -> float:
    # float() alone would also take "nan", "inf", "1_0" and the digits of other scripts.
    number = float(value) if _NUMBER.fullmatch(value) else -1.0
    if not 0.0 <= number <= 1.0:
        raise BadParameter(
            f"threshold is {quote(value)}, but it must be a number from 0 to 1, for instance 0.5."
        )
    return number


def _whole_number(name: str, value: str, limit: int | None = None) -> int:
    if not _WHOLE_NUMBER.fullmatch(value) or (limit is not None and int(value) > limit):
        most = "up" if limit is None else f"to {limit}"
        raise BadParameter(f"{name} is {quote(value)}, but it must be a whole number from 1 {most}.")
    return int(value)


def _flag(name: str, value: str) -> bool:
    flag = value.lower()
    if flag not in ("true", "false"):
        raise BadParameter(f"{name} is {quote(value)}, but it must be true or false.")
    return flag == "true"

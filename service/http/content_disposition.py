"""Reads the ``Content-Disposition`` header of a form's part: its name, and whether the part is a file.

``body`` uses it instead of aiohttp's parser, which gives up the name of a part if its file name is unusual. A file name
is the sender's business: whatever it is, it must not matter. Nothing of it is kept, and no codec is looked up by a name
that a client sent, because Python keeps such names for ever.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice
from urllib.parse import unquote

MAX_PARAMETERS = 8
"""What follows is not looked at, so that a long header of half-open quotes takes no time. A browser sends two."""

_ENCODED = re.compile(r"(utf-8|iso-8859-1)'[^']*'(.*)", re.IGNORECASE | re.DOTALL)

# A quoted value ends at a quote that nothing but a semicolon or the end follows. With backslashes as the RFC has them;
# else as browsers have them, which send a quote as %22 and a backslash as it is; else, without an end, at a semicolon.
_PARAMETER = re.compile(
    r"""
    \s* (?P<key> [^=;\s"]+ ) \s* = \s*
    (?: "(?P<escaped> (?: [^"\\] | \\. )* )" \s* (?= ; | $ )
      | "(?P<quoted> .*? )" \s* (?= ; | $ )
      | (?P<plain> [^;]* )
    )
    | [^;]+
    | ;
    """,
    re.VERBOSE | re.DOTALL,
)


class UnknownCharset(ValueError):
    """The name of the part is encoded in a character set other than UTF-8 and ISO 8859-1."""


@dataclass(frozen=True, slots=True)
class Disposition:
    """What matters of a part's header."""

    name: str | None
    """None if the part has none."""
    is_file: bool
    """Whether it has a file name, which may be empty."""


def parse(header: str) -> Disposition:
    """Read the header, whatever its file name looks like. Of several names, the first counts.

    Raises:
        UnknownCharset: see there.
    """
    name: str | None = None
    is_file = False
    _, _, parameters = header.partition(";")
    for match in islice(_PARAMETER.finditer(parameters), 2 * MAX_PARAMETERS):  # the semicolons match as well
        if match["key"] is None:
            continue
        key = match["key"].lower()
        if key.partition("*")[0] == "filename":
            is_file = True
        elif name is None and key == "name":
            name = _value(match)
        elif name is None and key == "name*":
            name = _decoded(_value(match))
    return Disposition(name, is_file)


def _value(match: re.Match[str]) -> str:
    if match["escaped"] is not None:
        return re.sub(r"\\(.)", r"\1", match["escaped"], flags=re.DOTALL)
    return (match["quoted"] if match["quoted"] is not None else match["plain"]).strip()


def _decoded(value: str) -> str:
    """An encoded value of RFC 8187."""
    match = _ENCODED.fullmatch(value)
    if match is None:
        raise UnknownCharset
    return unquote(match[2], match[1].lower(), "replace")

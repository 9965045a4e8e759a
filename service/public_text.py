"""Takes the paths of the server's disk out of a text that everyone may read; the log keeps the whole text.

The engines' errors and ``warmup`` use it for everything that ``/warmup`` shows: a path says who runs the service and
how, and helps nobody who cannot log in. The name of the file stays, because it says which file is meant.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

# At least two parts, so that routes (/warmup) stay; not within a word or behind a colon or a slash, so that addresses
# (https://host/a/b) and fractions stay. A quoted path may hold spaces.
_QUOTED = re.compile(r"""(['"])(~?/[^'"\n]*/[^'"\n]*)\1""")
_PLAIN = re.compile(r"""(?<![\w:/.~-])~?/[^\s/'"]+(?:/[^\s/'"]*)+""")
_TRAILING = ".,;:)]"


def without_paths(text: str, paths: Iterable[Path] = ()) -> str:
    """The text with the name of each file or directory in place of its path.

    Args:
        text: a message, of our own or of a library.
        paths: those that the text is known to name, which may be relative or hold spaces. Whatever else looks like an
            absolute path is shortened too.
    """
    for path in sorted(set(paths), key=lambda path: -len(str(path))):
        text = text.replace(str(path), path.name)
    text = _QUOTED.sub(lambda match: f"{match[1]}{_name(match[2])}{match[1]}", text)
    return _PLAIN.sub(lambda match: _name(match[0]), text)


def public_reason(error: BaseException) -> str:
    """What may be said of any exception: its ``public`` text if it has one, else its message without paths."""
    public = getattr(error, "public", None)
    if isinstance(public, str):
        return public
    names = (error.filename, error.filename2) if isinstance(error, OSError) else ()
    return without_paths(str(error), [Path(name) for name in names if isinstance(name, str) and name])


def _name(path: str) -> str:
    stem = path.rstrip(_TRAILING)
    return stem.rstrip("/").rpartition("/")[2] + path[len(stem) :]

"""A client's string in an error message.

``parameters`` and ``measures`` quote with it. What comes out is printable, ASCII and short, whatever went in.
"""

from __future__ import annotations

_QUOTED_LENGTH = 40


def quote(text: str) -> str:
    """A client's string, printable and at most ``_QUOTED_LENGTH`` characters long as printed.

    It is shortened after it is escaped, because one character can become ten (``\\U0001d4ff``).
    """
    escaped = ascii(text)[1:-1]
    return f"'{escaped}'" if len(escaped) <= _QUOTED_LENGTH else f"'{escaped[:_QUOTED_LENGTH]}...'"

"""Which content codings a client accepts (RFC 9110, section 12.5.3).

``exposition`` asks it before it compresses. A coding with ``q=0`` is one that the client refuses.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_WEIGHT = re.compile(r"q\s*=\s*(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)\s*", re.IGNORECASE)


def accepts_gzip(accept_encoding: Iterable[str]) -> bool:
    """Whether an answer may be compressed with gzip.

    Args:
        accept_encoding: the values of all ``Accept-Encoding`` headers. Without one, the answer is not compressed.
    """
    weights: dict[str, float] = {}
    for item in ",".join(accept_encoding).split(","):
        coding, _, weight = item.partition(";")
        weights[coding.strip().lower()] = _weight(weight)
    for name in ("gzip", "x-gzip", "*"):
        if name in weights:
            return weights[name] > 0
    return False


def _weight(text: str) -> float:
    """The weight of an item; 1 without one, and 0 if it is malformed: then plain bytes are the safe answer."""
    if not text.strip():
        return 1.0
    match = _WEIGHT.fullmatch(text.strip())
    return float(match[1]) if match else 0.0

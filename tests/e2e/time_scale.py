"""Divides every duration in the rules and configurations of the repository by one factor. Nothing else changes.

So the end-to-end tests use the real rules, and minutes become seconds.
"""

from __future__ import annotations

import re
from typing import Any

FACTOR = 60
"""A minute becomes a second."""

SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
RULE_DURATIONS = {"for", "keep_firing_for"}
CONFIG_DURATIONS = {
    "scrape_interval",
    "evaluation_interval",
    "interval",
    "group_wait",
    "group_interval",
    "repeat_interval",
}

_DURATION = re.compile(r"(\d+)(ms|[smhdw])")
_IN_PROMQL = re.compile(r"(?<=\[)\d+(?:ms|[smhdw])(?=\])|(?<=\boffset )\d+(?:ms|[smhdw])\b")


def duration(text: str, factor: float = FACTOR) -> str:
    """Divide a duration like ``5m`` by the factor, and write it in whole milliseconds.

    Raises:
        ValueError: the text is not a duration as Prometheus and Alertmanager write it.
    """
    if text == "0s":
        return text
    if (match := _DURATION.fullmatch(text)) is None:
        raise ValueError(f"not a duration: {text!r}")
    milliseconds = int(match[1]) * SECONDS[match[2]] * 1000 / factor
    return f"{max(1, round(milliseconds))}ms"


def promql(expression: str, factor: float = FACTOR) -> str:
    """Divide the ranges and offsets of an expression by the factor."""
    return _IN_PROMQL.sub(lambda match: duration(match[0], factor), expression)


def configuration(node: Any, factor: float = FACTOR) -> Any:
    """Divide every duration in a parsed rule file or in a parsed configuration of Prometheus or Alertmanager."""
    if isinstance(node, list):
        return [configuration(item, factor) for item in node]
    if not isinstance(node, dict):
        return node
    scaled = {}
    for key, value in node.items():
        if isinstance(value, str) and key in RULE_DURATIONS | CONFIG_DURATIONS:
            scaled[key] = duration(value, factor)
        elif isinstance(value, str) and key in {"expr", "description"}:
            scaled[key] = promql(value, factor)
        else:
            scaled[key] = configuration(value, factor)
    return scaled

"""Finds the metric and label names in PromQL expressions. It does not check the syntax: promtool does that."""

from __future__ import annotations

import re
from typing import NamedTuple

KEYWORDS = {"and", "or", "unless", "offset", "bool", "inf", "nan"}

_COMMENT = re.compile(r"#.*")
_STRING = r'"(?:[^"\\]|\\.)*"'
_GROUPING = re.compile(r"\b(by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_DURATION = re.compile(r"\[[^]]*\]|\boffset\s+\w+")
_SELECTOR = re.compile(
    rf"(?P<name>[a-zA-Z_:][\w:]*)?\s*(?:\{{(?P<matchers>(?:{_STRING}|[^}}])*)\}})?(?P<call>\s*\()?"
)
_MATCHER = re.compile(rf"(\w+)\s*(=~|!~|!=|=)\s*({_STRING})")


class Selector(NamedTuple):
    """The name of a metric (empty if there are only matchers), and its matchers: label, operator, value."""

    name: str
    matchers: tuple[tuple[str, str, str], ...]


def selectors(expression: str) -> list[Selector]:
    """Return every instant selector and range selector in an expression."""
    text = _DURATION.sub(" ", _GROUPING.sub(" ", _without_comments(expression)))
    found = []
    for match in _SELECTOR.finditer(text):
        name, matchers = match["name"] or "", match["matchers"]
        if match["call"] and matchers is None:
            continue  # a function, an aggregation, or a bare parenthesis
        if (not name and matchers is None) or name.lower() in KEYWORDS or _is_end_of_a_number(text, match):
            continue
        parsed = tuple((label, op, value[1:-1]) for label, op, value in _MATCHER.findall(matchers or ""))
        found.append(Selector(name, parsed))
    return found


def grouping_labels(expression: str) -> set[str]:
    """Return the labels in ``by``, ``without``, ``on``, ``ignoring``, ``group_left`` and ``group_right`` clauses."""
    return {
        label.strip()
        for _, labels in _GROUPING.findall(_without_comments(expression))
        for label in labels.split(",")
        if label.strip()
    }


def _without_comments(expression: str) -> str:
    return "\n".join(_COMMENT.sub("", line) for line in expression.splitlines())


def _is_end_of_a_number(text: str, match: re.Match[str]) -> bool:
    """Return whether the match is part of a number, like ``e3`` in ``1e3``."""
    return match.start() > 0 and text[match.start() - 1].isdigit()


def matches(matcher: tuple[str, str, str], labels: dict[str, str]) -> bool:
    """Return whether a series with these labels satisfies the matcher. A missing label counts as empty."""
    label, op, wanted = matcher
    actual = labels.get(label, "")
    match op:
        case "=":
            return actual == wanted
        case "!=":
            return actual != wanted
        case "=~":
            return re.fullmatch(wanted, actual) is not None
        case _:
            return re.fullmatch(wanted, actual) is None

"""What went wrong with one input, for a person.

Every module of ``service.batch`` reports in this form, and the command prints it. A reason must be a sentence that says
what to do or what was wrong. Names and reasons can come from outside, so they are printed through ``printable``.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One input that gives no result."""

    name: str
    """The path as the user knows it, or ``-`` for standard input."""
    reason: str

    def __str__(self) -> str:
        return printable(f"{self.name}: {self.reason}")


def printable(text: str) -> str:
    """The text without characters that would move a terminal's cursor or that no encoding can write."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def system_reason(error: OSError) -> str:
    """What the operating system says, without the path."""
    return f"{error.strerror or type(error).__name__}."

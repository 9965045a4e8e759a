"""The form in which problems are printed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from service.batch.problem import Problem, printable, system_reason


def test_a_problem_is_a_line() -> None:
    assert str(Problem("a.jpg", "It is empty.")) == "a.jpg: It is empty."
    assert str(Problem("a\x1b[2J\n\udcff.jpg", "It.")) == r"a\x1b[2J\n\udcff.jpg: It."


@given(st.text())
def test_what_is_printed_moves_no_cursor_and_can_be_encoded(text: str) -> None:
    assert printable(text).isprintable()
    printable(text).encode()


def test_what_the_system_says_is_a_sentence() -> None:
    assert system_reason(OSError(13, "Permission denied", "/secret")) == "Permission denied."
    assert system_reason(TimeoutError()) == "TimeoutError."

"""What a command shows while it works."""

from __future__ import annotations

import io

from service.cli.progress import ProgressDisplay


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_without_a_terminal_each_picture_is_a_plain_line() -> None:
    stream = io.StringIO()
    with ProgressDisplay(2, stream=stream) as display:
        display.picture("a.jpg")
        display.picture("b\n.jpg", "It is empty.")
    assert stream.getvalue() == "1/2 a.jpg\n2/2 b\\n.jpg: FAILED: It is empty.\n"


def test_without_a_total_the_lines_are_counted() -> None:
    stream = io.StringIO()
    with ProgressDisplay(None, stream=stream) as display:
        display.picture("a.jpg")
        display.line("a note")
    assert stream.getvalue() == "1 a.jpg\na note\n"


def test_a_terminal_shows_count_rate_and_time_left_and_what_failed() -> None:
    stream = Terminal()
    with ProgressDisplay(2, stream=stream) as display:
        display.picture("a.jpg")
        display.picture("b.jpg", "It is empty.")
    text = stream.getvalue()
    assert "2/2 [" in text
    assert "pictures" in text
    assert "<" in text  # between the time that has passed and the time that is left
    assert "2/2 b.jpg: FAILED: It is empty.\n" in text
    assert "a.jpg" not in text

"""A client's string in an error message is short and printable; ``test_parameters`` has it in whole messages."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from service.http.quoting import quote


@given(st.text())
def test_any_string_becomes_short_printable_ascii(text: str) -> None:
    quoted = quote(text)
    assert len(quoted) <= 45
    assert quoted.isascii()
    assert quoted.isprintable()


def test_a_plain_word_is_quoted_as_it_is() -> None:
    assert quote("mask") == "'mask'"

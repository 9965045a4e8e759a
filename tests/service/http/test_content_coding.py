"""Whether a client accepts gzip, by what it sent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.http.content_coding import accepts_gzip


@pytest.mark.parametrize(
    ("headers", "accepted"),
    [
        ([], False),
        ([""], False),
        (["gzip"], True),
        (["GZip"], True),
        (["x-gzip"], True),
        (["deflate, gzip;q=1.0, *;q=0.5"], True),
        (["gzip;q=0"], False),
        (["gzip;q=0.0"], False),
        (["gzip; Q=0.000"], False),
        (["gzip ; q = 0.001"], True),
        (["*"], True),
        (["*;q=0"], False),
        (["identity, *;q=0"], False),
        (["gzip;q=0, *"], False),
        (["gzip, *;q=0"], True),
        (["br", "gzip"], True),
        (["br, deflate, zstd"], False),
        (["nogzip"], False),
        (["gzip;q=nonsense"], False),
    ],
)
def test_a_coding_is_accepted_unless_its_weight_is_zero(headers: list[str], accepted: bool) -> None:
    assert accepts_gzip(headers) is accepted


@given(st.lists(st.text("gzip*;q=.01, x-"), max_size=4))
def test_any_header_has_an_answer(headers: list[str]) -> None:
    assert accepts_gzip(headers) in {True, False}

"""Lengths, shares and places as clients write them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import BadParameter
from service.http.measures import margin, region, scale_and_position
from service.imaging.options import CENTRE, Length, Margin, Position, Region


def percent(value: float) -> Length:
    return Length(value / 100, is_share=True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30px", Margin(*[Length(30)] * 4)),
        ("0", Margin(*[Length(0)] * 4)),
        ("50%", Margin(*[percent(50)] * 4)),
        ("500px", Margin(*[Length(500)] * 4)),
        ("10% 20px", Margin(percent(10), Length(20), percent(10), Length(20))),
        ("1px 2px 3px 4%", Margin(Length(1), Length(2), Length(3), percent(4))),
        (" 1.5px  2px ", Margin(Length(1.5), Length(2), Length(1.5), Length(2))),
    ],
)
def test_a_margin_is_one_two_or_four_lengths(text: str, expected: Margin) -> None:
    assert margin("margin", text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "5",
        "-1px",
        "501px",
        "50.1%",
        "1px 2px 3px",
        "1px,2px",
        "1 px",
        "1em",
        "10px 20px 30px 40px 50px",
        "nan%",
    ],
)
def test_another_margin_is_refused_with_examples(text: str) -> None:
    with pytest.raises(BadParameter, match=r"crop_margin is .* at most 50% or 500px"):
        margin("crop_margin", text)


@pytest.mark.parametrize(
    ("scale", "position", "expected"),
    [
        (None, None, (None, None)),
        ("original", None, (None, None)),
        ("10%", None, (0.1, CENTRE)),
        ("100%", "original", (1.0, None)),
        ("37.5%", "0%", (0.375, Position(0, 0))),
        (None, "center", (None, CENTRE)),
        (None, "25% 100%", (None, Position(0.25, 1))),
        ("original", "100%", (None, Position(1, 1))),
    ],
)
def test_a_scale_alone_puts_the_subject_into_the_middle(
    scale: str | None, position: str | None, expected: tuple[float | None, Position | None]
) -> None:
    assert scale_and_position(scale, position) == expected


@pytest.mark.parametrize("text", ["", "9%", "101%", "0", "50", "0.5", "50px", "50% 50%", "Original"])
def test_another_scale_is_refused(text: str) -> None:
    with pytest.raises(BadParameter, match="from 10% to 100%, or original"):
        scale_and_position(text, None)


@pytest.mark.parametrize(
    "text", ["", "top", "101%", "50", "50px", "1% 2% 3%", "center center", "-1%", "50% 50px"]
)
def test_another_position_is_refused(text: str) -> None:
    with pytest.raises(BadParameter, match="from 0% to 100%"):
        scale_and_position(None, text)


def test_a_region_is_four_lengths() -> None:
    assert region("roi", "0 10% 300px 100%") == Region(Length(0), percent(10), Length(300), percent(100))


@pytest.mark.parametrize("text", ["", "0 0 1px", "0 0 1px 1px 1px", "a b c d", "-1px 0 1px 1px"])
def test_another_region_is_refused(text: str) -> None:
    with pytest.raises(BadParameter, match="left, top, right and bottom"):
        region("roi", text)


@given(st.text() | st.text(alphabet="0123456789.px% ", max_size=40))
def test_any_text_gives_measures_or_a_short_printable_refusal(text: str) -> None:
    for read in (
        lambda: margin("margin", text),
        lambda: region("roi", text),
        lambda: scale_and_position(text, None),
        lambda: scale_and_position(None, text),
    ):
        assert_accepted_or_refused_in_words(read)


def assert_accepted_or_refused_in_words(read: Callable[[], object]) -> None:
    try:
        read()
    except BadParameter as error:
        message = error.message
    else:
        return
    assert len(message) < 300
    assert message.isprintable()

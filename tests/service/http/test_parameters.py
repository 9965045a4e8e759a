"""The parameters of ``/process``: which values are accepted, and what the errors say."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.errors import BadParameter
from service.http.parameters import NAMES, check_background, parse
from service.imaging.options import Format, Length, Margin, Options, Output


def test_no_parameters_ask_for_a_png_cut_out() -> None:
    assert parse([]) == Options(Output.RGBA, None, Format.PNG, None, reverse=False)


@pytest.mark.parametrize("output", [output for output in Output if output is not Output.COLOUR])
def test_every_named_output_is_understood(output: Output) -> None:
    options = parse([("output", output.value)])
    assert (options.output, options.colour) == (output, None)


@pytest.mark.parametrize("name", list(Format))
def test_every_format_is_understood(name: Format) -> None:
    output = "rgba" if name is Format.ZIP else "white"
    assert parse([("format", name.value), ("output", output)]).format is name


@given(colour=st.tuples(*[st.integers(0, 255)] * 3), upper=st.booleans())
def test_any_colour_is_understood_in_either_case(colour: tuple[int, int, int], upper: bool) -> None:
    digits = "".join(f"{channel:02x}" for channel in colour)
    options = parse([("output", "#" + (digits.upper() if upper else digits))])
    assert options.output is Output.COLOUR
    assert options.colour == options.background == colour


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0.0), ("1", 1.0), ("0.5", 0.5), (".5", 0.5), ("1.", 1.0), ("5e-1", 0.5), ("0.0000001", 1e-7)],
)
def test_a_threshold_is_a_decimal_number(text: str, value: float) -> None:
    assert parse([("threshold", text)]).threshold == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "nan",
        "inf",
        "-inf",
        "-0.1",
        "-0",
        "1.01",
        "2",
        "1e9",
        "0,5",
        "1_0",
        "0x1",
        "\u0660",
        "0.5 ",
        "half",
        "1e999",
        ".",
    ],
)
def test_a_threshold_that_is_no_number_from_0_to_1_is_refused(text: str) -> None:
    with pytest.raises(BadParameter, match="from 0 to 1"):
        parse([("threshold", text)])


@given(st.text(max_size=20))
def test_every_accepted_threshold_is_finite_and_in_range(text: str) -> None:
    try:
        value = parse([("threshold", text)]).threshold
    except BadParameter:
        return
    assert value is not None
    assert math.isfinite(value)
    assert 0 <= value <= 1


@pytest.mark.parametrize("spell", [str.lower, str.title, str.upper])
def test_a_flag_is_true_or_false_in_any_case(spell: Callable[[str], str]) -> None:
    for name in ("reverse", "crop"):
        assert parse([(name, spell("true"))]) != parse([]) == parse([(name, spell("false"))])


@pytest.mark.parametrize("text", ["", "1", "0", "yes", "t", "on", "true "])
def test_a_flag_that_is_neither_true_nor_false_is_refused(text: str) -> None:
    with pytest.raises(BadParameter, match="true or false"):
        parse([("reverse", text)])


def test_an_unknown_parameter_is_named_together_with_all_valid_ones() -> None:
    with pytest.raises(BadParameter) as caught:
        parse([("outptu", "mask")])
    assert "'outptu'" in caught.value.message
    assert all(name in caught.value.message for name in NAMES)


@pytest.mark.parametrize("second", ["mask", "rgba"])
def test_a_parameter_given_twice_is_refused_even_with_the_same_value(second: str) -> None:
    with pytest.raises(BadParameter, match="output is given more than once"):
        parse([("output", "mask"), ("output", second)])


@pytest.mark.parametrize(
    "value",
    ["map", "RGBA", "photo.png", "../../etc/passwd", "[255,0,0]", "white ", "#12345", "#1234567", "#gggggg"],
)
def test_an_unknown_output_is_answered_with_the_valid_ones(value: str) -> None:
    with pytest.raises(BadParameter, match="rgba, mask, green, white, blur, overlay, background, #rrggbb"):
        parse([("output", value)])


@pytest.mark.parametrize("value", ["", "ff0000"])
def test_a_colour_without_its_hash_is_answered_with_the_right_spelling(value: str) -> None:
    with pytest.raises(BadParameter, match="%23"):
        parse([("output", value)])


def test_the_documented_placeholder_is_no_colour() -> None:
    with pytest.raises(BadParameter, match="#ff8800"):
        parse([("output", "#rrggbb")])


@pytest.mark.parametrize("value", ["jpg", "PNG", "gif", "image/png", ""])
def test_an_unknown_format_is_answered_with_the_valid_ones(value: str) -> None:
    with pytest.raises(BadParameter, match="png, webp, jpeg, avif, zip"):
        parse([("format", value)])


def test_jpeg_cannot_hold_a_cut_out() -> None:
    with pytest.raises(BadParameter, match="no transparency"):
        parse([("format", "jpeg")])
    with pytest.raises(BadParameter, match="no transparency"):
        parse([("format", "jpeg"), ("output", "rgba")])
    assert parse([("format", "jpeg"), ("output", "mask")]).format is Format.JPEG


@example([("0" * 7 + "\U0001d4ff" * 40, "")])
@given(st.lists(st.tuples(st.one_of(st.sampled_from(NAMES), st.text()), st.text()), max_size=5))
def test_any_pairs_give_options_or_a_short_printable_refusal(pairs: list[tuple[str, str]]) -> None:
    try:
        parse(pairs)
    except BadParameter as error:
        message = error.message
    else:
        return
    assert len(message) < 300
    assert message.isprintable()
    assert message.isascii()


def test_a_crop_has_a_margin_or_none() -> None:
    assert parse([]).crop is None
    assert parse([("crop", "false")]).crop is None
    assert parse([("crop", "true")]).crop == Margin()
    assert parse([("crop", "true"), ("margin", "10px")]).crop == Margin(*[Length(10)] * 4)


@pytest.mark.parametrize("crop", [[], [("crop", "false")]])
def test_a_margin_without_a_crop_is_refused(crop: list[tuple[str, str]]) -> None:
    with pytest.raises(BadParameter, match="Ask for crop=true"):
        parse([*crop, ("margin", "10px")])


def test_scale_position_size_and_quality_are_understood() -> None:
    options = parse([("scale", "50%"), ("position", "0% 100%"), ("size", "800")])
    assert (options.scale, options.position, options.longest_side) == (0.5, (0, 1), 800)
    assert parse([("output", "white"), ("format", "jpeg"), ("quality", "100")]).quality == 100


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "07", "1e3", "1234567890", "800px", "\u0661"])
def test_a_size_that_is_no_whole_number_is_refused(text: str) -> None:
    with pytest.raises(BadParameter, match=r"size is .* a whole number from 1 up"):
        parse([("size", text)])


@pytest.mark.parametrize("text", ["0", "101", "high"])
def test_a_quality_beyond_its_limits_is_refused(text: str) -> None:
    with pytest.raises(BadParameter, match=r"quality is .* from 1 to 100"):
        parse([("format", "webp"), ("quality", text)])


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        ([("quality", "80")], "a PNG loses nothing"),
        ([("format", "zip"), ("output", "mask")], "output=rgba alone"),
        ([("output", "blur"), ("scale", "50%")], "output=blur shows that background"),
        ([("output", "overlay"), ("position", "center")], "output=overlay shows that background"),
    ],
)
def test_options_of_which_one_would_do_nothing_are_refused(pairs: list[tuple[str, str]], words: str) -> None:
    with pytest.raises(BadParameter, match=words):
        parse(pairs)


def test_a_background_is_sent_if_and_only_if_it_is_asked_for() -> None:
    asked, other = parse([("output", "background")]), parse([])
    check_background(asked, given=True)
    check_background(other, given=False)
    with pytest.raises(BadParameter, match="file part called 'background'"):
        check_background(asked, given=False)
    with pytest.raises(BadParameter, match="leave the file out"):
        check_background(other, given=True)

"""The fields of remove.bg's contract: what each value means, and that every other text is refused with a code."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.http.removebg.errors import RemoveBgError
from service.http.removebg.fields import FORMATS, NOT_APPLIED, SIZES, parse
from service.imaging.options import CENTRE, Format, Length, Margin, Options, Output, Position, Region

NAMES = (
    "size", "format", "roi", "crop", "crop_margin", "scale", "position", "channels", "bg_color", "semitransparency",
    "add_shadow", "type", "type_level", "shadow_type", "shadow_opacity",
)  # fmt: skip


def options(*, with_background: bool = False, **fields: str) -> Options:
    return parse(fields, with_background=with_background).options


def code(*, with_background: bool = False, **fields: str) -> str:
    with pytest.raises(RemoveBgError) as refused:
        parse(fields, with_background=with_background)
    assert refused.value.status == 400
    return refused.value.code


def test_without_fields_the_answer_is_a_preview_on_transparency_and_needs_a_subject() -> None:
    assert options() == Options(most_pixels=250_000, needs_subject=True)


@pytest.mark.parametrize(
    ("size", "pixels"),
    [
        ("preview", 250_000), ("small", 250_000), ("regular", 250_000), ("medium", 1_500_000), ("hd", 4_000_000),
        ("full", 25_000_000), ("4k", 25_000_000), ("50MP", 50_000_000), ("auto", 50_000_000),
    ],
)  # fmt: skip
def test_every_size_bounds_the_pixels(size: str, pixels: int) -> None:
    assert options(size=size).most_pixels == pixels


@pytest.mark.parametrize(
    ("value", "colour", "opacity"),
    [
        ("81d4fa", (0x81, 0xD4, 0xFA), 255), ("#81D4FA", (0x81, 0xD4, 0xFA), 255), ("fff", (255, 255, 255), 255),
        ("f008", (255, 0, 0), 0x88), ("81d4fa77", (0x81, 0xD4, 0xFA), 0x77), ("Green", (0, 128, 0), 255),
        ("rebeccapurple", (102, 51, 153), 255),
    ],
)  # fmt: skip
def test_a_colour_is_hexadecimal_or_a_name_of_css(
    value: str, colour: tuple[int, int, int], opacity: int
) -> None:
    for _ in range(2):  # Pillow changes its table when a name is used
        made = options(bg_color=value)
        assert (made.output, made.colour, made.opacity) == (Output.COLOUR, colour, opacity)
        assert made.clean_edges


def test_a_colour_without_opacity_is_no_background() -> None:
    for value in ("transparent", "0000", "ffffff00"):
        assert options(bg_color=value).output is Output.RGBA


def test_jpeg_puts_what_is_transparent_on_white() -> None:
    assert options(format="jpg").output is Output.WHITE
    half = options(format="jpg", bg_color="ff000080")
    assert (half.output, half.colour, half.opacity) == (Output.COLOUR, (255, 127, 127), 255)
    assert options(format="jpg", channels="alpha").output is Output.MASK


def test_auto_is_jpeg_for_an_opaque_answer_and_png_for_any_other() -> None:
    assert options(bg_color="red").format is Format.JPEG
    assert options(with_background=True).format is Format.JPEG
    for fields in ({}, {"bg_color": "f008"}, {"channels": "alpha"}, {"channels": "alpha", "bg_color": "red"}):
        assert options(**fields).format is Format.PNG


def test_a_background_is_one_thing_and_goes_with_no_zip() -> None:
    assert options(with_background=True).output is Output.BACKGROUND
    assert options(with_background=True, channels="alpha").output is Output.MASK
    assert code(with_background=True, bg_color="red") == "multiple_bg_sources"
    assert code(with_background=True, format="zip") == "invalid_format"
    assert code(format="zip", bg_color="red") == "invalid_format"
    assert code(format="zip", channels="alpha") == "invalid_format"


def test_lengths_are_pixels_or_shares() -> None:
    assert options(roi="0 10px 50% 100%").roi == Region(
        Length(0), Length(10), Length(0.5, is_share=True), Length(1, is_share=True)
    )
    assert options(roi="0% 0% 100% 100%").roi == options(roi="0 0 100% 100%").roi is None
    one, two = Length(0.1, is_share=True), Length(30)
    assert options(crop="true", crop_margin="10%").crop == Margin(one, one, one, one)
    assert options(crop="true", crop_margin="10% 30px").crop == Margin(one, two, one, two)
    assert options(crop="true", crop_margin="10% 30px 0 0px").crop == Margin(one, two, Length(0), Length(0))
    assert options(crop_margin="10%").crop is None
    assert options(crop="true").crop == Margin()


def test_a_scale_alone_centres_the_subject() -> None:
    assert (options(scale="80%").scale, options(scale="80%").position) == (0.8, CENTRE)
    assert options(scale="80%", position="original").position is None
    assert options(position="0% 100%").position == Position(0, 1)
    assert options(position="25%").position == Position(0.25, 0.25)
    assert options(scale="original", position="original") == options()


@pytest.mark.parametrize("name", ["crop", "semitransparency", "add_shadow"])
def test_flags_are_spelt_as_clients_spell_them(name: str) -> None:
    for value in ("true", "false", "True", "1", "0", "yes", "no"):
        parse({name: value}, with_background=False)
    assert code(**{name: "perhaps"}) == f"invalid_{name}"


def test_what_is_not_applied_changes_nothing() -> None:
    values = {"type": "car", "type_level": "2", "shadow_type": "drop", "shadow_opacity": "50"}
    values |= {"semitransparency": "false", "add_shadow": "true"}
    assert values.keys() == set(NOT_APPLIED)
    assert options(**values) == options()


@given(st.dictionaries(st.sampled_from(NAMES), st.text(max_size=30)))
def test_any_text_is_understood_or_refused_with_a_code_of_theirs(fields: dict[str, str]) -> None:
    refused: list[RemoveBgError] = []
    try:
        wanted = parse(fields, with_background=False)
    except RemoveBgError as error:
        refused.append(error)
    else:
        assert wanted.options.most_pixels in SIZES.values()
        assert wanted.options.format in {*FORMATS.values()}
    assert all(re.fullmatch(r"invalid_[a-z_]+", error.code) for error in refused)
    assert all(error.message.isprintable() for error in refused)

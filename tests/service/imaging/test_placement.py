"""Where the subject stands in the answer: the arithmetic of crop, margin, scale, position and size."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from service.errors import NoSubject, RegionEmpty, RegionOutside
from service.imaging.options import CENTRE, Length, Margin, Options, Output, Position, Region
from service.imaging.placement import (
    Box,
    cover,
    largest_answer,
    place,
    reduced_size,
    region_box,
    whole,
)
from tests.support.examples import examples

SIZE = (600, 400)
SUBJECT = Box(100, 50, 200, 300)


def px(pixels: float) -> Length:
    return Length(pixels)


def percent(share: float) -> Length:
    return Length(share / 100, is_share=True)


def all_sides(length: Length) -> Margin:
    return Margin(length, length, length, length)


sides = st.integers(1, 40) | st.integers(1, 60_000)
shares = st.floats(0, 1)


@st.composite
def pictures(draw: st.DrawFn) -> tuple[tuple[int, int], Box]:
    width, height = draw(sides), draw(sides)
    left, top = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    return (width, height), Box(
        left, top, draw(st.integers(1, width - left)), draw(st.integers(1, height - top))
    )


lengths = st.builds(Length, st.integers(0, 500)) | st.builds(Length, st.floats(0, 0.5), st.just(True))
margins = st.builds(Margin, lengths, lengths, lengths, lengths)
positions = st.builds(Position, shares, shares)
placed = st.builds(
    Options,
    output=st.sampled_from([Output.RGBA, Output.BLUR]),
    crop=st.none() | margins,
    scale=st.none() | st.floats(0.1, 1),
    position=st.none() | positions,
    longest_side=st.none() | st.integers(1, 70_000),
    most_pixels=st.none() | st.integers(1, 50_000_000),
)


def lies_within(box: Box, size: tuple[int, int]) -> bool:
    return box.left >= 0 <= box.top and box.right <= size[0] and box.bottom <= size[1]


@given(pictures(), placed)
@settings(max_examples=examples(500))
@example(((1, 60_000), Box(0, 0, 1, 1)), Options(scale=0.1, position=Position(1, 1), most_pixels=1))
def test_every_box_lies_within_its_picture_and_is_not_empty(
    picture: tuple[tuple[int, int], Box], options: Options
) -> None:
    size, subject = picture
    placement = place(size, subject, options)
    assert lies_within(placement.source, size)
    assert lies_within(placement.target, placement.canvas)
    assert min(*placement.canvas, *placement.source[2:], *placement.target[2:]) >= 1


@given(pictures(), placed)
def test_no_answer_exceeds_the_sizes_that_were_asked_for(
    picture: tuple[tuple[int, int], Box], options: Options
) -> None:
    width, height = place(*picture, options).canvas
    if options.longest_side is not None:
        assert max(width, height) <= options.longest_side
    if options.most_pixels is not None:
        assert width * height <= options.most_pixels


@given(pictures(), placed)
@example(((100, 1000), Box(0, 0, 100, 100)), Options(crop=Margin(), longest_side=100))
def test_no_answer_exceeds_what_was_foretold_without_the_subject(
    picture: tuple[tuple[int, int], Box], options: Options
) -> None:
    width, height = place(*picture, options).canvas
    pixels, sides = largest_answer(picture[0], options)
    assert width * height <= pixels
    assert width + height <= sides


@given(pictures(), st.booleans())
def test_without_options_the_whole_picture_is_shown_as_it_is(
    picture: tuple[tuple[int, int], Box], found: bool
) -> None:
    size, subject = picture
    assert place(size, subject if found else None, Options()) == whole(size)


@given(pictures())
def test_a_crop_without_a_margin_is_the_subjects_box(picture: tuple[tuple[int, int], Box]) -> None:
    size, subject = picture
    placement = place(size, subject, Options(crop=Margin()))
    assert placement.source == subject
    assert placement.canvas == (subject.width, subject.height)


@given(pictures(), margins)
def test_a_margin_is_where_it_was_asked_for_also_beyond_the_picture(
    picture: tuple[tuple[int, int], Box], margin: Margin
) -> None:
    size, subject = picture
    placement = place(size, subject, Options(crop=margin))
    left, right = round(margin.left.of(subject.width)), round(margin.right.of(subject.width))
    top, bottom = round(margin.top.of(subject.height)), round(margin.bottom.of(subject.height))
    assert placement.canvas == (left + subject.width + right, top + subject.height + bottom)
    assert subject.left - placement.source.left + placement.target.left == left
    assert subject.top - placement.source.top + placement.target.top == top
    assert placement.source[2:] == placement.target[2:], "nothing is resized"


@given(pictures(), margins)
def test_what_shows_the_pictures_own_background_is_never_larger_than_the_picture(
    picture: tuple[tuple[int, int], Box], margin: Margin
) -> None:
    size, subject = picture
    placement = place(size, subject, Options(Output.OVERLAY, crop=margin))
    assert placement.canvas == placement.source[2:]
    assert placement.target == Box(0, 0, *placement.canvas)


@given(pictures(), st.floats(0.1, 1), positions)
def test_a_scaled_subject_fills_that_share_of_one_side_and_keeps_its_shape(
    picture: tuple[tuple[int, int], Box], scale: float, position: Position
) -> None:
    size, subject = picture
    target = place(size, subject, Options(scale=scale, position=position)).target
    factor = scale * min(size[0] / subject.width, size[1] / subject.height)
    assert abs(target.width - max(1, subject.width * factor)) <= 1
    assert abs(target.height - max(1, subject.height * factor)) <= 1


@given(pictures(), positions)
def test_a_position_aligns_as_css_does(picture: tuple[tuple[int, int], Box], position: Position) -> None:
    size, subject = picture
    placement = place(size, subject, Options(position=position))
    assert placement.source == subject
    assert placement.target[2:] == subject[2:]
    assert abs(placement.target.left - (size[0] - subject.width) * position.x) <= 0.5 + 1e-6
    assert abs(placement.target.top - (size[1] - subject.height) * position.y) <= 0.5 + 1e-6


@pytest.mark.parametrize(
    ("position", "target"),
    [
        (Position(0, 0), Box(0, 0, 200, 300)),
        (Position(1, 1), Box(400, 100, 200, 300)),
        (CENTRE, Box(200, 50, 200, 300)),
        (Position(1, 0), Box(400, 0, 200, 300)),
    ],
)
def test_at_the_extremes_the_subject_touches_the_edge(position: Position, target: Box) -> None:
    assert place(SIZE, SUBJECT, Options(position=position)).target == target


def test_a_scaled_subject_without_a_position_stays_about_its_middle_within_the_picture() -> None:
    placement = place(SIZE, SUBJECT, Options(scale=0.5))
    assert placement.target == Box(133, 100, 133, 200)
    assert place(SIZE, Box(0, 0, 10, 10), Options(scale=1.0)).target == Box(0, 0, 400, 400)


def test_a_subject_of_one_pixel_can_fill_the_picture() -> None:
    assert place(SIZE, Box(599, 399, 1, 1), Options(scale=1.0, position=CENTRE)).target == Box(
        100, 0, 400, 400
    )


def test_scale_and_position_work_within_the_crop() -> None:
    options = Options(crop=all_sides(percent(50)), scale=0.5, position=Position(0, 1))
    placement = place(SIZE, SUBJECT, options)
    assert placement.canvas == (400, 600)
    assert placement.target == Box(0, 300, 200, 300)


def test_the_size_is_applied_last() -> None:
    placement = place(SIZE, SUBJECT, Options(crop=all_sides(px(50)), longest_side=200))
    assert placement.canvas == (150, 200)
    assert placement.source == Box(50, 0, 300, 400)
    assert place(SIZE, SUBJECT, Options(longest_side=6000)) == whole(SIZE), "nothing is enlarged"


@pytest.mark.parametrize("options", [Options(crop=Margin()), Options(scale=0.5), Options(position=CENTRE)])
def test_what_depends_on_the_subject_is_refused_without_one(options: Options) -> None:
    with pytest.raises(NoSubject, match="without crop, scale and position"):
        place(SIZE, None, options)


def test_the_number_of_pixels_bounds_the_answer() -> None:
    assert reduced_size((4000, 3000), Options(most_pixels=250_000)) == (577, 433)
    assert reduced_size((100_000, 1), Options(most_pixels=1000)) == (1000, 1)
    assert reduced_size((500, 500), Options(most_pixels=250_000)) == (500, 500)


def test_a_region_is_in_pixels_or_in_shares() -> None:
    assert region_box(SIZE, Region(px(0), percent(10), px(599.5), percent(100))) == Box(0, 40, 600, 360)
    assert region_box((1, 1), Region(percent(0), percent(0), percent(100), percent(100))) == Box(0, 0, 1, 1)


@pytest.mark.parametrize(
    ("region", "error"),
    [
        (Region(px(0), px(0), px(601), px(10)), RegionOutside),
        (Region(px(0), px(0), px(10), percent(101)), RegionOutside),
        (Region(px(700), px(0), px(701), px(10)), RegionOutside),
        (Region(px(10), px(0), px(10), px(10)), RegionEmpty),
        (Region(px(20), px(0), px(10), px(10)), RegionEmpty),
        (Region(px(0), px(400), px(10), px(400)), RegionEmpty),
    ],
)
def test_a_region_without_pixels_in_the_picture_is_refused(region: Region, error: type[Exception]) -> None:
    with pytest.raises(error):
        region_box(SIZE, region)


@given(st.tuples(sides, sides), st.tuples(sides, sides))
def test_a_background_covers_the_canvas_with_its_middle(
    size: tuple[int, int], canvas: tuple[int, int]
) -> None:
    left, top, right, bottom = cover(size, canvas)
    assert 0 <= left < right <= size[0]
    assert 0 <= top < bottom <= size[1]
    assert left + right == pytest.approx(size[0])
    assert top + bottom == pytest.approx(size[1])
    assert (right - left) / (bottom - top) == pytest.approx(canvas[0] / canvas[1])
    assert right - left == pytest.approx(size[0]) or bottom - top == pytest.approx(size[1])

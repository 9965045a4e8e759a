"""The real size: the model input of a telephone's photograph, whatever the engine's rule and the limit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engines.inspyrenet.resize import ResizeMode, model_input_size
from service.warmup.real_size import real_size
from supervisor import Size


def rule(resize: ResizeMode, max_model_pixels: int = 4_194_304):  # type: ignore[no-untyped-def]  # a short closure
    def size(width: int, height: int) -> tuple[int, int]:
        return model_input_size(
            width, height, resize=resize, base_size=(1024, 1024), max_model_pixels=max_model_pixels
        )

    return size


@pytest.mark.parametrize(
    ("resize", "max_pixels", "expected"),
    [
        ("dynamic", 50_000_000, (1696, 1280)),
        ("dynamic", 12_000_000, (1696, 1280)),
        ("dynamic", 1_000_000, (1152, 864)),
        ("dynamic", 1, (32, 32)),
        ("static", 50_000_000, (1024, 1024)),
    ],
)
def test_the_real_size_is_that_of_a_photograph_of_12_megapixels_or_of_the_largest_allowed(
    resize: ResizeMode, max_pixels: int, expected: tuple[int, int]
) -> None:
    assert real_size(rule(resize), max_pixels=max_pixels) == Size(*expected)


@given(
    max_pixels=st.integers(1, 100_000_000),
    max_model_pixels=st.integers(32 * 32, 8_000_000),
    resize=st.sampled_from(["static", "dynamic"]),
)
def test_a_picture_as_large_as_the_real_size_has_that_model_input(
    max_pixels: int, max_model_pixels: int, resize: ResizeMode
) -> None:
    size = rule(resize, max_model_pixels)
    real = real_size(size, max_pixels=max_pixels)
    assert size(*real) == real

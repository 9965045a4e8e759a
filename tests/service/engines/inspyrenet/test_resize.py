"""The size of the model input, compared with the package's own function."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.engines.inspyrenet.resize import MAX_SIDE, model_input_size, package_size, safe_canary_size
from service.engines.package_config import mode_config, package_directory

BOUND = 4194304
SIDES = st.one_of(st.integers(1, 100), st.integers(1, 5000), st.integers(1, 200_000))


def real_dynamic_resize() -> Callable[[Any], Any]:
    """The package's ``dynamic_resize``, compiled from its source, because its module imports many heavy libraries."""
    tree = ast.parse((package_directory() / "utils.py").read_text())
    [definition] = [
        node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "dynamic_resize"
    ]
    from PIL import Image

    names: dict[str, Any] = {"Image": Image}
    exec(compile(ast.Module([definition], []), "dynamic_resize", "exec"), names)
    resize: Callable[[Any], Any] = names["dynamic_resize"](L=1280)
    return resize


class Sized:
    """A picture that has only a size, and whose ``resize`` returns the new size."""

    def __init__(self, width: int, height: int) -> None:
        self.size = (width, height)

    def resize(self, size: tuple[int, int], _: object) -> tuple[int, int]:
        return size


REAL = real_dynamic_resize()


def dynamic(width: int, height: int, bound: int = BOUND) -> tuple[int, int]:
    return model_input_size(width, height, resize="dynamic", base_size=(1024, 1024), max_model_pixels=bound)


@given(SIDES, SIDES)
@example(16, 16)
@example(17, 47)
@example(48, 48)
@example(80, 112)
@example(1280, 1281)
@example(20000, 1280)
@example(2000, 10)
def test_package_size_is_exactly_the_packages_own_result(width: int, height: int) -> None:
    assert package_size(width, height) == REAL(Sized(width, height))


@given(SIDES, SIDES, st.sampled_from([1024, 5000, 65536, 1 << 20, BOUND, 1 << 26]))
def test_the_model_input_is_valid_and_limited_and_the_packages_own_if_that_is_both(
    width: int, height: int, bound: int
) -> None:
    w, h = dynamic(width, height, bound)
    assert w >= 32
    assert h >= 32
    assert w % 32 == h % 32 == 0
    assert w * h <= bound
    assert max(w, h) <= MAX_SIDE
    package = REAL(Sized(width, height))
    if min(package) >= 32 and package[0] * package[1] <= bound and max(package) <= MAX_SIDE:
        assert (w, h) == package


@given(SIDES, SIDES, st.sampled_from([1024, 5000, 65536, 1 << 20, BOUND, 1 << 26]))
@example(131_072, 1, BOUND)
@example(50_000_000, 1, BOUND)
def test_a_picture_that_is_as_large_as_a_model_input_has_that_model_input(
    width: int, height: int, bound: int
) -> None:
    once = dynamic(width, height, bound)
    assert dynamic(*once, bound) == once


@given(SIDES, SIDES)
def test_a_turned_picture_has_a_turned_model_input(width: int, height: int) -> None:
    assert dynamic(width, height) == dynamic(height, width)[::-1]


@given(st.integers(1280, 60_000), st.integers(1280, 60_000))
def test_a_size_above_the_limit_keeps_its_ratio_as_far_as_multiples_of_32_allow(
    width: int, height: int
) -> None:
    w, h = dynamic(width, height)
    package_w, package_h = package_size(width, height)
    ratio = package_w / package_h
    assert (w - 32) / (h + 32) <= ratio <= (w + 64) / (h - 32 or 1)
    # The result is smaller than the limits only by what rounding costs.
    assert (w + 64) * (h + 64) >= min(BOUND, package_w * package_h) or max(w, h) == MAX_SIDE


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((1, 1), (32, 32)),
        ((16, 16), (32, 32)),
        ((17, 24), (32, 32)),
        ((47, 48), (32, 64)),
        ((64, 64), (64, 64)),
        ((1, 10_000), (32, 10_016 - 32)),
        ((2000, 10), (1984, 32)),
        ((1920, 1080), (1920, 1088)),
        ((20_000, 1280), (8096, 512)),
        ((16_384, 256), (16_384, 256)),
        ((131_072, 1), (16_384, 32)),
        ((1, 50_000_000), (32, 16_384)),
        ((40_000, 100), (16_384, 32)),
        ((60_000, 600), (16_384, 160)),
    ],
)
def test_known_pictures_have_known_model_inputs(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert dynamic(*size) == expected


@given(SIDES, SIDES, st.sampled_from(["base", "fast", "base-nightly"]))
def test_static_gives_the_modes_base_size_for_any_picture(width: int, height: int, mode: str) -> None:
    base = mode_config(mode).base_size
    assert model_input_size(width, height, resize="static", base_size=base, max_model_pixels=BOUND) == base


def test_static_respects_the_limit_too() -> None:
    assert model_input_size(5, 5, resize="static", base_size=(1024, 1024), max_model_pixels=300_000) == (
        544,
        544,
    )


@pytest.mark.parametrize(("width", "height", "bound"), [(0, 5, BOUND), (5, -1, BOUND), (5, 5, 1023)])
def test_a_picture_without_a_valid_model_input_is_refused(width: int, height: int, bound: int) -> None:
    with pytest.raises(ValueError, match="pixels"):
        dynamic(width, height, bound)


@given(st.integers(-5, 5000))
def test_a_safe_canary_has_a_valid_model_input_by_the_packages_own_arithmetic(requested: int) -> None:
    side = safe_canary_size(requested)
    assert min(REAL(Sized(side, side))) >= 32
    assert side == requested or min(REAL(Sized(max(requested, 1), max(requested, 1)))) < 32


def test_the_canary_of_the_incident_is_raised() -> None:
    assert safe_canary_size(16) == 32
    assert safe_canary_size(17) == 17
    assert safe_canary_size(64) == 64

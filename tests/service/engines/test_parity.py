"""Our masks and colours against those of the unmodified package, on photographs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import pytest

from service.engines.foreground import estimate_foreground
from service.engines.inspyrenet import InspyrenetEngine
from service.engines.weights import Weights
from tests.stock import RUNS

pytestmark = [pytest.mark.stock, pytest.mark.timeout(900)]


@pytest.mark.parametrize(("mode", "resize"), RUNS)
def test_masks_and_colours_are_those_of_the_package(
    stock: Mapping[str, Any], dummy_checkpoint: Callable[[str], Path], mode: str, resize: str
) -> None:
    engine = InspyrenetEngine(
        mode=mode,
        resize=cast("Literal['static', 'dynamic']", resize),
        weights=Weights(str(dummy_checkpoint(mode)), mode),
        device="cpu",
        precision="fp32",
        max_model_pixels=4194304,
    )
    engine.prepare(lambda *_: None)
    engine.load(lambda *_: None)
    for name in RUNS[mode, resize]:
        image, theirs = stock[f"image/{name}"], stock[f"alpha/{mode}/{resize}/{name}"]
        assert theirs.std() > 0.05, "a flat mask proves nothing"
        ours = engine.infer(image)
        assert ours.shape == theirs.shape
        assert np.abs(ours - theirs).max() <= 1e-3
        cutout = stock[f"rgba/{mode}/{resize}/{name}"]
        assert np.abs((ours * 255).astype(np.uint8).astype(int) - cutout[..., 3]).max() <= 1
        visible = cutout[..., 3] > 0
        colours = engine.foreground(image, ours).astype(int)
        assert np.abs(colours - cutout[..., :3])[visible].max() <= 1


def test_colours_are_exactly_the_packages_for_the_same_mask(stock: Mapping[str, Any]) -> None:
    for name in RUNS["fast", "static"]:
        colours = estimate_foreground(stock[f"image/{name}"], stock[f"alpha/fast/static/{name}"])
        assert np.array_equal(colours, stock[f"rgba/fast/static/{name}"][..., :3])

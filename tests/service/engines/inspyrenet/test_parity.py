"""Our masks compared with those of the unmodified package, on photographs; ``test_unmixing`` compares the colours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import pytest

from service.engines.inspyrenet.engine import InspyrenetEngine
from service.engines.package_config import mode_config
from service.engines.weights.requested import Weights
from tests.support.stock_package import RUNS

pytestmark = [pytest.mark.stock, pytest.mark.timeout(900)]


@pytest.mark.parametrize(("mode", "resize"), RUNS)
def test_masks_equal_those_of_the_package(
    stock: Mapping[str, Any], dummy_checkpoint: Callable[[str], Path], mode: str, resize: str
) -> None:
    engine = InspyrenetEngine(
        mode=mode,
        resize=cast("Literal['static', 'dynamic']", resize),
        weights=Weights(str(dummy_checkpoint(mode)), mode_config(mode)),
        device="cpu",
        precision="fp32",
        max_model_pixels=4194304,
    )
    engine.prepare(lambda *_: None)
    engine.load(lambda *_: None)
    for name in RUNS[mode, resize]:
        image, theirs = stock[f"image/{name}"], stock[f"alpha/{mode}/{resize}/{name}"]
        assert theirs.std() > 0.05, "a flat mask proves nothing"
        ours = engine.infer(image).alpha
        assert ours.shape == theirs.shape
        assert np.abs(ours - theirs).max() <= 1e-3
        cutout = stock[f"rgba/{mode}/{resize}/{name}"]
        assert np.abs((ours * 255).astype(np.uint8).astype(int) - cutout[..., 3]).max() <= 1

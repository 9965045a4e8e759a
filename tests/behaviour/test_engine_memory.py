"""The memory of InSPyReNet for the worst shape: searched for among all shapes, and compared with a process."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.engines.inspyrenet.resize import MAX_SIDE
from service.host.allocator import MEMORY_VARIABLES
from service.settings import Settings
from tests.support.engine_memory import MODES, inference_bytes, model_input

LIMITS = Settings()

STATED_BYTES = 7_500_000_000
"""ARCHITECTURE.md, "A place before the body": the engine's share with the default limits."""


def shapes(max_pixels: int) -> Iterator[tuple[int, int]]:
    """Shapes of every ratio and size, in steps of a few percent, and both ways round."""
    steps = 400
    for i in range(steps + 1):
        long = round(math.exp(math.log(max_pixels) * i / steps))
        largest = max_pixels // long
        shorter = {round(math.exp(math.log(largest) * j / 60)) for j in range(61)} if largest > 1 else {1}
        for short in shorter:
            yield long, short
            yield short, long


def worst(mode: str, resize: str) -> tuple[int, tuple[int, int]]:
    """The most bytes, and the shape of the picture that takes them."""
    return max(
        (
            inference_bytes(width, height, model_input(width, height, mode, resize, LIMITS.max_model_pixels)),
            (width, height),
        )
        for width, height in shapes(LIMITS.max_pixels)
    )


@pytest.mark.parametrize(("mode", "resize"), MODES)
def test_no_shape_takes_more_than_the_architecture_states(mode: str, resize: str) -> None:
    most, shape = worst(mode, resize)
    assert most <= STATED_BYTES, shape


@pytest.mark.parametrize(("mode", "resize"), MODES)
def test_memory_grows_no_faster_than_the_pixels_of_picture_and_model_input(mode: str, resize: str) -> None:
    """A side may grow as far as it likes: 131072 x 1 takes less than an ordinary photograph."""
    photograph = inference_bytes(4000, 3000, model_input(4000, 3000, mode, resize, LIMITS.max_model_pixels))
    for side in (10_000, 131_072, 1_000_000):
        for shape in ((side, 1), (1, side)):
            model = model_input(*shape, mode, resize, LIMITS.max_model_pixels)
            assert max(model) <= MAX_SIDE
            assert inference_bytes(*shape, model) <= photograph * 1.1


MEASURE = """
import json, re, sys
import numpy as np
from service.engines.inspyrenet.engine import InspyrenetEngine
from service.engines.package_config import mode_config
from service.engines.weights.requested import Weights
from service.host.memory import resident_bytes, trim_heap

mode, shapes = sys.argv[1], json.loads(sys.argv[2])
engine = InspyrenetEngine(
    mode=mode, resize="dynamic", weights=Weights("dummy", mode_config(mode)), device="cpu", precision="fp32",
    max_model_pixels=4194304,
)
engine.prepare(lambda *_: None)
engine.load(lambda *_: None)
engine.infer(np.zeros((64, 64, 3), np.uint8))
for width, height in shapes:
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    trim_heap()
    open("/proc/self/clear_refs", "w").write("5")
    before = resident_bytes()
    engine.infer(picture)
    peak = int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) << 10
    print("measured", width, height, peak - before, flush=True)
"""

MEASURED = [(640, 480), (131_072, 1), (1, 131_072)]
"""An ordinary shape, and the two whose sides are as unequal as can be: half a megapixel of model input."""


@pytest.mark.memory
@pytest.mark.network
@pytest.mark.timeout(300)
def test_a_process_takes_no_more_than_the_estimate() -> None:
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("needs /proc")
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, "fast", json.dumps(MEASURED)],
        env=os.environ | MEMORY_VARIABLES,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("measured ")]
    assert len(lines) == len(MEASURED)
    for width, height, used in (map(int, line) for line in lines):
        model = model_input(width, height, "fast", "dynamic", LIMITS.max_model_pixels)
        assert used <= inference_bytes(width, height, model), (width, height)

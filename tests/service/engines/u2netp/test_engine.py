"""The embedded engine: its contract, what it cuts out, and that no size or content makes it fail."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage import data

from service.engines.protocol import RGB, Alpha, ConfigurationError, Engine, LoadPhase, OutOfMemory
from service.engines.u2netp import weights
from service.engines.u2netp.engine import U2netpEngine
from tests.support.scarce_memory import spare_memory

pytestmark = pytest.mark.photographs


@pytest.fixture(scope="module")
def engine() -> U2netpEngine:
    loaded = U2netpEngine()
    loaded.prepare(lambda *_: None)
    loaded.load(lambda *_: None)
    return loaded


def check_contract(engine: U2netpEngine, picture: RGB) -> Alpha:
    alpha = engine.infer(picture).alpha
    assert alpha.shape == picture.shape[:2]
    assert alpha.dtype == np.float32
    assert alpha.flags.c_contiguous
    assert np.isfinite(alpha).all()
    assert alpha.min() >= 0
    assert alpha.max() <= 1
    return alpha


def test_it_says_what_it_is() -> None:
    phases: list[LoadPhase] = []
    served: Engine = U2netpEngine()
    served.prepare(lambda phase, _: phases.append(phase))
    info = served.load(lambda phase, _: phases.append(phase))
    assert served.name == info.engine == "u2netp"
    assert (info.device, info.precision, info.weights) == ("cpu", "fp32", "installed")
    assert info.weights_hash == f"sha256:{weights.SHA256}"
    assert info.weights_note == "verified"
    assert not info.fallback
    assert info.settled
    assert served.settle() == info
    assert served.memory() == {"allocated": 0, "reserved": 0}
    assert phases == [LoadPhase.WEIGHTS, LoadPhase.IMPORT, LoadPhase.DEVICE]


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_a_gpu_that_was_asked_for_is_an_error_if_the_engine_was_chosen(device: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(f"INSPYRENET_DEVICE={device}: the engine u2netp")):
        U2netpEngine(device=device)


def test_a_gpu_that_was_asked_for_is_announced_as_unused_if_the_engine_stands_in(
    caplog: pytest.LogCaptureFixture,
) -> None:
    served = U2netpEngine(device="cuda:1", fallback=True)
    served.prepare(lambda *_: None)
    info = served.load(lambda *_: None)
    assert info.device == "cpu"
    assert "INSPYRENET_DEVICE=cuda:1" in info.precision_reason
    assert "INSPYRENET_DEVICE=cuda:1 is not used" in caplog.text


def test_importing_the_engine_does_not_import_opencv() -> None:
    code = "import sys, service.engines.u2netp.engine; sys.exit('cv2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_picture_is_fed_at_the_size_the_network_was_trained_on(engine: U2netpEngine) -> None:
    from service.engines.u2netp.network import SIDE

    for size in ((1, 1), (4000, 3000), (1, 10000)):
        assert engine.model_input_size(*size) == (SIDE, SIDE)


def test_the_astronaut_is_cut_out_with_her_hair(engine: U2netpEngine) -> None:
    alpha = engine.infer(data.astronaut()).alpha
    assert alpha[45:180, 195:255].min() > 0.9  # hair to chin
    assert alpha[300:480, 120:260].min() > 0.99  # the suit
    assert alpha[:150, :60].max() < 0.01  # the flag
    assert alpha[:200, 330:].max() < 0.01  # the wall and the model of the shuttle


def test_the_cup_of_coffee_is_cut_out_with_its_saucer(engine: U2netpEngine) -> None:
    alpha = engine.infer(data.coffee()).alpha
    assert alpha[110:350, 190:390].min() > 0.99
    assert max(alpha[:60, :60].max(), alpha[:60, -60:].max(), alpha[-60:, -60:].max()) < 0.01


@pytest.mark.parametrize("name", ["astronaut", "camera", "chelsea", "coffee", "rocket", "horse"])
def test_it_is_sure_of_a_photograph_with_a_subject(engine: U2netpEngine, name: str) -> None:
    picture = np.asarray(Image.fromarray(getattr(data, name)()).convert("RGB"))
    assert engine.infer(picture).confidence > 0.99


def empty_scenes() -> dict[str, RGB]:
    y, x = np.mgrid[0:240, 0:320]
    noise = np.random.default_rng(0).normal(0, 20, (240, 320, 3))
    return {
        "wall": np.full((240, 320, 3), 200, np.uint8),
        "grain": np.clip(180 + noise, 0, 255).astype(np.uint8),
        "sky": np.stack([80 + y / 2, 140 + y / 3, 220 + y / 8], axis=-1).astype(np.uint8),
        "shade": np.repeat((x * 0.7)[..., np.newaxis], 3, axis=2).astype(np.uint8),
        "grass": np.repeat(data.grass()[..., np.newaxis], 3, axis=2),
        "gravel": np.repeat(data.gravel()[..., np.newaxis], 3, axis=2),
    }


@pytest.mark.parametrize("name", ["wall", "grain", "sky", "shade", "grass", "gravel"])
def test_it_is_not_sure_of_an_empty_scene_although_the_mask_is_stretched(
    engine: U2netpEngine, name: str
) -> None:
    mask = engine.infer(empty_scenes()[name])
    assert mask.confidence < 0.4
    assert not mask.is_sure


def test_a_small_textured_picture_with_an_obvious_subject_has_a_mask(engine: U2netpEngine) -> None:
    """What a warmup probe sends: 64 x 64, noise on both sides."""
    y, x = np.indices((64, 64)) / 64
    disc = (x - 0.5) ** 2 + (y - 0.55) ** 2 < 0.3**2
    noise = np.random.default_rng(1).normal(0, 8, (64, 64, 3))
    picture = np.clip(np.where(disc[..., None], (205, 84, 40), (120, 150, 175)) + noise, 0, 255)
    alpha = engine.infer(picture.astype(np.uint8)).alpha
    assert np.abs(alpha - disc).mean() < 0.05


def test_the_same_picture_gives_the_same_mask_whatever_came_before(engine: U2netpEngine) -> None:
    alpha = engine.infer(data.coffee()).alpha
    engine.infer(data.chelsea())
    assert np.array_equal(engine.infer(data.coffee()).alpha, alpha)


@given(
    width=st.integers(1, 400), height=st.integers(1, 400), seed=st.integers(0, 9), levels=st.integers(1, 256)
)
@settings(max_examples=5, deadline=None)
def test_any_size_and_content_gives_a_mask_of_that_size(
    engine: U2netpEngine, width: int, height: int, seed: int, levels: int
) -> None:
    random = np.random.default_rng(seed)
    check_contract(engine, random.integers(0, levels, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("size", [(1, 1), (1, 10000), (10000, 1), (2, 40000), (40000, 2), (3000, 20)])
def test_extreme_sizes_give_a_mask(engine: U2netpEngine, size: tuple[int, int]) -> None:
    check_contract(engine, np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8))


@pytest.mark.parametrize("value", [0, 255])
def test_a_constant_picture_gives_a_mask(engine: U2netpEngine, value: int) -> None:
    check_contract(engine, np.full((40, 60, 3), value, dtype=np.uint8))


def test_the_foregrounds_colours_are_free_of_the_background(engine: U2netpEngine) -> None:
    alpha = np.clip((np.arange(200, dtype=np.float32) - 80) / 12, 0, 1)[None].repeat(60, 0)
    red, green = np.array([200, 30, 40]), np.array([20, 220, 60])
    picture = np.rint(alpha[..., None] * red + (1 - alpha[..., None]) * green).astype(np.uint8)
    colours = engine.foreground(picture, alpha).astype(int)
    assert np.abs(colours[alpha > 0.1] - red).max() <= 15


SCARCE = [100_000, 8_000_000, 32_000_000]
"""Bytes: less than the result takes, so that something fails, whatever an earlier test has left in the heap."""


@pytest.mark.parametrize("spare", SCARCE)
def test_too_little_main_memory_is_told_as_such(engine: U2netpEngine, spare: int) -> None:
    picture = np.zeros((4000, 4000, 3), np.uint8)
    with spare_memory(spare), pytest.raises(OutOfMemory):
        engine.infer(picture)


@pytest.mark.parametrize("spare", SCARCE)
def test_too_little_main_memory_for_the_foreground_is_told_as_such(engine: U2netpEngine, spare: int) -> None:
    picture, alpha = np.zeros((4000, 4000, 3), np.uint8), np.full((4000, 4000), 0.5, np.float32)
    with spare_memory(spare), pytest.raises(OutOfMemory):
        engine.foreground(picture, alpha)


def test_what_a_pass_took_is_given_back() -> None:
    """In a process of its own: 250 MB are taken for a pass, and must not stay until the next one."""
    code = """
import numpy as np
from service.engines.u2netp.engine import U2netpEngine
from service.host.memory import resident_bytes
engine = U2netpEngine()
engine.prepare(lambda *_: None)
engine.load(lambda *_: None)
before = resident_bytes()
for _ in range(3):
    engine.infer(np.zeros((300, 300, 3), np.uint8))
print(resident_bytes() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert int(done.stdout) < 60e6

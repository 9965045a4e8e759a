"""The InSPyReNet engine, called as the service calls it."""

from __future__ import annotations

import gc
import hashlib
import os
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from service.engines.inspyrenet import precision
from service.engines.inspyrenet.engine import InspyrenetEngine
from service.engines.inspyrenet.precision import Choice
from service.engines.inspyrenet.resize import ResizeMode
from service.engines.package_config import mode_config
from service.engines.protocol import (
    ConfigurationError,
    EngineInfo,
    LoadPhase,
    OutOfMemory,
    WeightsUnavailable,
)
from service.engines.weights.requested import Weights
from service.engines.weights.state_dict import state_hash

pytestmark = pytest.mark.network

RNG = np.random.default_rng(3)


def engine(
    weights: str, *, device: str = "cpu", resize: ResizeMode = "dynamic", **options: Any
) -> InspyrenetEngine:
    return InspyrenetEngine(
        mode="fast",
        resize=resize,
        weights=Weights(weights, mode_config("fast")),
        device=device,
        precision=options.get("precision", "fp32"),
        max_model_pixels=options.get("max_model_pixels", 1 << 22),
    )


def ignore(phase: LoadPhase, line: str) -> None:
    pass


def start(built: InspyrenetEngine) -> EngineInfo:
    built.prepare(ignore)
    return built.load(ignore)


@pytest.fixture(scope="module")
def checkpoint(dummy_checkpoint: Callable[[str], Path]) -> str:
    return str(dummy_checkpoint("fast"))


@pytest.fixture(scope="module")
def loaded(checkpoint: str) -> InspyrenetEngine:
    built = engine(checkpoint)
    start(built)
    return built


def picture(height: int, width: int) -> Any:
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (16, 16), (17, 31), (1, 500), (65, 97)])
def test_a_picture_of_any_size_has_a_mask_of_its_size(
    loaded: InspyrenetEngine, size: tuple[int, int]
) -> None:
    alpha = loaded.infer(picture(*size)).alpha
    assert alpha.shape == size
    assert alpha.dtype == np.float32
    assert np.isfinite(alpha).all()
    assert alpha.min() >= 0
    assert alpha.max() <= 1


def test_the_same_picture_has_the_same_mask(loaded: InspyrenetEngine) -> None:
    image = picture(64, 64)
    first = loaded.infer(image).alpha
    loaded.infer(picture(40, 90))
    assert np.array_equal(loaded.infer(image).alpha, first)


def test_the_confidence_is_the_greatest_value_before_the_mask_was_stretched(
    loaded: InspyrenetEngine,
) -> None:
    masks = [loaded.infer(picture(64, side)) for side in (64, 64, 96)]
    assert all(0 < mask.confidence < 1 for mask in masks)
    assert len({mask.confidence for mask in masks}) == 3, "it depends on the picture"
    assert all(float(mask.alpha.max()) > 0.99 for mask in masks), "the mask itself is stretched"


def test_the_limit_of_the_model_input_is_respected(checkpoint: str) -> None:
    assert engine(checkpoint, max_model_pixels=65536).model_input_size(4000, 3000) == (288, 224)
    assert engine(checkpoint, resize="static").model_input_size(4000, 3000) == (384, 384)


def test_a_cut_out_can_be_made(loaded: InspyrenetEngine) -> None:
    image = picture(30, 50)
    assert loaded.foreground(image, loaded.infer(image).alpha).shape == (30, 50, 3)
    assert loaded.memory() == {"allocated": 0, "reserved": 0}


def test_a_load_reports_its_phases_in_order_and_returns_what_it_loaded(checkpoint: str) -> None:
    phases: list[LoadPhase] = []
    built = engine(checkpoint)
    built.prepare(ignore)
    info = built.load(lambda phase, _: phases.append(phase))
    assert phases == [LoadPhase.IMPORT, LoadPhase.WEIGHTS, LoadPhase.DEVICE]
    assert (info.engine, info.mode, info.resize, info.device) == ("inspyrenet", "fast", "dynamic", "cpu")
    assert (info.precision, info.precision_reason, info.fallback) == ("fp32", "asked for", False)
    assert info.weights == "file"
    assert info.weights_hash == f"sha256:{hashlib.sha256(Path(checkpoint).read_bytes()).hexdigest()}"
    assert built.info == info
    assert info.weights_note.startswith("unverified")


def test_a_load_gives_torch_as_many_threads_as_there_are_cpus_in_the_calling_thread(
    checkpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from service.engines.inspyrenet import torch_settings

    given: list[tuple[int, int]] = []
    monkeypatch.setattr(torch_settings, "available_cpus", lambda: 3)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: given.append((count, threading.get_ident())))
    start(engine(checkpoint))
    assert given == [(3, threading.get_ident())]


@pytest.mark.parametrize("precision", ["fp32", "bf16", "auto"])
def test_a_checkpoint_that_is_truncated_after_the_load_does_no_harm(
    checkpoint: str, tmp_path: Path, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.engines.inspyrenet.precision.has_native_bf16", lambda: True)
    copy = tmp_path / "mine.pth"
    shutil.copy(checkpoint, copy)
    built = engine(str(copy), precision=precision)
    gc.disable()  # no collection may be necessary to unmap the file, as while the service starts
    try:
        info = start(built)
    finally:
        gc.enable()
    assert (not info.settled) == (precision == "auto")
    image = picture(40, 40)
    before = built.infer(image).alpha
    assert copy.name not in Path("/proc/self/maps").read_text()
    os.truncate(copy, 0)
    assert np.array_equal(built.infer(image).alpha, before)
    if not info.settled:
        assert "self-check at 192x192" in built.settle().precision_reason


def test_a_checkpoint_that_changes_between_prepare_and_load_is_refused_until_it_is_prepared_again(
    checkpoint: str, tmp_path: Path
) -> None:
    copy = tmp_path / "mine.pth"
    shutil.copy(checkpoint, copy)
    built = engine(str(copy))
    built.prepare(ignore)
    os.utime(copy, ns=(1, 1))
    with pytest.raises(WeightsUnavailable, match="changed after"):
        built.load(ignore)
    assert start(built).engine == "inspyrenet"


@pytest.mark.parametrize("error", [RuntimeError("could not create a primitive"), RuntimeError("a bug")])
def test_a_self_check_that_cannot_be_made_leaves_fp32_and_says_so(
    checkpoint: str, monkeypatch: pytest.MonkeyPatch, error: RuntimeError
) -> None:
    monkeypatch.setattr(precision, "has_native_bf16", lambda: True)
    built = engine(checkpoint, precision="auto")
    start(built)

    def broken(_: torch.Tensor) -> torch.Tensor:
        raise error

    session: Any = built._session
    session._open = replace(session._open, bf16=broken)
    with pytest.raises((RuntimeError, OutOfMemory)):
        built.settle()
    assert session.precision == Choice("fp32", "the self-check could not be made")
    assert built.info is not None
    assert (built.info.precision, built.info.settled) == ("fp32", True)
    assert built.info.precision_reason == "the self-check could not be made"
    assert built.infer(picture(32, 32)).alpha.shape == (32, 32)


def test_dummy_weights_have_the_hash_of_their_tensors(checkpoint: str) -> None:
    written = torch.load(checkpoint, weights_only=True)  # by the same recipe
    assert start(engine("dummy")).weights_hash == state_hash(written)


def test_a_load_that_fails_leaves_nothing_that_says_it_serves(checkpoint: str, tmp_path: Path) -> None:
    copy = tmp_path / "mine.pth"
    shutil.copy(checkpoint, copy)
    built = engine(str(copy))
    start(built)
    copy.write_bytes(b"PK damaged")
    with pytest.raises(WeightsUnavailable):
        start(built)
    assert built.info is None


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    torch.save({"weight": torch.ones(2)}, path)
    with pytest.raises(WeightsUnavailable, match="another network"):
        start(engine(str(path)))


def test_a_missing_device_ends_the_start(checkpoint: str) -> None:
    with pytest.raises(ConfigurationError, match="INSPYRENET_DEVICE=cuda:99"):
        start(engine(checkpoint, device="cuda:99"))


def test_an_engine_does_not_load_before_it_is_prepared_nor_infer_before_it_is_loaded(checkpoint: str) -> None:
    with pytest.raises(RuntimeError, match="prepare"):
        engine(checkpoint).load(ignore)
    with pytest.raises(RuntimeError, match="load"):
        engine(checkpoint).infer(picture(2, 2))
    assert engine(checkpoint).memory() == {"allocated": 0, "reserved": 0}


def test_a_picture_after_one_that_ran_out_of_memory_has_a_mask(
    loaded: InspyrenetEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(_: torch.Tensor) -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory")

    with monkeypatch.context() as patch:
        assert loaded._session is not None
        patch.setattr(loaded._session._network, "with_confidence", exhausted)
        with pytest.raises(OutOfMemory):
            loaded.infer(picture(40, 40))
    assert loaded.infer(picture(40, 40)).alpha.shape == (40, 40)

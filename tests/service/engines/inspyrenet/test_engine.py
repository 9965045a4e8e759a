"""The engine as the service uses it."""

from __future__ import annotations

import gc
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from service.engines.inspyrenet import precision
from service.engines.inspyrenet.engine import InspyrenetEngine
from service.engines.inspyrenet.resize import ResizeMode
from service.engines.protocol import (
    ConfigurationError,
    EngineInfo,
    LoadPhase,
    OutOfMemory,
    WeightsUnavailable,
)
from service.engines.weights.source import Weights

pytestmark = pytest.mark.network

RNG = np.random.default_rng(3)


def engine(
    weights: str, *, device: str = "cpu", resize: ResizeMode = "dynamic", **options: Any
) -> InspyrenetEngine:
    return InspyrenetEngine(
        mode="fast",
        resize=resize,
        weights=Weights(weights, "fast"),
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
def test_every_size_has_a_mask_of_its_own_size(loaded: InspyrenetEngine, size: tuple[int, int]) -> None:
    alpha = loaded.infer(picture(*size))
    assert alpha.shape == size
    assert alpha.dtype == np.float32
    assert np.isfinite(alpha).all()
    assert alpha.min() >= 0
    assert alpha.max() <= 1


def test_the_same_picture_has_the_same_mask(loaded: InspyrenetEngine) -> None:
    image = picture(64, 64)
    first = loaded.infer(image)
    loaded.infer(picture(40, 90))
    assert np.array_equal(loaded.infer(image), first)


def test_the_bound_on_the_input_is_obeyed(checkpoint: str) -> None:
    assert engine(checkpoint, max_model_pixels=65536).model_input_size(4000, 3000) == (288, 224)
    assert engine(checkpoint, resize="static").model_input_size(4000, 3000) == (384, 384)


def test_a_cut_out_can_be_made(loaded: InspyrenetEngine) -> None:
    image = picture(30, 50)
    assert loaded.foreground(image, loaded.infer(image)).shape == (30, 50, 3)
    assert loaded.memory() == {"allocated": 0, "reserved": 0}


def test_a_load_reports_its_phases_in_order_and_what_it_loaded(checkpoint: str) -> None:
    phases: list[LoadPhase] = []
    built = engine(checkpoint)
    built.prepare(ignore)
    info = built.load(lambda phase, _: phases.append(phase))
    assert phases == [LoadPhase.IMPORT, LoadPhase.WEIGHTS, LoadPhase.DEVICE]
    assert (info.engine, info.mode, info.resize, info.device) == ("inspyrenet", "fast", "dynamic", "cpu")
    assert (info.precision, info.precision_reason, info.fallback) == ("fp32", "asked for", False)
    assert (info.weights, info.weights_hash[:7]) == ("file", "sha256:")
    assert info.weights_note.startswith("unverified")


def test_a_load_gives_torch_as_many_threads_as_there_are_cpus_and_in_its_own_thread(
    checkpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from service.engines.inspyrenet import session as runtime

    given: list[tuple[int, int]] = []
    monkeypatch.setattr(runtime, "available_cpus", lambda: 3)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: given.append((count, threading.get_ident())))
    start(engine(checkpoint))
    assert given == [(3, threading.get_ident())]


@pytest.mark.parametrize("precision", ["fp32", "bf16", "auto"])
def test_a_checkpoint_overwritten_in_place_harms_nobody(
    checkpoint: str, tmp_path: Path, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.engines.inspyrenet.precision.has_native_bf16", lambda: True)
    copy = tmp_path / "mine.pth"
    shutil.copy(checkpoint, copy)
    built = engine(str(copy), precision=precision)
    gc.disable()  # as while the service starts: no collection may be needed
    try:
        info = start(built)
    finally:
        gc.enable()
    assert (not info.settled) == (precision == "auto")
    image = picture(40, 40)
    before = built.infer(image)
    assert copy.name not in Path("/proc/self/maps").read_text()
    os.truncate(copy, 0)
    assert np.array_equal(built.infer(image), before)
    if not info.settled:
        assert "self-check at 192x192" in built.settle().precision_reason


def test_a_checkpoint_that_changes_between_prepare_and_load_is_refused_and_then_read_anew(
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


@pytest.mark.parametrize(
    "error", [RuntimeError("could not create a primitive"), torch.OutOfMemoryError("no")]
)
def test_a_self_check_that_cannot_be_made_is_said_not_to_have_been(
    checkpoint: str, monkeypatch: pytest.MonkeyPatch, error: RuntimeError
) -> None:
    monkeypatch.setattr(precision, "has_native_bf16", lambda: True)
    built = engine(checkpoint, precision="auto")
    start(built)

    def broken(*_: torch.Tensor) -> precision.Deviation:
        raise error

    monkeypatch.setattr(precision, "measure_deviation", broken)
    with pytest.raises((RuntimeError, OutOfMemory)):
        built.settle()
    runtime: Any = built._runtime
    assert (runtime.precision, runtime.precision_reason) == ("fp32", "the self-check could not be made")
    assert built.infer(picture(32, 32)).shape == (32, 32)


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    torch.save({"weight": torch.ones(2)}, path)
    with pytest.raises(WeightsUnavailable, match="another network"):
        start(engine(str(path)))


def test_a_device_that_is_missing_ends_the_start(checkpoint: str) -> None:
    with pytest.raises(ConfigurationError, match="INSPYRENET_DEVICE=cuda:99"):
        start(engine(checkpoint, device="cuda:99"))


def test_nothing_works_before_it_is_prepared_and_loaded(checkpoint: str) -> None:
    with pytest.raises(RuntimeError, match="prepare"):
        engine(checkpoint).load(ignore)
    with pytest.raises(RuntimeError, match="load"):
        engine(checkpoint).infer(picture(2, 2))
    assert engine(checkpoint).memory() == {"allocated": 0, "reserved": 0}


def test_running_out_of_memory_is_told_and_the_next_picture_works(
    loaded: InspyrenetEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch.nn import functional

    def exhausted(*_: object, **__: object) -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory")

    with monkeypatch.context() as patch:
        patch.setattr(functional, "interpolate", exhausted)
        with pytest.raises(OutOfMemory):
            loaded.infer(picture(40, 40))
    assert loaded.infer(picture(40, 40)).shape == (40, 40)


def test_two_passes_at_once_are_refused(loaded: InspyrenetEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime: Any = loaded._runtime
    inside, release = threading.Event(), threading.Event()
    network = runtime._network

    def slow(batch: torch.Tensor) -> torch.Tensor:
        inside.set()
        release.wait(30)
        return torch.zeros(1, 1, 32, 32)

    monkeypatch.setattr(runtime, "_network", slow)
    first = threading.Thread(target=loaded.infer, args=(picture(32, 32),))
    first.start()
    try:
        assert inside.wait(30)
        with pytest.raises(RuntimeError, match="two forward passes at once"):
            loaded.infer(picture(32, 32))
    finally:
        release.set()
        first.join()
    monkeypatch.setattr(runtime, "_network", network)
    assert loaded.infer(picture(32, 32)).shape == (32, 32)

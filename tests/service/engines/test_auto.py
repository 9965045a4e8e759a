"""``INSPYRENET_ENGINE=auto``: decided once, at start, and said aloud."""

from __future__ import annotations

import logging
import socket
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.engines.auto import AutoEngine
from service.engines.build import build_engine
from service.engines.grabcut.engine import GrabCutEngine
from service.engines.inspyrenet.engine import InspyrenetEngine
from service.engines.protocol import RGB, Alpha, ConfigurationError, EngineInfo, LoadPhase, WeightsUnavailable

INFO = EngineInfo("fake", False, "", "base", "dynamic", "cpu", "fp32", "", "file", "", "")


class Fake:
    """An engine that fails where it is told to."""

    def __init__(self, name: str, **failures: Exception) -> None:
        self.name = name
        self.failures = failures
        self.calls: list[str] = []

    def _step(self, step: str) -> None:
        self.calls.append(step)
        if step in self.failures:
            raise self.failures[step]

    def prepare(self, report: object) -> None:
        self._step("prepare")

    def load(self, report: object) -> EngineInfo:
        self._step("load")
        return replace(INFO, engine=self.name)

    def model_input_size(self, width: int, height: int) -> tuple[int, int]:
        return 32, 32

    def infer(self, image: RGB) -> Alpha:
        return np.full(image.shape[:2], 0.5, np.float32)

    def foreground(self, image: RGB, alpha: Alpha) -> RGB:
        return image


def ignore(phase: LoadPhase, line: str) -> None:
    pass


def start(preferred: Fake) -> tuple[AutoEngine, Fake, EngineInfo]:
    fallback = Fake("fallback")
    engine = AutoEngine(preferred, make_fallback=lambda: fallback)
    engine.prepare(ignore)
    return engine, fallback, engine.load(ignore)


def test_the_preferred_engine_serves_if_it_can() -> None:
    engine, fallback, info = start(Fake("preferred"))
    assert (engine.name, info.fallback, info.fallback_reason, fallback.calls) == ("preferred", False, "", [])


@pytest.mark.parametrize("step", ["prepare", "load"])
def test_without_usable_weights_the_fallback_serves_and_says_so(
    step: str, caplog: pytest.LogCaptureFixture
) -> None:
    engine, fallback, info = start(Fake("preferred", **{step: WeightsUnavailable("no file")}))
    assert (engine.name, info.engine, info.fallback) == ("fallback", "fallback", True)
    assert info.fallback_reason == "preferred has no weights: no file"
    assert fallback.calls == ["prepare", "load"]
    assert any("FALLBACK" in r.message for r in caplog.records if r.levelno == logging.WARNING)
    assert engine.infer(np.zeros((2, 3, 3), np.uint8)).shape == (2, 3)
    assert engine.memory() == {"allocated": 0, "reserved": 0}


def test_the_decision_holds_for_a_later_load() -> None:
    preferred = Fake("preferred")
    engine, fallback, _ = start(preferred)
    preferred.failures["load"] = WeightsUnavailable("the file is gone")
    with pytest.raises(WeightsUnavailable):
        engine.load(ignore)
    assert engine.name == "preferred"
    assert fallback.calls == []


def test_a_fallback_that_fails_to_load_is_not_replaced_again() -> None:
    fallback = Fake("fallback", load=WeightsUnavailable("even here"))
    preferred = Fake("preferred", prepare=WeightsUnavailable("x"))
    engine = AutoEngine(preferred, make_fallback=lambda: fallback)
    engine.prepare(ignore)
    with pytest.raises(WeightsUnavailable, match="even here"):
        engine.load(ignore)


def test_a_setting_that_cannot_be_is_no_reason_to_fall_back() -> None:
    with pytest.raises(ConfigurationError):
        start(Fake("preferred", load=ConfigurationError("no such device")))


def built(engine: str, **settings: Any) -> Any:
    options: dict[str, Any] = {
        "mode": "base",
        "resize": "dynamic",
        "weights": "official",
        "device": "cpu",
        "precision": "auto",
        "max_model_pixels": 1 << 22,
    }
    return build_engine(engine=engine, **options | settings)  # type: ignore[arg-type]  # names come from the test


def test_each_setting_builds_its_engine() -> None:
    assert isinstance(built("inspyrenet"), InspyrenetEngine)
    assert isinstance(built("grabcut"), GrabCutEngine)
    assert isinstance(built("auto"), AutoEngine)


def test_without_a_network_auto_serves_with_grabcut_within_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRANSPARENT_BACKGROUND_FILE_PATH", str(tmp_path))
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        engine = built("auto", weights_url=f"http://127.0.0.1:{unused.getsockname()[1]}/x")
        began = time.monotonic()
        engine.prepare(ignore)
        assert time.monotonic() - began < 5
    assert engine.name == "grabcut"
    info = engine.load(ignore)
    assert info.fallback
    assert "cannot be reached" in info.fallback_reason

"""``INSPYRENET_ENGINE=auto``: the fallback is decided once, at the first load, and announced."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from service.engines.fallback import EngineWithFallback
from service.engines.protocol import (
    RGB,
    Alpha,
    ConfigurationError,
    EngineInfo,
    LoadPhase,
    Mask,
    ReportPhase,
    WeightsUnavailable,
)

INFO = EngineInfo("fake", False, "", "base", "dynamic", "cpu", "fp32", "", "file", "", "")


class Fake:
    """An engine whose steps fail as a test says."""

    def __init__(self, name: str, **failures: Exception) -> None:
        self.name = name
        self.failures = failures
        self.calls: list[str] = []
        self.info: EngineInfo | None = None

    def _step(self, step: str) -> None:
        self.calls.append(step)
        if step in self.failures:
            raise self.failures[step]

    def prepare(self, report: object) -> None:
        self._step("prepare")

    def load(self, report: object) -> EngineInfo:
        self._step("load")
        self.info = replace(INFO, engine=self.name)
        return self.info

    def settle(self) -> EngineInfo:
        self.info = replace(INFO, engine=self.name, precision="bf16")
        return self.info

    def memory(self) -> dict[str, int]:
        return {"allocated": 3, "reserved": 4}

    def model_input_size(self, width: int, height: int) -> tuple[int, int]:
        return 32, 32

    def infer(self, image: RGB) -> Mask:
        return Mask(np.full(image.shape[:2], 0.5, np.float32), 0.5)

    def foreground(self, image: RGB, alpha: Alpha) -> RGB:
        return image


def ignore(phase: LoadPhase, line: str) -> None:
    pass


def start(preferred: Fake) -> tuple[EngineWithFallback, Fake, EngineInfo]:
    fallback = Fake("fallback")
    engine = EngineWithFallback(preferred, make_fallback=lambda: fallback)
    engine.prepare(ignore)
    return engine, fallback, engine.load(ignore)


def test_the_preferred_engine_serves_if_it_has_weights() -> None:
    engine, fallback, info = start(Fake("preferred"))
    assert (engine.name, info.fallback, info.fallback_reason, fallback.calls) == ("preferred", False, "", [])


@pytest.mark.parametrize("step", ["prepare", "load"])
def test_the_fallback_serves_without_usable_weights_and_is_announced(
    step: str, caplog: pytest.LogCaptureFixture
) -> None:
    engine, fallback, info = start(Fake("preferred", **{step: WeightsUnavailable("no file")}))
    assert (engine.name, info.engine, info.fallback) == ("fallback", "fallback", True)
    assert info.fallback_reason == "preferred has no weights: no file"
    assert fallback.calls == ["prepare", "load"]
    assert any("FALLBACK" in r.message for r in caplog.records if r.levelno == logging.WARNING)
    assert engine.infer(np.zeros((2, 3, 3), np.uint8)).alpha.shape == (2, 3)
    assert engine.memory() == {"allocated": 3, "reserved": 4}
    settled = engine.settle()
    assert (settled.precision, settled.fallback, settled.fallback_reason) == (
        "bf16",
        True,
        info.fallback_reason,
    )


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
    engine = EngineWithFallback(preferred, make_fallback=lambda: fallback)
    engine.prepare(ignore)
    with pytest.raises(WeightsUnavailable, match="even here"):
        engine.load(ignore)


def test_a_setting_that_cannot_work_is_no_reason_to_fall_back() -> None:
    with pytest.raises(ConfigurationError):
        start(Fake("preferred", load=ConfigurationError("no such device")))


def test_if_the_fallback_has_no_weights_either_the_error_names_both_reasons() -> None:
    class Without:
        def __init__(self, name: str) -> None:
            self.name = name

        def prepare(self, report: ReportPhase) -> None:
            raise WeightsUnavailable(f"no file for {self.name}")

    without: Any = Without
    engine = EngineWithFallback(without("inspyrenet"), make_fallback=lambda: without("u2netp"))
    for _ in range(2):  # also when it is tried again
        with pytest.raises(WeightsUnavailable, match=r"no file for inspyrenet.*; no file for u2netp"):
            engine.prepare(lambda *_: None)

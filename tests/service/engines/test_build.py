"""The choice of the engine by the settings."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from service.engines.build import build_engine
from service.engines.fallback import EngineWithFallback
from service.engines.inspyrenet.engine import InspyrenetEngine
from service.engines.protocol import LoadPhase
from service.engines.u2netp.engine import U2netpEngine

ROOT = Path(__file__).parents[3]
HEAVY = ("torch", "cv2", "numba", "requests", "timm", "kornia", "torchvision", "transparent_background")


def ignore(phase: LoadPhase, line: str) -> None:
    pass


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
    assert isinstance(built("u2netp"), U2netpEngine)
    assert isinstance(built("auto"), EngineWithFallback)


def test_auto_without_a_network_serves_with_u2netp_within_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRANSPARENT_BACKGROUND_FILE_PATH", str(tmp_path))
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        engine = built("auto", weights_url=f"http://127.0.0.1:{unused.getsockname()[1]}/x")
        began = time.monotonic()
        engine.prepare(ignore)
        assert time.monotonic() - began < 5
    assert engine.name == "u2netp"
    info = engine.load(ignore)
    assert info.fallback
    assert "cannot be reached" in info.fallback_reason


def test_building_any_engine_imports_no_heavy_library() -> None:
    code = f"""
import sys
from service.engines.build import build_engine
for engine in ("inspyrenet", "u2netp", "auto"):
    build_engine(engine=engine, mode="base", resize="dynamic", weights="official", device="cpu", precision="auto",
                 max_model_pixels=1 << 22)
sys.exit(str([name for name in {HEAVY} if name in sys.modules] or ""))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""

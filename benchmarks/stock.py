"""Unmodified functions of stock, for comparisons in which both sides run in the same process.

Whole runs of stock have a process of their own: ``benchmarks/stock_process.py``.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt


def estimate_foreground_ml(
    image: npt.NDArray[np.uint8], alpha: npt.NDArray[np.float32]
) -> npt.NDArray[np.uint8]:
    """Estimate the foreground with PyMatting, and round it as ``Remover.process(type="rgba")`` does: H x W x 3."""
    colours = _pymatting().estimate_foreground_ml(image / 255.0, alpha)
    return (255 * np.clip(colours, 0.0, 1.0) + 0.5).astype(np.uint8)  # type: ignore[no-any-return]


@cache
def _pymatting() -> Any:
    """Import the module of PyMatting without its package, because the package would compile everything else."""
    spec = importlib.util.find_spec("pymatting")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("pymatting is not installed", name="pymatting")
    root = Path(spec.submodule_search_locations[0])
    for name, path in {"pymatting": root, "pymatting.foreground": root / "foreground"}.items():
        shell = ModuleType(name)
        shell.__path__ = [str(path)]
        sys.modules.setdefault(name, shell)
    return importlib.import_module("pymatting.foreground.estimate_foreground_ml")

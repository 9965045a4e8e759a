"""The foreground's own colours: pymatting's multi-level estimate, without the rest of pymatting.

Importing the package ``pymatting`` makes numba compile everything in it, about 40 s on a fresh disk. The one module
needed here is loaded by its path instead. Two things differ from a plain import, and neither changes a bit of the
result: the compilation leaves ``parallel=True`` away (it concerns only a nearest-neighbour copy, costs twice the time
to compile, and numba's ``workqueue`` threads kill the process when two threads call them at once), and the compiled
code is cached in a directory of our own, because numba's cache files name the module that wrote them.

``Remover`` prefers pymatting's CuPy or OpenCL variant where those libraries are installed; they iterate in another
order (Jacobi) and give other colours. This is always the CPU one.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
import tempfile
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from service.engines.base import RGB, Alpha

_MODULE = "service.engines._pymatting_estimate_foreground_ml"
_UNIT = (np.arange(256) / 255.0).astype(np.float32)  # what image / 255.0 is, once rounded to float32
_load_lock = threading.Lock()
_log = logging.getLogger(__name__)


def estimate_foreground(image: RGB, alpha: Alpha) -> RGB:
    """The colours of the foreground: H x W x 3, uint8; as ``Remover.process(type="rgba")`` computes them.

    Pure CPU work that lets other threads run; safe to call from several at a time. The first call loads and, where no
    cache is found, compiles: :func:`prime` does that beforehand.
    """
    if image.shape[:2] == (1, 1):
        return image.copy()  # pymatting divides by the number of its levels, which is 0 for a single pixel
    colours: npt.NDArray[np.float32] = _estimator()(_UNIT[image], alpha)
    np.clip(colours, 0.0, 1.0, out=colours)
    colours *= 255
    colours += 0.5
    return colours.astype(np.uint8)


def prime() -> None:
    """Load pymatting's module and run it once, so that the first picture does not wait for a compiler."""
    estimate_foreground(np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2), np.float32))


def _estimator() -> Callable[[Any, Alpha], Any]:
    with _load_lock:
        return _load_estimator()


@cache
def _load_estimator() -> Callable[[Any, Alpha], Any]:
    directory = _cache_directory()
    config: Any = numba.config  # its values are set dynamically
    compile_function, cache_dir = numba.njit, config.CACHE_DIR

    def njit(*args: Any, **options: Any) -> Any:
        return compile_function(*args, **{**options, "parallel": False, "cache": directory is not None})

    numba.njit = njit
    config.CACHE_DIR = str(directory or "")
    try:
        return _module().estimate_foreground_ml  # type: ignore[no-any-return]  # pymatting is untyped
    finally:
        numba.njit, config.CACHE_DIR = compile_function, cache_dir


def _module() -> ModuleType:
    package = importlib.util.find_spec("pymatting")
    if package is None or not package.submodule_search_locations:
        raise ModuleNotFoundError("the package pymatting is not installed", name="pymatting")
    path = Path(package.submodule_search_locations[0], "foreground", "estimate_foreground_ml.py")
    spec = importlib.util.spec_from_file_location(_MODULE, path)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"pymatting has no {path.name}", name="pymatting")
    module = importlib.util.module_from_spec(spec)
    sys.modules[_MODULE] = module  # numba imports the module by name when it reads its cache
    spec.loader.exec_module(module)
    return module


def _cache_directory() -> Path | None:
    """A writable directory for compiled code; None, said aloud, where there is none (a read-only file system)."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    candidates = [os.environ.get("NUMBA_CACHE_DIR"), home, tempfile.gettempdir()]
    for candidate in candidates:
        if not candidate:
            continue
        directory = Path(candidate, "inspyrenet-api", "numba")
        try:
            directory.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=directory).close()
        except OSError as error:
            _log.debug("cannot cache compiled code in %s: %s", directory, error)
        else:
            return directory
    _log.warning("No writable directory for compiled code: every start compiles it anew; set NUMBA_CACHE_DIR")
    return None

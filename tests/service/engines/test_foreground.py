"""The foreground's colours: pymatting's own, whatever is installed beside it."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.engines.foreground import estimate_foreground

ROOT = Path(__file__).parents[3]
RNG = np.random.default_rng(7)


def picture(height: int, width: int) -> tuple[Any, Any]:
    return (
        RNG.integers(0, 256, (height, width, 3), dtype=np.uint8),
        RNG.random((height, width), dtype=np.float32),
    )


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 1), (1, 300), (300, 1), (3, 5), (64, 64)])
def test_every_size_works(size: tuple[int, int]) -> None:
    colours = estimate_foreground(*picture(*size))
    assert colours.shape == (*size, 3)
    assert colours.dtype == np.uint8


def test_an_opaque_picture_keeps_its_colours() -> None:
    image, alpha = picture(40, 50)
    difference = estimate_foreground(image, np.ones_like(alpha)).astype(int) - image
    assert abs(difference).max() <= 1


def test_the_backgrounds_bleed_is_taken_out_of_a_soft_edge() -> None:
    alpha = np.tile(np.clip(np.linspace(-0.5, 1.5, 64, dtype=np.float32), 0, 1), (64, 1))
    red, blue = np.array([220.0, 20, 20]), np.array([20.0, 20, 220])
    image = (alpha[..., None] * red + (1 - alpha[..., None]) * blue).astype(np.uint8)
    colours = estimate_foreground(image, alpha)
    assert abs(colours[:, 24:].astype(float) - red).mean() < 5 < abs(image[:, 24:].astype(float) - red).mean()


def test_several_threads_at_once_get_what_one_gets() -> None:
    inputs = [picture(120, 160) for _ in range(8)]
    alone = [estimate_foreground(*one) for one in inputs]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda one: estimate_foreground(*one), inputs))
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


def test_only_the_one_module_of_pymatting_is_imported(tmp_path: Path) -> None:
    done = run(
        "import sys; from service.engines.foreground import prime; prime(); print('pymatting' in sys.modules)",
        NUMBA_CACHE_DIR=str(tmp_path),
    )
    assert (done.stdout, done.returncode) == ("False\n", 0), done.stderr
    assert list(tmp_path.rglob("*.nbc")), "nothing was cached"


def test_compiled_code_is_found_again(tmp_path: Path) -> None:
    code = """
from numba.core import event
compilations = []
class Listener(event.Listener):
    def on_start(self, e): compilations.append(e)
    def on_end(self, e): pass
from service.engines.foreground import prime
with event.install_listener("numba:compile", Listener()):
    prime()
print(len(compilations))
"""
    counts = [int(run(code, NUMBA_CACHE_DIR=str(tmp_path)).stdout) for _ in range(2)]
    assert counts[0] > 0
    assert counts[1] == 0


def test_without_a_writable_directory_it_compiles_and_says_so() -> None:
    code = """
import tempfile, logging
def refuse(*_, **__): raise OSError(30, "Read-only file system")
tempfile.TemporaryFile = refuse
from pathlib import Path
Path.mkdir = refuse
logging.basicConfig()
from service.engines.foreground import prime
prime()
"""
    done = run(code)
    assert done.returncode == 0, done.stderr
    assert "set NUMBA_CACHE_DIR" in done.stderr

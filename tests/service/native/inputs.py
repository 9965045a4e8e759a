"""Inputs for the loops, and how to compute the same in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

from service.native import coding, loops
from service.native.arrays import Bytes

Compute = Callable[[], Any]

SIDES = st.integers(1, 40) | st.sampled_from([63, 64, 65, 255, 256, 257, 300, 521])
SEEDS = st.integers(0, 2**32 - 1)


def in_numpy(compute: Compute) -> Any:
    """What NumPy computes instead of C."""
    library = loops.LIBRARY
    loops.LIBRARY = coding.LIBRARY = None
    try:
        return compute()
    finally:
        loops.LIBRARY = coding.LIBRARY = library


def read_only(array: Bytes) -> Bytes:
    """The same array, not writeable any more."""
    array.flags.writeable = False
    return array


def random(seed: int) -> np.random.Generator:
    """Random numbers that are the same in every run."""
    return np.random.default_rng(seed)


def some_bytes(rng: np.random.Generator, *shape: int) -> Bytes:
    """Noise, a few values, or nearly constant: what photographs, masks and flat parts have."""
    most, few = rng.integers(0, 256, shape, np.uint8), rng.choice(np.array([0, 1, 254, 255], np.uint8), shape)
    kind = rng.integers(3)
    return [most, few, np.where(rng.random(shape) < 0.02, most, 255).astype(np.uint8)][kind]

"""Checks of the arrays that ``loops`` and ``coding`` hand to C, which trusts what it gets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt


def checked(array: npt.NDArray[Any], kind: type, *shape: int) -> npt.NDArray[Any]:
    """An input, C-contiguous."""
    if array.dtype != kind or array.shape != shape:
        raise ValueError(f"{array.dtype} {array.shape} where {np.dtype(kind)} {shape} belongs")
    return np.ascontiguousarray(array)


def place_of(output: npt.NDArray[Any], kind: type, *shape: int) -> int:
    """Where an output lies."""
    if checked(output, kind, *shape) is not output or not output.flags.writeable:
        raise ValueError("an output must be contiguous in C's order, and writeable")
    return output.ctypes.data


def places(*arrays: npt.NDArray[Any]) -> Iterator[int]:
    """Where inputs lie that are checked already."""
    return (array.ctypes.data for array in arrays)

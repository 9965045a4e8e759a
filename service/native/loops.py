"""The functions of ``loops.c``, called through ctypes.

``pip install .`` compiles them into the module ``inspyrenet_native``, if there is a C compiler. Where there was none,
``available`` is False, and each caller does the same with NumPy and OpenCV, which takes longer: the start of the service
logs ``in_use``, and the metric ``build_info`` shows it.

The functions release the interpreter's lock. They trust what they get, so every array must be C-contiguous and of the
type and shape that is stated; ``_address`` makes sure of the first two.
"""

from __future__ import annotations

import ctypes
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
Indices = npt.NDArray[np.int32]
"""Rectangles, n x 4: top, bottom, left and right; the second and the fourth are not inside."""

_INTERFACE = 1
_TILE_PLANES = 11
_POINTER, _SIZE, _FLOAT = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float
_ARGUMENTS = {
    "filter_by_paeth": [_POINTER, _POINTER, _POINTER, _SIZE, _SIZE, _SIZE],
    "filter_grey": [_POINTER, _POINTER, _POINTER, _SIZE, _SIZE, _POINTER, _POINTER],
    "block_kinds": [_POINTER, _SIZE, _SIZE, _SIZE, _SIZE, _FLOAT, _FLOAT, _POINTER, _POINTER],
    "any_outside": [_POINTER, _SIZE, _FLOAT, _FLOAT],
    "survey": [_POINTER, _SIZE, _SIZE, _FLOAT, _FLOAT, _FLOAT, _POINTER, _POINTER],
    "mask_levels": [_POINTER, _POINTER, _SIZE],
    "join_rgba": [_POINTER, _POINTER, _POINTER, _SIZE],
    "blend": [_POINTER, _SIZE, _POINTER, _POINTER, _SIZE, _POINTER, _SIZE],
    "enlarge_mask": [_POINTER, _SIZE, _SIZE, _POINTER, _SIZE, _SIZE, _POINTER],
    "reduce": [_POINTER, _POINTER, _SIZE, _SIZE, _SIZE, _POINTER, _POINTER, _POINTER],
    "relax": [_POINTER] * 4 + [_SIZE] * 2 + [_POINTER] + [_SIZE] * 2 + [_FLOAT] * 3 + [_POINTER],
    "unmix": [_POINTER] * 3 + [_SIZE, _POINTER] + [_SIZE] * 3 + [_POINTER, _SIZE, _FLOAT],
}
_RESULTS = {"any_outside": ctypes.c_int32, "survey": _SIZE}


def _load() -> tuple[ctypes.CDLL | None, str]:
    """The library, and why there is none."""
    found = find_spec("inspyrenet_native")
    if found is None or found.origin is None:
        return None, "inspyrenet_native is not installed: there was no C compiler when the service was"
    try:
        library = ctypes.CDLL(found.origin)
        version = library.interface_version()
    except (OSError, AttributeError) as error:
        return None, f"inspyrenet_native cannot be loaded: {error}"
    if version != _INTERFACE:
        return None, f"inspyrenet_native is of another version ({version} instead of {_INTERFACE}): install the service again"
    for name, arguments in _ARGUMENTS.items():
        function = getattr(library, name)
        function.argtypes = arguments
        function.restype = _RESULTS.get(name)
    return library, ""


_library, why_missing = _load()
available = _library is not None


def _at(array: npt.NDArray[Any], kind: type) -> int:
    """The address of an array."""
    if not array.flags.c_contiguous or array.dtype != kind:
        raise ValueError(f"an array of {array.dtype}, strides {array.strides}, where {kind.__name__} in C order belongs")
    return array.ctypes.data


def filter_by_paeth(rows: Bytes, above: Bytes, filtered: Bytes, channels: int) -> None:
    _library.filter_by_paeth(_at(rows, np.uint8), _at(above, np.uint8), _at(filtered, np.uint8), *rows.shape, channels)

def filter_grey(rows: Bytes, above: Bytes, filtered: Bytes, costs) -> None:
    room = np.empty(rows.shape[1], np.uint8)
    _library.filter_grey(_at(rows, np.uint8), _at(above, np.uint8), _at(filtered, np.uint8), *rows.shape, _at(costs, np.uint8), room.ctypes.data)


def block_kinds(alpha, down, right, visible, solid, seen, mixed):
    _library.block_kinds(_at(alpha, np.float32), *alpha.shape, down, right, visible, solid, _at(seen, np.bool_), _at(mixed, np.bool_))


def any_outside(values, low, high):
    return bool(_library.any_outside(_at(values, np.float32), values.size, low, high))

def survey(mask, low, high, visible):
    in_row, in_column = np.zeros(mask.shape[0], bool), np.zeros(mask.shape[1], bool)
    return _library.survey(_at(mask, np.float32), *mask.shape, low, high, visible, in_row.ctypes.data, in_column.ctypes.data), in_row, in_column

def mask_levels(mask, levels):
    _library.mask_levels(_at(mask, np.float32), _at(levels, np.uint8), mask.size)

def join_rgba(colours, mask, joined):
    _library.join_rgba(_at(colours, np.uint8), _at(mask, np.float32), _at(joined, np.uint8), mask.size)

def blend(target, front, mask, parts):
    _library.blend(target.ctypes.data, target.strides[0], _at(front, np.uint8), _at(mask, np.float32), mask.shape[1], _at(parts, np.int32), len(parts))

def enlarge_mask(mask, size):
    result = np.empty(size, np.float32)
    room = np.empty(5 * size[1], np.float32)
    _library.enlarge_mask(_at(mask, np.float32), *mask.shape, result.ctypes.data, *size, room.ctypes.data)
    return result

def reduce(image, alpha, reduction):
    h, w = alpha.shape
    shape = (-(-h // reduction), -(-w // reduction))
    colours, mask = np.empty((3, *shape), np.float32), np.empty(shape, np.float32)
    room = np.empty(4 * w, np.float32)
    _library.reduce(_at(image, np.uint8), _at(alpha, np.float32), h, w, reduction, colours.ctypes.data, mask.ctypes.data, room.ctypes.data)
    return colours, mask


def relax(start, colours, alpha, result, tiles, sweeps, smoothness, edge_smoothness, momentum):
    if not len(tiles): return
    sides = [np.minimum(tiles[:, i+1] - tiles[:, i] + 2*sweeps, n) + 2 for i, n in ((0, alpha.shape[0]), (2, alpha.shape[1]))]
    room = np.empty(_TILE_PLANES * int((sides[0].astype(np.int64) * sides[1]).max()), np.float32)
    _library.relax(_at(start, np.float32), _at(colours, np.float32), _at(alpha, np.float32), _at(result, np.float32), *alpha.shape, _at(tiles, np.int32), len(tiles), sweeps, smoothness, edge_smoothness, momentum, room.ctypes.data)


def unmix(image, alpha, result, grid, reduction, parts, smoothness):
    _library.unmix(_at(image, np.uint8), None if alpha is None else _at(alpha, np.float32), _at(result, np.uint8), image.shape[1], _at(grid, np.float32), *grid.shape[-2:], reduction, _at(parts, np.int32), len(parts), smoothness)

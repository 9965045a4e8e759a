"""The compiled form of the C files in this folder, loaded with ctypes.

``pip install .`` compiles them into the module ``inspyrenet_native`` if there is a C compiler, and goes on without one.
A library that was compiled from other files is not used: it could read and write the wrong memory.
Where it is missing, ``arrays``, ``coding_arrays`` and zlib do the work and take longer. So the start of the service
logs ``in_use``, and the metric ``build_info`` shows it.
"""

from __future__ import annotations

import ctypes
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

_NAME = "inspyrenet_native"
_FOLDER = Path(__file__).parent

_POINTER, _SIZE, _FLOAT, _INT = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float, ctypes.c_int32
_FUNCTIONS = {
    "source_hash": (ctypes.c_char_p, []),
    "instructions": (ctypes.c_char_p, []),
    "filter_by_paeth": (None, [_POINTER] * 3 + [_SIZE] * 3),
    "filter_grey": (None, [_POINTER] * 3 + [_SIZE] * 2 + [_POINTER] * 2),
    "deflate_block": (_SIZE, [_POINTER] + [_SIZE] * 2 + [_POINTER] * 3),
    "webp_mask": (None, [_POINTER] + [_SIZE] * 2 + [_INT] + [_POINTER] * 2),
    "webp_colours": (None, [_POINTER] + [_SIZE] * 2),
    "block_kinds": (None, [_POINTER] + [_SIZE] * 4 + [_FLOAT] * 2 + [_POINTER] * 2),
    "any_outside": (_INT, [_POINTER, _SIZE, _FLOAT, _FLOAT]),
    "survey": (_SIZE, [_POINTER] + [_SIZE] * 2 + [_FLOAT] * 3 + [_POINTER] * 2),
    "mask_levels": (None, [_POINTER] * 2 + [_SIZE]),
    "join_rgba": (None, [_POINTER] * 3 + [_SIZE]),
    "blend": (None, [_POINTER, _SIZE] + [_POINTER] * 2 + [_SIZE, _POINTER, _SIZE]),
    "enlarge_mask": (None, [_POINTER] + [_SIZE] * 2 + [_POINTER] + [_SIZE] * 2 + [_POINTER]),
    "reduce": (None, [_POINTER] * 2 + [_SIZE] * 3 + [_POINTER] * 3),
    "enlarge": (None, [_POINTER] + [_SIZE] * 3 + [_POINTER] + [_SIZE] * 2 + [_POINTER]),
    "relax": (None, [_POINTER] * 4 + [_SIZE] * 2 + [_POINTER] + [_SIZE] * 2 + [_FLOAT] * 3 + [_POINTER]),
    "unmix": (None, [_POINTER] * 3 + [_SIZE, _POINTER] + [_SIZE] * 3 + [_POINTER, _SIZE, _FLOAT]),
    "continue_colours": (None, [_POINTER] + [_SIZE] * 3 + [_POINTER] + [_SIZE, _POINTER, _SIZE]),
}
"""Each function's result and arguments."""


def _load() -> tuple[ctypes.CDLL | None, str]:
    """The library, and why there is none."""
    found = find_spec(_NAME)
    if found is None or found.origin is None:
        return None, f"there is no {_NAME}: it was never compiled, or there was no C compiler; run make setup"
    try:
        library = ctypes.CDLL(found.origin)
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
        wanted = _source_hash()
    except (OSError, AttributeError) as error:
        return None, f"{error}; install the dependencies again"
    if library.source_hash().decode() != wanted:
        return None, f"{found.origin} was compiled from other files; install the dependencies again"
    return library, ""


def _source_hash() -> str:
    """As in ``setup.py``."""
    return sha256(b"".join(file.read_bytes() for file in sorted(_FOLDER.glob("[a-z]*.[ch]")))).hexdigest()


LIBRARY, WHY_MISSING = _load()


def in_use() -> str:
    """What computes the loops over pixels: ``C (AVX2)``, for instance, or ``NumPy``."""
    return "NumPy" if LIBRARY is None else f"C ({LIBRARY.instructions().decode()})"

"""How the process itself is set up: its memory, and no garbage collection while it starts. No other imports.

A forward pass takes hundreds of megabytes from the kernel and gives them back, and a load copies as many. In pages of
4 KiB the kernel spends more time on handing them out than the processor needs to fill them (three times as long, for a
copy of 268 MB). The C library asks for huge pages only if its environment says so when the process begins; torch, when
it is imported.

For every size of picture, the layers keep what they have prepared for that size: torch the descriptions of a thousand
operations, 0.2 MB each for a linear one, and oneDNN as many kernels. Pictures of mixed sizes made the process 370 MB
larger, and scattered its memory as much again. With room for one size, a second one costs 20 ms.
"""

from __future__ import annotations

import gc
import os
import sys
from contextlib import suppress

MEMORY = {
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    "THP_MEM_ALLOC_ENABLE": "1",
    "LRU_CACHE_CAPACITY": "128",
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "128",
}
"""What the environment has to say. Where the kernel has no huge pages to give, or on another C library, the first two
mean nothing. A pass needs about 90 entries of either cache."""

_BEGAN_AGAIN = "MEMORY_SET_UP"
"""Set together with them: a C library may take its variable away again, from a program with capabilities, say."""


def begin_again_with_memory_set_up() -> None:
    """Replace this program by itself, once, with :data:`MEMORY` in its environment; returns if that is done.

    The process stays the same one; it costs about 15 ms. What an operator has set is left as it is. Where it cannot be
    done the program goes on without what only the beginning can set, the C library's part.
    """
    missing = {name: value for name, value in MEMORY.items() if name not in os.environ}
    if not missing or _BEGAN_AGAIN in os.environ:
        return
    os.environ.update(missing, **{_BEGAN_AGAIN: "1"})
    with suppress(OSError, ValueError):
        os.execve(sys.executable, sys.orig_argv, os.environ)  # noqa: S606 - this very program


def put_off_collection() -> None:
    """No garbage collection from here on: a start makes a million objects that stay, and searching them takes a tenth
    of it."""
    gc.disable()


def resume_collection(*, keep: bool) -> None:
    """Collect garbage again; does nothing if it was not put off.

    Args:
        keep: leave what is there now alone for good, since it stays.
    """
    if not gc.isenabled():
        if keep:
            gc.freeze()
        gc.enable()

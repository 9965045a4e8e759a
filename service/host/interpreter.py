"""How the process itself is set up: its memory, and no garbage collection while it starts. No other imports.

A load takes hundreds of megabytes, and every forward pass as many. To take them from the kernel and give them back
costs a pass a tenth, and a first pass more where a virtual machine's host has taken back what lay free. So the C
library keeps what it has: one heap for all threads, nothing mapped aside, nothing returned by itself
(:mod:`service.host.memory` returns what is too much). It listens only when the process begins. Huge pages are not
asked for: memory that stays is not handed out often enough for them, and a host that backs them page by page makes each
take milliseconds (a fresh start a third longer).

For every size of picture, the layers keep what they have prepared for that size: torch the descriptions of a thousand
operations of each kind, 0.2 MB each for a linear one, and oneDNN a thousand kernels. Pictures of a hundred sizes made
the process 370 MB larger, and scattered its memory as much again. The largest size needs 102, a small one 85, so there
is room for a client's and the canary's; one that is new takes 20 to 40 ms.
"""

from __future__ import annotations

import gc
import os
import sys
from contextlib import suppress

MEMORY = {
    "GLIBC_TUNABLES": (
        f"glibc.malloc.arena_max=1:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold={1 << 40}"
    ),
    "NUMPY_MADVISE_HUGEPAGE": "0",
    "LRU_CACHE_CAPACITY": "192",
    "DNNL_PRIMITIVE_CACHE_CAPACITY": "192",
}
"""What the environment has to say. The first is for GNU's C library, and leaves others as they are."""

_LIBRARY = "GLIBC_TUNABLES"

_BEGAN_AGAIN = "MEMORY_SET_UP"
"""Set together with them: a C library may take its variable away again, from a program with capabilities, say."""


def begin_again_with_memory_set_up() -> None:
    """Put :data:`MEMORY` into the environment, and replace this program by itself, once, if it began without.

    The process stays the same one; it costs about 15 ms. What an operator has set is left as it is, each of the C
    library's settings for itself. Where it cannot be done the program goes on without what only its beginning can set,
    the C library's part.
    """
    found = os.environ.get(_LIBRARY, "")
    set_already = {setting.partition("=")[0] for setting in found.split(":")}
    missing = [
        setting for setting in MEMORY[_LIBRARY].split(":") if setting.partition("=")[0] not in set_already
    ]
    begins_again = bool(missing) and _BEGAN_AGAIN not in os.environ
    os.environ[_LIBRARY] = ":".join(filter(None, [found, *missing]))
    for name, value in MEMORY.items():
        os.environ.setdefault(name, value)
    if begins_again:
        os.environ[_BEGAN_AGAIN] = "1"
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

"""How this process and its libraries allocate main memory; only environment variables control it.

``service.startup`` calls it unless ``INSPYRENET_MALLOC_TUNING=off``, and must do so before anything large is imported.
Tests and benchmarks that measure memory
start their programs with :data:`MEMORY_VARIABLES`.

A load needs hundreds of megabytes, and so does each forward pass. Requesting them from the kernel and returning them
costs a tenth of a pass. It costs more in a first pass, if the host of a virtual machine has reclaimed free memory. So
the C library keeps what it has: it uses one heap for all threads, no separate mappings for large blocks, and returns
nothing by itself. :mod:`service.host.memory` returns the memory that is too much. The C library reads its settings only
when a process starts.

Huge pages stay off. Memory that the process keeps is not allocated often enough to gain from them. On a host that backs
them page by page, each one takes milliseconds: a fresh start took a third longer.

Torch and oneDNN cache what they prepare for each size of picture. By default torch keeps the descriptions of a thousand
operations of each kind, 0.2 MB each for a linear one, and oneDNN keeps a thousand kernels. Pictures of a hundred sizes
made the process 370 MB larger, and fragmentation added as much again. The largest size needs 102 entries and a small
one 85, so the limits below are enough for a client's size and the canary's. Preparing a new size takes 20 to 40 ms.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress

MEMORY_VARIABLES = {
    "GLIBC_TUNABLES": (
        f"glibc.malloc.arena_max=1:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold={1 << 40}"
    ),
    "NUMPY_MADVISE_HUGEPAGE": "0",
    "LRU_CACHE_CAPACITY": "192",
    "DNNL_PRIMITIVE_CACHE_CAPACITY": "192",
}
"""The environment that the service runs in. Only GNU's C library reads the first variable; others ignore it."""

_MALLOC = "GLIBC_TUNABLES"

_SAME_THING = {
    "glibc.malloc.arena_max": (
        "glibc.malloc.arena_max",
        "glibc.malloc.arena_test",
        "MALLOC_ARENA_MAX",
        "MALLOC_ARENA_TEST",
    ),
    "glibc.malloc.mmap_max": (
        "glibc.malloc.mmap_max",
        "glibc.malloc.mmap_threshold",
        "MALLOC_MMAP_MAX_",
        "MALLOC_MMAP_THRESHOLD_",
    ),
    "glibc.malloc.trim_threshold": ("glibc.malloc.trim_threshold", "MALLOC_TRIM_THRESHOLD_"),
}
"""For each setting of ours in the first variable, the names under which an operator may have decided the same thing: as
a setting in that variable, or as a variable of its own. GNU's C library would prefer our setting to such a variable."""

_REEXECUTED = "MEMORY_SET_UP"
"""This marker prevents a second re-execution. A C library may remove its own variable from the environment, for
example in a program that has capabilities."""


def reexec_with_malloc_settings() -> None:
    """Put :data:`MEMORY_VARIABLES` into the environment, and re-execute this program once if it started without them.

    The process id stays the same; it takes about 15 ms. Variables that an operator has set keep their values. What an
    operator has decided for the C library, in whatever variable, is not decided again. If re-execution is impossible,
    the program continues without the C library's settings; the other variables still work, because their libraries are
    not loaded yet.
    """
    found = os.environ.get(_MALLOC, "")
    decided = {setting.partition("=")[0] for setting in found.split(":")}
    decided |= {name for name, value in os.environ.items() if value}
    missing = [
        setting
        for setting in MEMORY_VARIABLES[_MALLOC].split(":")
        if decided.isdisjoint(_SAME_THING[setting.partition("=")[0]])
    ]
    must_reexecute = bool(missing) and _REEXECUTED not in os.environ
    os.environ[_MALLOC] = ":".join(filter(None, [found, *missing]))
    for name, value in MEMORY_VARIABLES.items():
        os.environ.setdefault(name, value)
    if must_reexecute:
        os.environ[_REEXECUTED] = "1"
        with suppress(OSError, ValueError):
            os.execve(sys.executable, sys.orig_argv, os.environ)  # noqa: S606 - this program itself

"""How the process itself is set up: memory in huge pages, and no garbage collection while it starts. No other imports.

A forward pass takes hundreds of megabytes from the kernel and gives them back, and a load copies as many. In pages of
4 KiB the kernel spends more time on handing them out than the processor needs to fill them (three times as long, for a
copy of 268 MB). The C library asks for huge pages only if its environment says so when the process begins; torch, when
it is imported.
"""

from __future__ import annotations

import gc
import os
import sys
from contextlib import suppress

HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1", "THP_MEM_ALLOC_ENABLE": "1"}
"""What the environment has to say; where the kernel has no huge pages to give, or on another C library, it means
nothing."""


_BEGAN_AGAIN = "HUGE_PAGES_ASKED_FOR"
"""Set together with them: a C library may take its variable away again, from a program with capabilities, say."""


def begin_again_with_huge_pages() -> None:
    """Replace this program by itself, once, with :data:`HUGE_PAGES` in its environment; returns if that is done.

    The process stays the same one; it costs about 15 ms. What an operator has set is left as it is. Where it cannot be
    done the program goes on without them.
    """
    missing = {name: value for name, value in HUGE_PAGES.items() if name not in os.environ}
    if not missing or _BEGAN_AGAIN in os.environ:
        return
    with suppress(OSError, ValueError):
        os.execve(  # noqa: S606 - this very program
            sys.executable, sys.orig_argv, os.environ | missing | {_BEGAN_AGAIN: "1"}
        )


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

"""Python's garbage collection, which is off while the service starts.

A start makes a million objects that stay. Searching them for garbage takes a tenth of the start's time.
``service.startup`` turns collection off; ``service.warmup.target`` turns it on again after every load, whether that
succeeded or not, so that a running service always collects.
"""

from __future__ import annotations

import gc


def defer_garbage_collection() -> None:
    """Collect no garbage until :func:`resume_garbage_collection` is called."""
    gc.disable()


def resume_garbage_collection(*, keep: bool) -> None:
    """Collect garbage again. This does nothing if collection is on.

    Args:
        keep: exclude the objects that exist now from all later collections, because they stay.
    """
    if not gc.isenabled():
        if keep:
            gc.freeze()
        gc.enable()

"""Python's garbage collection, which is off while the service starts.

``service.startup`` turns collection off; ``service.warmup.target`` turns it on again after every load, successful or
not. A running service must always collect. A start makes a million objects that stay, and searching them for garbage
takes a tenth of the start's time.
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

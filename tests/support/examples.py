"""How many examples a property-based test gets: all in ``make test``, a quarter of them in ``make test-fast``.

``tests/conftest.py`` calls ``register_profiles``. A test that needs another number than the usual 100 asks
``examples``.
"""

from __future__ import annotations

from hypothesis import settings

_USUAL = 100


def register_profiles() -> None:
    """Make the profiles known. ``--hypothesis-profile few`` chooses the second one."""
    # No test depends on the speed of the machine: others may use it at the same time.
    settings.register_profile("all", deadline=None, max_examples=_USUAL)
    settings.register_profile("few", deadline=None, max_examples=_USUAL // 4)
    settings.load_profile("all")


def examples(count: int) -> int:
    """``max_examples`` of a test that deserves ``count`` of them in ``make test``."""
    return count * settings.default.max_examples // _USUAL

"""The fake clock for code that takes a ``clock`` argument.

Tests of timeouts and deadlines pass it instead of ``time.monotonic``. Its time must change only when a test moves it.
"""

from __future__ import annotations


class FakeClock:
    """Call it to read the time in seconds, like ``time.monotonic``; assign to ``now`` to move it."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

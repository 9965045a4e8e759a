"""Places held at a client's pace: when somebody else needs one, the slowest transfer gives way.

A place is taken before a body is read and kept until the answer is written, so how long it is held is up to the
client's connection. A handful of connections that trickle could hold every place while the device idles. So while
places are free a slow client has all of its timeouts, and when the last is gone the slowest one pays for the others.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

GRACE_SECONDS = 2.0
"""No transfer gives way before this: a slow start is no slow client."""

FAIR_PACE = 64 * 1024
"""Bytes a second, on average; a transfer at this pace or above never gives way. 0.5 Mbit/s is a poor mobile line."""


class Transfer:
    """A body on its way in, or an answer on its way out."""

    __slots__ = ("_end", "_moved", "gave_way", "started")

    def __init__(self, started: float, moved: Callable[[], int], end: Callable[[], None]) -> None:
        self.started = started
        self.gave_way = False
        self._moved = moved
        self._end = end

    def pace(self, now: float) -> float:
        """Bytes a second, on average since it began."""
        return self._moved() / (now - self.started)

    def give_way(self) -> None:
        """Give the place back and end the transfer."""
        self.gave_way = True
        self._end()


class Transfers:
    """The transfers under way.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._under_way: set[Transfer] = set()

    @contextmanager
    def transfer(self, *, moved: Callable[[], int], end: Callable[[], None]) -> Iterator[Transfer]:
        """For as long as the transfer lasts.

        Args:
            moved: bytes that have come in or gone out so far.
            end: gives its place back at once and makes the transfer fail; called at most once.
        """
        transfer = Transfer(self._clock(), moved, end)
        self._under_way.add(transfer)
        try:
            yield transfer
        finally:
            self._under_way.discard(transfer)

    def make_way(self) -> None:
        """End the slowest transfer, if one is past its grace and below the fair pace."""
        now = self._clock()
        old = [transfer for transfer in self._under_way if now - transfer.started >= GRACE_SECONDS]
        slowest = min(old, key=lambda transfer: transfer.pace(now), default=None)
        if slowest is not None and slowest.pace(now) < FAIR_PACE:
            self._under_way.discard(slowest)
            slowest.give_way()

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
"""No transfer gives way before this: a slow start is no slow client. Paces are averages over at least as long."""

FAIR_PACE = 64 * 1024
"""Bytes a second; a transfer at this pace or above never gives way. 0.5 Mbit/s is a poor mobile line."""


class Transfer:
    """A body on its way in, or an answer on its way out."""

    __slots__ = ("_end", "_moved", "_moved_before", "_since", "gave_way")

    def __init__(self, now: float, moved: Callable[[], int], end: Callable[[], None]) -> None:
        self.gave_way = False
        self._end = end
        self._moved = moved
        self._moved_before = 0
        self._since = now

    def pace(self, now: float) -> float | None:
        """Bytes a second; None while it is too early to tell.

        A fair one is judged anew from here on, so that a fast start, or what the kernel's own buffers took in one
        gulp, does not excuse a stall for long.
        """
        if now - self._since < GRACE_SECONDS:
            return None
        moved = self._moved()
        pace = (moved - self._moved_before) / (now - self._since)
        if pace >= FAIR_PACE:
            self._since, self._moved_before = now, moved
        return pace

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
        slow = {
            transfer: pace
            for transfer in self._under_way
            if (pace := transfer.pace(now)) is not None and pace < FAIR_PACE
        }
        if slow:
            slowest = min(slow, key=slow.__getitem__)
            self._under_way.discard(slowest)
            slowest.give_way()

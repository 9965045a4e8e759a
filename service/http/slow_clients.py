"""Evicts slow clients when the service is full: the slowest transfer loses its place to a new request.

A place is taken before a body is read and kept until the answer is written, so a client's connection decides how long
a place is held. A handful of slow connections could hold every place while the device idles. ``/process`` registers
each transfer here and asks for an eviction when no place is free. While places are free, a slow client must keep all
of its timeouts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from service.host.running_time import running_seconds

MIN_AGE_SECONDS = 2.0
"""No transfer is evicted before this age, because a slow start does not make a slow client. Rates are averages over
at least this time."""

MIN_BYTES_PER_SECOND = 64 * 1024
"""No transfer at this rate or above is evicted. 0.5 Mbit/s is a poor mobile line."""


class Transfer:
    """A body on its way in, or an answer on its way out."""

    __slots__ = ("_bytes_at_start", "_end", "_min_age", "_moved_bytes", "_start", "evicted")

    def __init__(
        self, now: float, moved_bytes: Callable[[], int], end: Callable[[], None], min_age: float
    ) -> None:
        self.evicted = False
        self._min_age = min_age
        self._end = end
        self._moved_bytes = moved_bytes
        self._start = now
        self._bytes_at_start = 0

    def rate(self, now: float) -> float | None:
        """Bytes a second; None if it is too early to tell.

        The average begins anew each time it is good enough. Otherwise a fast start, or what the kernel's own buffers
        took at once, would hide a stall for long.
        """
        seconds = now - self._start
        if seconds < self._min_age:
            return None
        moved = self._moved_bytes()
        rate = (moved - self._bytes_at_start) / seconds
        if rate >= MIN_BYTES_PER_SECOND:
            self._start, self._bytes_at_start = now, moved
        return rate

    def evict(self) -> None:
        """Give the place back and end the transfer."""
        self.evicted = True
        self._end()


class SlowClients:
    """The transfers that are under way.

    Args:
        min_age: seconds before which no transfer is evicted.
        clock: seconds in which the process could run.
    """

    def __init__(
        self, *, min_age: float = MIN_AGE_SECONDS, clock: Callable[[], float] = running_seconds
    ) -> None:
        self._min_age = min_age
        self._clock = clock
        self._transfers: set[Transfer] = set()

    @contextmanager
    def watch(self, *, moved_bytes: Callable[[], int], end: Callable[[], None]) -> Iterator[Transfer]:
        """Keep a transfer registered as long as the context lasts.

        Args:
            moved_bytes: bytes that have come in or gone out so far.
            end: gives the place back at once and makes the transfer fail; called at most once.
        """
        transfer = Transfer(self._clock(), moved_bytes, end, self._min_age)
        self._transfers.add(transfer)
        try:
            yield transfer
        finally:
            self._transfers.discard(transfer)

    def evict_slowest(self) -> None:
        """Evict the slowest transfer, if one is old enough and below the minimum rate."""
        now = self._clock()
        slow = {
            transfer: rate
            for transfer in self._transfers
            if (rate := transfer.rate(now)) is not None and rate < MIN_BYTES_PER_SECOND
        }
        if slow:
            slowest = min(slow, key=slow.__getitem__)
            self._transfers.discard(slowest)
            slowest.evict()

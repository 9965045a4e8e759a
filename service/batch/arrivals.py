"""Watches folders for pictures: a picture is taken when it has stood still for a while.

The command asks it again and again with ``--watch``. Whoever copies a file into a folder writes it in pieces, so a file
counts only once its size and its time of change are the same for ``SETTLE_SECONDS``. Each state of a file is given out
once: a file that failed is tried again when it has changed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from service.batch.ledger import Stamp
from service.batch.plan import Job
from service.batch.problem import Problem

SETTLE_SECONDS = 2.0


class Arrivals:
    """What has been seen in the watched folders, and what of it was given out.

    Args:
        settle_seconds: how long a picture must stand still.
        clock: monotonic seconds.
    """

    def __init__(
        self, *, settle_seconds: float = SETTLE_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settle_seconds = settle_seconds
        self._clock = clock
        self._since: dict[str, tuple[Stamp, float]] = {}
        self._given: dict[str, Stamp] = {}
        self._said: set[Problem] = set()

    def settled(self, jobs: Iterable[Job]) -> list[Job]:
        """Those that are new or changed, and have stood still. Call it with all jobs of one look."""
        now = self._clock()
        seen: dict[str, tuple[Stamp, float]] = {}
        given: dict[str, Stamp] = {}
        settled = []
        for job in jobs:
            source = job.source
            before, since = self._since.get(source.key, (None, now))
            seen[source.key] = source.stamp, since if before == source.stamp else now
            if self._given.get(source.key) == source.stamp:
                given[source.key] = source.stamp
            elif now - seen[source.key][1] >= self._settle_seconds:
                given[source.key] = source.stamp
                settled.append(job)
        self._since, self._given = seen, given  # what has gone is forgotten
        return settled

    def new(self, problems: Iterable[Problem]) -> list[Problem]:
        """Those that have not been reported since they were last away. Call it with all problems of one look."""
        found = dict.fromkeys(problems)
        fresh = [problem for problem in found if problem not in self._said]
        self._said = set(found)
        return fresh

"""The time in which this process could run: a monotonic clock that stands still while the process is suspended.

Platforms that scale to zero freeze processes between requests (SIGSTOP, a cgroup's freezer, ``docker pause``), and no
clock of the system says so afterwards. A suspension must not count as the time of a job that was running or of a client
that was sending. So whatever limits the time of work reads ``running_seconds``, and the server's event loop is a
``RunningTimeLoop``, whose timers count it. What is about the world outside reads ``time.monotonic``: how old evidence
is, and when the platform will kill a process that drains.

A thread looks every ``PERIOD_SECONDS``. If it comes late, it asks the kernel what it did in the meantime. Time in which
it waited for a CPU (a busy machine) or for Python's global interpreter lock (another thread holds it) is not a
suspension. What no such thing explains is. At least ``LATE_SECONDS`` of any gap count as running time, so no mistake
here can hide for good that a thread hangs.

One thing is not told apart from a suspension: that the kernel made the thread wait for memory, because it was swapped
out or its control group is over ``memory.high``. The kernel tells this of a group, and not of a thread.
"""

from __future__ import annotations

import asyncio
import math
import os
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

PERIOD_SECONDS = 0.1
"""From one look to the next."""

LATE_SECONDS = 0.5
"""A look that comes no later than this after the one before shows nothing."""

SCHEDSTAT = "/proc/thread-self/schedstat"
"""What the scheduler knows of the thread that opens it: nanoseconds on a CPU, and of waiting for one."""


class RunningTime:
    """Tells the running time, as far as one thread's looks show it. Before the first look every second counts.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # At the last look: the moment, what was explained so far, what was suspended so far. Replaced as a whole,
        # because other threads read it. From an infinite moment on, nobody looks.
        self._last = (math.inf, 0.0, 0.0)

    def __call__(self) -> float:
        """Seconds that never go back, and stand still while the process is suspended."""
        moment, _, suspended = self._last
        # After a thaw any thread may be faster than the one that looks. So a gap counts once that one has judged it.
        return min(self._clock(), moment + LATE_SECONDS) - suspended

    @property
    def suspended(self) -> float:
        """Seconds for which the process has been suspended."""
        return self._last[2]

    def look(self, explained: float) -> None:
        """Judge the time since the last look.

        Args:
            explained: seconds for which the looking thread ran, or waited for a CPU or the interpreter lock, so far.
        """
        now = self._clock()
        moment, explained_before, suspended = self._last
        gap = now - moment - LATE_SECONDS - (explained - explained_before)
        self._last = now, explained, suspended + max(0.0, gap)

    def look_until(self, stop: threading.Event) -> None:
        """Look once a period. Returns where the system cannot tell what a thread did: then every second counts."""
        with suppress(OSError, AttributeError):
            explained = explained_seconds()
            try:
                while not stop.is_set():
                    self.look(explained())
                    stop.wait(PERIOD_SECONDS)
            finally:
                self._last = math.inf, 0.0, self.suspended


def explained_seconds() -> Callable[[], float]:
    """A function that tells for how long the calling thread ran, or waited for a CPU or the interpreter lock, so far.

    A thread that waits for the interpreter lock wakes up once every switch interval, which is a voluntary switch. Twice
    the interval counts for each, because a wake-up is never early and often late.

    Raises:
        AttributeError: the system does not count these things for each thread.
    """
    thread = resource.RUSAGE_THREAD
    try:
        schedstat = os.open(SCHEDSTAT, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # in some sandboxes: there, a machine too busy to run this thread looks like a suspension
        schedstat = None

    def explained() -> float:
        usage = resource.getrusage(thread)
        for_lock = 2 * sys.getswitchinterval() * usage.ru_nvcsw
        ran = usage.ru_utime + usage.ru_stime
        if schedstat is None:
            return for_lock + ran
        # Kernels that do not count these things say 0.
        return for_lock + max(ran, sum(map(int, os.pread(schedstat, 128, 0).split()[:2])) / 1e9)

    return explained


running_seconds = RunningTime()
"""The running time of this process. Outside of ``noticing_suspensions`` it is as fast as ``time.monotonic``."""


@contextmanager
def noticing_suspensions() -> Iterator[None]:
    """A thread looks until the end of the context."""
    stop = threading.Event()
    thread = threading.Thread(
        target=running_seconds.look_until, args=(stop,), name="running time", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=1)


async def report_suspensions(
    report: Callable[[float], None], *, running_time: RunningTime = running_seconds
) -> None:
    """Call ``report`` with the seconds of each suspension soon after its end; never return."""
    reported = running_time.suspended
    while True:
        await asyncio.sleep(PERIOD_SECONDS)
        suspended = running_time.suspended
        if suspended > reported:
            report(suspended - reported)
            reported = suspended


class RunningTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose timers, and so all timeouts in it, count running time."""

    def time(self) -> float:
        """See ``asyncio.AbstractEventLoop.time``."""
        return running_seconds()

"""When a refused client should come back: what ``Retry-After`` says.

``admission`` asks for each refusal. The refused stand in a line that exists only here: each comes back one picture's
time after the one before it, so they come as fast as they can be served and no faster. This is a hint, not a promise:
whoever comes finds a place free, or is sent to the end of the line.

With API keys, each key has a line of its own, and the lines are served in turn. So the crowd of one key does not send
the clients of another key behind itself. A line also says that its key waits, which is what ``admission`` needs to keep
one key from taking all places.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Hashable

LONGEST_SECONDS = 60.0
"""No hint is longer. A client that hammers books slots too, and nobody should stay away for long because of it."""

ASSUMED_SECONDS = 0.1
"""A picture's time before the first one was measured: the service may still be loading."""

GRACE_SECONDS = 2.0
"""A key counts as waiting so much longer than its hints say: they are rounded up, and the request has to travel."""


class ReturnTimes:
    """Hands out the times at which refused clients should come back.

    Args:
        places: requests that the service holds.
        clock: monotonic seconds.
        uniform: a random number between 0 and 1, for the spread.
    """

    def __init__(
        self,
        *,
        places: int,
        clock: Callable[[], float] = time.monotonic,
        uniform: Callable[[], float] = random.random,
    ) -> None:
        self._places = places
        self._clock = clock
        self._uniform = uniform
        self._lines: dict[Hashable, float] = {}
        """Key -> seconds of work of its clients that have been sent away and are not due yet."""
        self._served_until = clock()
        """Time up to which the lines have moved on."""
        self._waiting_until: dict[Hashable, float] = {}

    def book(self, key: Hashable, *, seconds: float, not_before: float | None = None) -> float:
        """Seconds after which a client that is refused now should come back.

        Args:
            key: whose line it joins.
            seconds: a picture's recent time, by which the line moves on; 0 if none was measured.
            not_before: seconds during which even the first in line would be refused; a picture's time if not given,
                because a place is free after that.
        """
        now = self._clock()
        self._move_on(now)
        seconds = seconds or ASSUMED_SECONDS
        # Retry-After has whole seconds, so those of one second may come all at once: at most two queues of them.
        step = max(seconds, 1 / (2 * self._places))
        ahead = self._lines.get(key, 0.0)
        own = self._lines[key] = min(LONGEST_SECONDS, ahead + step)
        ahead += sum(min(own, line) for other, line in self._lines.items() if other != key)
        wait = (seconds if not_before is None else not_before) + ahead
        if wait >= LONGEST_SECONDS:
            # There is no telling these apart any more, so they come back spread over the second half of the time.
            hint = LONGEST_SECONDS * (1 + self._uniform()) / 2
        else:
            # The queue is full: up to half of it may run empty before the device would wait for the late ones.
            hint = min(LONGEST_SECONDS, wait + self._uniform() * self._places * seconds / 2)
        hint = max(1.0, hint)
        self._waiting_until[key] = max(self._waiting_until.get(key, now), now + hint + GRACE_SECONDS)
        return hint

    def served(self, key: Hashable) -> None:
        """A request with this key got a place, so the key waits no longer; its next refusal says so if others do.

        How many were refused says little, because a client that hammers is refused often. Its line stays: time alone
        moves it on, as fast as pictures are served.
        """
        self._waiting_until.pop(key, None)

    def another_waits(self, key: Hashable) -> bool:
        """Whether a request with another key was refused and should come back."""
        now = self._clock()
        return any(until > now for other, until in self._waiting_until.items() if other != key)

    def _move_on(self, now: float) -> None:
        """Let the time since the last call be shared evenly by the lines, and forget what is past."""
        left = now - self._served_until
        while left > 0 and self._lines:
            share = min(left / len(self._lines), *self._lines.values())
            left -= share * len(self._lines)
            self._lines = {key: line - share for key, line in self._lines.items() if line > share}
        self._served_until = now
        self._waiting_until = {key: until for key, until in self._waiting_until.items() if until > now}

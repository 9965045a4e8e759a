"""What is known about pictures of real sizes, as an immutable object.

``Evidence`` holds one for each load. A pass with the small canary proves little about a photograph, so there are proofs
at a real size, with a schedule of their own. Times are monotonic seconds. Keep this module pure: every transition
returns a new object, and nothing here runs or waits.

* The *real size* is the model input of a 12-megapixel photograph. It is proved again and again. If it fails, clients'
  pictures fail.
* When a request fails in the engine, a proof at its model input is *owed* at once: it tells whether the device or the
  picture is at fault. A size that was proved within its duty period is not owed again before that period ends, nor is
  another one while ``MOST_AT_ONCE`` are owed or have ended within theirs, so that no client can keep the device busy.
* Any other size whose proof fails is *refused*, and tried again with backoff. Memory grows with both sides, so sizes
  that cover it are refused too, unless one of them has passed: then it fails for a reason of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from supervisor.cadence import DUTY, MAX_STRETCH, Cadence
from supervisor.failure import Failure
from supervisor.protocol import Size

MOST_KEPT = 16
"""Sizes that are kept as suspected, and as refused."""

NO_SIZE = Size(0, 0)

MOST_AT_ONCE = 3
"""Owed proofs that may follow each other within the duty period of the first."""

CALM_SHARE = 12
"""The first proof that does not gate comes this part of an interval after the gate has opened. A client that waited for
``ready`` and sends its first picture then does not have to wait behind it."""


@dataclass(frozen=True, slots=True)
class Passed:
    """A size that has passed, and until when it is not owed again."""

    size: Size
    until: float
    owed: bool = False
    """Whether a failed request was the reason."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A size whose last proof failed."""

    size: Size
    failure: Failure
    failures: int
    """How many proofs in a row have failed."""
    next_at: float
    """When it is tried again."""


@dataclass(frozen=True, slots=True)
class SizeEvidence:
    """Which sizes have passed, which are owed, and which have failed."""

    cadence: Cadence
    real: Size = NO_SIZE
    gates: bool = False
    """Whether requests wait for the first proof at the real size."""
    next_at: float = math.inf
    """When the next proof at the real size is due."""
    real_passed: bool = False
    real_failed: Failed | None = None
    passed: tuple[Passed, ...] = ()
    owed: tuple[Size, ...] = ()
    suspected: tuple[Passed, ...] = ()
    """Sizes at which a request failed while no further proof was owed, and when they are owed."""
    refused: tuple[Failed, ...] = ()
    proved: tuple[Size, ...] = ()
    """Sizes that have passed since the load and not failed after that; none covers another one."""

    @classmethod
    def after_load(cls, cadence: Cadence, *, real: Size, gates: bool) -> SizeEvidence:
        """Nothing is known yet."""
        return cls(cadence, real=real, gates=gates, next_at=-math.inf if gates else math.inf)

    # -- transitions -----------------------------------------------------------------------------------------

    def after_opening(self, now: float) -> SizeEvidence:
        """Requests are served from now on."""
        return self if self.real_passed else replace(self, next_at=now + self.cadence.interval / CALM_SHARE)

    def after_client_failure(self, size: Size, now: float) -> SizeEvidence:
        """A request with this model input has failed by the device."""
        if self.refuses(size) or any(owed.covers(size) for owed in self.owed):
            return self
        until = self._not_owed_before(size, now)
        if until <= now:
            return self._owing(size)
        if any(it.size.covers(size) for it in self.suspected):
            return self
        kept = tuple(it for it in self.suspected if not size.covers(it.size))
        return replace(self, suspected=(*kept[1 - MOST_KEPT :], Passed(size, until)))

    def after_time(self, now: float) -> SizeEvidence:
        """The duty period of a suspected size may have ended."""
        if all(it.until > now for it in self.suspected):
            return self
        due = [it.size for it in self.suspected if it.until <= now]
        evidence = replace(self, suspected=tuple(it for it in self.suspected if it.until > now))
        for size in due:
            evidence = evidence.after_client_failure(size, now)
        return evidence

    def after_pass(self, size: Size, now: float, *, running_seconds: float) -> SizeEvidence:
        """A proof at this size has passed; it counts for every size that it covers, but one that failed by itself."""
        kept = (it for it in self.passed if it.until > now and not size.covers(it.size))
        refused = (
            replace(it, next_at=now) if size.covers(it.size) else it for it in self.refused if it.size != size
        )
        evidence = replace(
            self,
            passed=(*kept, Passed(size, now + DUTY * running_seconds, owed=size in self.owed)),
            owed=tuple(it for it in self.owed if not size.covers(it)),
            suspected=tuple(it for it in self.suspected if not size.covers(it.size)),
            refused=tuple(refused),
            proved=(*(it for it in self.proved if not size.covers(it)), size),
        )
        if not size.covers(self.real):
            return evidence
        wait = max(MAX_STRETCH * self.cadence.interval, DUTY * running_seconds)
        return replace(evidence, real_passed=True, real_failed=None, next_at=now + wait)

    def after_failure(
        self, size: Size, failure: Failure, now: float, jitter: float, *, running_seconds: float
    ) -> SizeEvidence:
        """A proof at this size has failed. If it is not the real one, that is proved again at once."""
        evidence = replace(
            self,
            owed=tuple(it for it in self.owed if not it.covers(size)),
            proved=tuple(it for it in self.proved if it != size),
        )
        if size == self.real:
            failures = 1 + (self.real_failed.failures if self.real_failed is not None else 0)
            # Clients are not served until it passes, so it is tried as often as a failing canary.
            backoff = self.cadence.backoff(failures, jitter, self.cadence.interval)
            return replace(
                evidence, real_failed=Failed(size, failure, failures, now + max(backoff, running_seconds))
            )
        before = next((it for it in self.refused if it.size == size), None)
        failures = 1 + (before.failures if before is not None else 0)
        backoff = self.cadence.backoff(failures, jitter, MAX_STRETCH * self.cadence.interval)
        wait = max(backoff, DUTY * running_seconds)
        others = tuple(it for it in self.refused if it.size != size)
        return replace(
            evidence,
            refused=(*others[1 - MOST_KEPT :], Failed(size, failure, failures, now + wait)),
            next_at=self.next_at if before is not None else now,
        )

    # -- what follows ----------------------------------------------------------------------------------------

    def refuses(self, size: Size) -> bool:
        """Whether pictures with this model input are refused."""
        return refuses(tuple(it.size for it in self.refused), self.proved, size)

    def due(self, now: float) -> Size | None:
        """The size that is to be proved next; None if none is due. Owed sizes come first."""
        if self.owed:
            return self.owed[0]
        if self._real_at <= now:
            return self.real
        return next((it.size for it in self.refused if it.next_at <= now), None)

    @property
    def due_at(self) -> float:
        """When a proof is due next, if nothing happens before."""
        if self.owed:
            return -math.inf
        return min(
            [self._real_at, *(it.until for it in self.suspected), *(it.next_at for it in self.refused)]
        )

    @property
    def _real_at(self) -> float:
        """When the real size is proved next."""
        return self.next_at if self.real_failed is None else self.real_failed.next_at

    def _not_owed_before(self, size: Size, now: float) -> float:
        """Until when no proof at this size is owed, because of those that have ended a short while ago."""
        ends = [it.until for it in self.passed if it.size.covers(size)]
        recent = sorted(it.until for it in self.passed if it.owed and it.until > now)
        free = MOST_AT_ONCE - len(self.owed)
        if free <= 0:
            ends.append(now + self.cadence.interval)
        elif len(recent) >= free:
            ends.append(recent[-free])
        return max(ends, default=-math.inf)

    def _owing(self, size: Size) -> SizeEvidence:
        return replace(self, owed=(*(it for it in self.owed if not size.covers(it)), size))


def refuses(refused: Iterable[Size], proved: Iterable[Size], size: Size) -> bool:
    """Whether a model input of this size is refused.

    Args:
        refused: sizes that have failed.
        proved: sizes that have passed.
        size: of the model input in question.
    """
    sizes = tuple(proved)
    return any(size == it or (size.covers(it) and not any(p.covers(it) for p in sizes)) for it in refused)

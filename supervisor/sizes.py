"""What is known about pictures of real sizes, as an immutable object.

``Evidence`` holds one for each load. A pass with the small canary proves little about a photograph, so there are proofs
at a real size, with a schedule of their own. Times are monotonic seconds. Keep this module pure: every transition
returns a new object, and nothing here runs or waits.

* The *real size* is the model input of a 12-megapixel photograph. It is proved again and again. If it fails, clients'
  pictures fail.
* When a request fails by the device, a proof at its model input is *owed* at once: it tells whether the device or the
  picture is at fault. A size that was proved within its duty period is not owed again before that period ends, so that
  no client can keep the device busy with proofs.
* A size whose proof fails although it is not covered by the real size is *refused*, and tried again with backoff.
  Memory grows with both sides, so refusing a size refuses every size that covers it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from supervisor.cadence import DUTY, MAX_STRETCH, Cadence
from supervisor.failure import Failure
from supervisor.protocol import Size

MOST_OWED = 16
"""Proofs that may be owed at the same time. While one is owed, ``/warmup`` says so, whatever else fails meanwhile."""

NO_SIZE = Size(0, 0)

CALM_SHARE = 12
"""The first proof that does not gate comes this part of an interval after the gate has opened. A client that waited for
``ready`` and sends its first picture then does not have to wait behind it."""


@dataclass(frozen=True, slots=True)
class Passed:
    """A size that has passed, and until when it is not owed again."""

    size: Size
    until: float


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
    """Sizes at which a request failed within the duty period of a proof, owed when that ends."""
    refused: tuple[Failed, ...] = ()

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
        until = max((it.until for it in self.passed if it.size.covers(size)), default=-math.inf)
        if until > now:
            if any(it.size.covers(size) for it in self.suspected):
                return self
            kept = tuple(it for it in self.suspected if not size.covers(it.size))
            return replace(self, suspected=(*kept[1 - MOST_OWED :], Passed(size, until)))
        return self._owing(size)

    def after_time(self, now: float) -> SizeEvidence:
        """The duty period of a suspected size may have ended."""
        due = [it for it in self.suspected if it.until <= now]
        if not due:
            return self
        evidence = replace(self, suspected=tuple(it for it in self.suspected if it.until > now))
        for it in due:
            evidence = evidence._owing(it.size)
        return evidence

    def after_pass(self, size: Size, now: float, *, running_seconds: float) -> SizeEvidence:
        """A proof at this size has passed; it counts for every size that it covers."""
        kept = (it for it in self.passed if it.until > now and not size.covers(it.size))
        evidence = replace(
            self,
            passed=(*kept, Passed(size, now + DUTY * running_seconds)),
            owed=tuple(it for it in self.owed if not size.covers(it)),
            suspected=tuple(it for it in self.suspected if not size.covers(it.size)),
            refused=tuple(it for it in self.refused if not size.covers(it.size)),
        )
        if not size.covers(self.real):
            return evidence
        wait = max(MAX_STRETCH * self.cadence.interval, DUTY * running_seconds)
        return replace(evidence, real_passed=True, real_failed=None, next_at=now + wait)

    def after_failure(
        self, size: Size, failure: Failure, now: float, jitter: float, *, running_seconds: float
    ) -> SizeEvidence:
        """A proof at this size has failed.

        If the real size covers it, the real size counts as failed until it is proved again, which is due at once. If
        not, the size is refused, and the real size is proved again at once.
        """
        evidence = replace(self, owed=tuple(it for it in self.owed if not it.covers(size)))
        if self.real.covers(size):
            failures = 1 + (self.real_failed.failures if self.real_failed is not None else 0)
            # Clients are not served until it passes, so it is tried as often as a failing canary.
            backoff = self.cadence.backoff(failures, jitter, self.cadence.interval)
            wait = max(backoff, running_seconds) if size == self.real else 0.0
            return replace(evidence, real_failed=Failed(self.real, failure, failures, now + wait))
        before = next((it for it in self.refused if it.size == size), None)
        failures = 1 + (before.failures if before is not None else 0)
        backoff = self.cadence.backoff(failures, jitter, MAX_STRETCH * self.cadence.interval)
        wait = max(backoff, DUTY * running_seconds)
        others = (it for it in self.refused if not it.size.covers(size))
        return replace(
            evidence,
            refused=(*others, Failed(size, failure, failures, now + wait)),
            next_at=self.next_at if before is not None else now,
        )

    # -- what follows ----------------------------------------------------------------------------------------

    def refuses(self, size: Size) -> bool:
        """Whether pictures with this model input are refused."""
        return any(size.covers(it.size) for it in self.refused)

    def due(self, now: float) -> Size | None:
        """The size that is to be proved next; None if none is due. Owed sizes come first."""
        if self.owed:
            return self.owed[0]
        real_at = self.next_at if self.real_failed is None else self.real_failed.next_at
        if real_at <= now:
            return self.real
        return next((it.size for it in self.refused if it.next_at <= now), None)

    @property
    def due_at(self) -> float:
        """When a proof is due next, if nothing happens before."""
        if self.owed:
            return -math.inf
        real_at = self.next_at if self.real_failed is None else self.real_failed.next_at
        return min([real_at, *(it.until for it in self.suspected), *(it.next_at for it in self.refused)])

    def _owing(self, size: Size) -> SizeEvidence:
        if self.refuses(size) or len(self.owed) >= MOST_OWED or any(it.covers(size) for it in self.owed):
            return self
        return replace(self, owed=(*(it for it in self.owed if not size.covers(it)), size))

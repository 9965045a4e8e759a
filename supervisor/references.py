"""What is known about the operator's reference pictures, as an immutable object.

``Evidence`` holds one for each load. References are judged one at a time: first those that the gate waits for, then all
in rotation. One that fails is judged again next, with backoff, until it passes, so that one bad reference among fifty
does not make the state flap. Times are monotonic seconds. Keep this module pure: no clock, no tasks, no I/O.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from supervisor.cadence import DUTY, Cadence
from supervisor.failure import Failure
from supervisor.protocol import MaskError


@dataclass(frozen=True, slots=True)
class Verdict:
    """The last judgement of one reference."""

    passed: bool
    measured: MaskError | None
    """None if the mask could not be compared, for example because the device failed."""


@dataclass(frozen=True, slots=True)
class ReferenceEvidence:
    """Which references have passed, which have failed, and which one is judged next."""

    cadence: Cadence
    names: tuple[str, ...] = ()
    gate: tuple[str, ...] = ()
    """The references that requests wait for."""
    verdicts: Mapping[str, Verdict] = field(default_factory=dict)
    failed: str | None = None
    """The reference that failed and is judged again next."""
    failure: Failure | None = None
    failures: int = 0
    """How many judgements in a row have failed."""
    next_at: float = -math.inf
    """When the next judgement is due."""
    turn: int = 0
    """Position of the next one in the rotation."""

    # -- transitions -----------------------------------------------------------------------------------------

    def after_pass(
        self, name: str, measured: MaskError | None, now: float, *, running_seconds: float
    ) -> ReferenceEvidence:
        """The mask of this reference is close enough to the accepted one."""
        return replace(
            self,
            verdicts={**self.verdicts, name: Verdict(passed=True, measured=measured)},
            failed=None,
            failure=None,
            failures=0,
            next_at=now + max(self.cadence.interval, DUTY * running_seconds),
            turn=(self.names.index(name) + 1) % len(self.names),
        )

    def after_failure(
        self,
        name: str,
        failure: Failure,
        now: float,
        jitter: float,
        *,
        running_seconds: float,
    ) -> ReferenceEvidence:
        """The mask of this reference differs too much, or could not be made."""
        failures = self.failures + 1
        wait = max(self.cadence.backoff(failures, jitter, self.cadence.interval), running_seconds)
        return replace(
            self,
            verdicts={**self.verdicts, name: Verdict(passed=False, measured=failure.mask_error)},
            failed=name,
            failure=failure,
            failures=failures,
            next_at=now + wait,
        )

    # -- what follows ----------------------------------------------------------------------------------------

    @property
    def gate_pending(self) -> str | None:
        """The first reference of the gate that has not passed; None if all have."""
        return next((it for it in self.gate if it not in self.verdicts or not self.verdicts[it].passed), None)

    def due(self, now: float, *, gating: bool) -> str | None:
        """The reference to judge next; None if none is due. The gate's references wait only for a backoff."""
        if not self.names:
            return None
        if self.failed is not None:
            return self.failed if self.next_at <= now else None
        if gating:
            return self.gate_pending
        if self.next_at > now:
            return None
        pending = (it for it in self._rotation if it not in self.verdicts)
        return next(pending, self._rotation[0])

    def due_at(self, *, gating: bool) -> float:
        """When the next judgement is due."""
        if not self.names:
            return math.inf
        return -math.inf if gating and self.failed is None else self.next_at

    def count(self, *, passed: bool) -> int:
        """How many references have passed, or have failed, in their last judgement."""
        return sum(1 for verdict in self.verdicts.values() if verdict.passed is passed)

    @property
    def worst(self) -> tuple[str, MaskError] | None:
        """The reference whose mask differs most, one that failed before all others; None before any was compared."""
        compared = [(it.passed, name, it.measured) for name, it in self.verdicts.items() if it.measured]
        if not compared:
            return None
        _, name, measured = max(compared, key=lambda it: (not it[0], it[2].error))
        return name, measured

    @property
    def _rotation(self) -> tuple[str, ...]:
        return (*self.names[self.turn :], *self.names[: self.turn])

"""Which reference is judged next, and how all of them stand; an immutable object, as the plan of proofs.

The target holds one for each load and replaces it after each judgement and after a change of precision. It must stay
pure: nothing here reads a file, runs a probe or knows the engine.

References are judged in the order of the manifest, over and over. One that disagreed is judged again next, until it
agrees: so one bad reference among fifty cannot make the state flap. A probe that failed in another way (no memory, a
hang) has judged nothing: the rotation stays as it is, and the same reference is next.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Literal

Gate = Literal["none", "first", "all"]
"""What the first ``ready`` after a load waits for: no reference, the first of the manifest, or all of them."""


class Standing(StrEnum):
    """How a reference stands. These are the values of the ``state`` label of ``warmup_references``."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    PENDING = "pending"
    """Not judged since the load, or since the precision changed."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The last judgement of one reference."""

    agrees: bool
    error: float
    """The mean absolute alpha error, 0-1."""


@dataclass(frozen=True, slots=True)
class Rotation:
    """The references in the order of their turns, and the last verdict on each."""

    names: tuple[str, ...]
    """In the order of the manifest."""
    gate: tuple[str, ...]
    """The names that the gate waits for: the first ones."""
    queue: tuple[str, ...]
    """The names in the order of their turns; the first is judged next."""
    verdicts: Mapping[str, Verdict] = field(default_factory=dict)

    @classmethod
    def of(cls, names: Iterable[str], gate: Gate) -> Rotation:
        """All references pending, in the order of the manifest."""
        order = tuple(names)
        gated = {"none": (), "first": order[:1], "all": order}[gate]
        return cls(names=order, gate=gated, queue=order)

    # -- what comes next -----------------------------------------------------------------------------------------

    @property
    def next(self) -> str | None:
        """The name of the reference that is judged next; None if there are none."""
        return self.queue[0] if self.queue else None

    @property
    def gate_waits(self) -> bool:
        """Whether a reference that the gate asks for has not passed yet."""
        return any(self.standing(name) is not Standing.PASS for name in self.gate)

    # -- what has happened ---------------------------------------------------------------------------------------

    def after_agreement(self, name: str, error: float) -> Rotation:
        """The reference agrees; it goes to the end of the queue."""
        queue = (*(other for other in self.queue if other != name), name)
        return replace(self, queue=queue, verdicts={**self.verdicts, name: Verdict(agrees=True, error=error)})

    def after_disagreement(self, name: str, error: float) -> Rotation:
        """The reference disagrees; it is judged again next."""
        queue = (name, *(other for other in self.queue if other != name))
        return replace(
            self, queue=queue, verdicts={**self.verdicts, name: Verdict(agrees=False, error=error)}
        )

    def from_the_start(self) -> Rotation:
        """What serves has changed (a load, another precision): every verdict is void, and the gate's come first."""
        return replace(self, queue=self.names, verdicts={})

    # -- how they stand ------------------------------------------------------------------------------------------

    def standing(self, name: str) -> Standing:
        """How one reference stands."""
        verdict = self.verdicts.get(name)
        if verdict is None:
            return Standing.PENDING
        return Standing.PASS if verdict.agrees else Standing.FAIL

    def count(self, standing: Standing) -> int:
        """How many references stand so."""
        return sum(1 for name in self.names if self.standing(name) is standing)

    @property
    def worst(self) -> tuple[str, float] | None:
        """The name and the error of the reference with the largest error of the last round; None if none is judged."""
        if not self.verdicts:
            return None
        name = max(self.verdicts, key=lambda one: self.verdicts[one].error)
        return name, self.verdicts[name].error

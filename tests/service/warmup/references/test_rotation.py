"""The rotation: what is judged next, what the gate waits for, and how the references stand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from service.warmup.references.rotation import Gate, Rotation, Standing

NAMES = ("a.jpg", "b.jpg", "c.jpg")


def counts(rotation: Rotation) -> dict[str, int]:
    return {standing.value: rotation.count(standing) for standing in Standing}


def judged(rotation: Rotation, *passed: bool) -> Rotation:
    """The rotation after judging whatever was next, once for each value."""
    for value in passed:
        name = rotation.next
        assert name is not None
        rotation = rotation.after_agreement(name, 0.001) if value else rotation.after_disagreement(name, 0.5)
    return rotation


@pytest.mark.parametrize(("gate", "waits"), [("none", 0), ("first", 1), ("all", 3)])
def test_the_gate_waits_for_as_many_references_as_it_was_told(gate: Gate, waits: int) -> None:
    rotation = Rotation.of(NAMES, gate)
    for number in range(4):
        assert rotation.gate_waits == (number < waits)
        rotation = judged(rotation, True)


def test_references_are_judged_in_the_order_of_the_manifest_over_and_over() -> None:
    rotation, seen = Rotation.of(NAMES, "none"), []
    for _ in range(7):
        seen.append(rotation.next)
        rotation = judged(rotation, True)
    assert seen == [*NAMES, *NAMES, "a.jpg"]


def test_a_reference_that_disagreed_is_judged_again_next_until_it_agrees() -> None:
    rotation = judged(Rotation.of(NAMES, "first"), True, False, False)
    assert rotation.next == "b.jpg"
    assert counts(rotation) == {"pass": 1, "fail": 1, "pending": 1}
    rotation = judged(rotation, True)
    assert rotation.next == "c.jpg"
    assert counts(rotation) == {"pass": 2, "fail": 0, "pending": 1}


def test_a_change_of_what_serves_makes_all_pending_and_puts_the_gates_references_first() -> None:
    rotation = judged(Rotation.of(NAMES, "first"), True, True).from_the_start()
    assert (rotation.next, rotation.gate_waits) == ("a.jpg", True)
    assert counts(rotation) == {"pass": 0, "fail": 0, "pending": 3}
    assert rotation.worst is None


def test_the_worst_is_the_largest_error_of_the_last_judgements() -> None:
    rotation = Rotation.of(NAMES, "none").after_agreement("a.jpg", 0.5).after_agreement("b.jpg", 0.2)
    assert rotation.worst == ("a.jpg", 0.5)
    assert rotation.after_agreement("a.jpg", 0.1).worst == ("b.jpg", 0.2)
    assert rotation.after_disagreement("b.jpg", 0.6).worst == ("b.jpg", 0.6)


def test_without_references_nothing_is_next_and_no_gate_waits() -> None:
    rotation = Rotation.of((), "all")
    assert (rotation.next, rotation.gate_waits, rotation.worst) == (None, False, None)
    assert sum(counts(rotation).values()) == 0


@given(st.integers(1, 60), st.sampled_from(["none", "first", "all"]))
def test_with_nothing_failing_every_reference_is_judged_once_a_round(number: int, gate: Gate) -> None:
    names = tuple(f"{index}.jpg" for index in range(number))
    assert counts(judged(Rotation.of(names, gate), *[True] * number)) == {
        "pass": number,
        "fail": 0,
        "pending": 0,
    }


class RotationMachine(RuleBasedStateMachine):
    """Any sequence of judgements and loads."""

    def __init__(self) -> None:
        super().__init__()
        self.rotation = Rotation.of(NAMES, "first")
        self.failing: str | None = None

    @rule()
    def agrees(self) -> None:
        name = self.rotation.next
        assert name is not None
        self.rotation, self.failing = self.rotation.after_agreement(name, 0.0), None

    @rule()
    def disagrees(self) -> None:
        self.failing = self.rotation.next
        assert self.failing is not None
        self.rotation = self.rotation.after_disagreement(self.failing, 0.4)

    @rule()
    def loads(self) -> None:
        self.rotation, self.failing = self.rotation.from_the_start(), None

    @invariant()
    def every_reference_stands_somewhere(self) -> None:
        assert sum(counts(self.rotation).values()) == len(NAMES)
        assert sorted(self.rotation.queue) == sorted(NAMES)

    @invariant()
    def at_most_one_disagrees_and_it_is_next(self) -> None:
        assert self.rotation.count(Standing.FAIL) == (self.failing is not None)
        assert self.failing in (None, self.rotation.next)


TestRotationMachine = RotationMachine.TestCase

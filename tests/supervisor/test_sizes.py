"""Real sizes count: what follows from proofs at real sizes, and from requests that the device failed."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor import AtSize, Canary, Failure, Outcome, ProbeReport, Reason, Size, State, Vitals
from supervisor.sizes import CALM_SHARE, MOST_AT_ONCE, SizeEvidence
from supervisor.state import Evidence
from tests.supervisor.evidence_machine import CADENCE, CANARY_SIZE, LARGE, REAL, REPORT

OOM = Failure(Outcome.OOM, "the device has no room", "OutOfMemory")
SMALL = Size(640, 480)
PANORAMA = Size(8192, 256)
"""Neither covers the real size nor is covered by it."""

FRESH = SizeEvidence.after_load(CADENCE, real=REAL, gates=False)


def passed(sizes: SizeEvidence, size: Size, at: float = 0.0, running: float = 6.0) -> SizeEvidence:
    return sizes.after_pass(size, at, running_seconds=running)


def failed(sizes: SizeEvidence, size: Size, at: float = 0.0, running: float = 6.0) -> SizeEvidence:
    return sizes.after_failure(size, OOM, at, 0.0, running_seconds=running)


PROVED = passed(FRESH, REAL)


def test_on_a_device_that_does_not_gate_the_first_proof_follows_the_opening_of_the_gate() -> None:
    assert FRESH.due(1e9) is None
    opened = FRESH.after_opening(100.0)
    assert opened.due(100.0) is None
    assert opened.due_at == 100.0 + CADENCE.interval / CALM_SHARE
    assert opened.due(opened.due_at) == REAL


def test_on_a_device_that_gates_the_first_proof_is_due_at_once() -> None:
    assert SizeEvidence.after_load(CADENCE, real=REAL, gates=True).due(0.0) == REAL


@pytest.mark.parametrize(("running", "wait"), [(0.01, 300), (6.0, 300), (20.0, 400), (60.0, 1200)])
def test_the_real_size_is_proved_again_and_again_within_the_duty_rule(running: float, wait: float) -> None:
    sizes = passed(FRESH, REAL, 10.0, running)
    assert sizes.due_at == 10.0 + wait
    assert sizes.due(10.0 + wait) == REAL


@pytest.mark.parametrize("size", [CANARY_SIZE, SMALL, REAL, LARGE, PANORAMA])
def test_a_failed_request_makes_a_proof_at_its_size_owed_at_once(size: Size) -> None:
    sizes = FRESH.after_client_failure(size, 5.0)
    assert sizes.owed == (size,)
    assert sizes.due(5.0) == size
    assert passed(sizes, size, 6.0).owed == ()


def test_a_size_that_was_proved_within_the_duty_period_is_owed_when_that_ends() -> None:
    sizes = passed(PROVED, REAL, 0.0, running=6.0)  # for 120 s
    for _ in range(100):
        sizes = sizes.after_client_failure(REAL, 1.0).after_client_failure(SMALL, 2.0)
    assert sizes.owed == ()
    assert sizes.due(119.9) is None
    assert sizes.due_at == 120.0
    assert sizes.after_time(119.9).owed == ()
    assert sizes.after_time(120.0).owed == (REAL,), "which covers the small one"
    assert sizes.after_client_failure(LARGE, 3.0).owed == (LARGE,), "a larger one was not proved"


def test_a_client_that_fails_at_many_sizes_makes_no_more_than_so_many_owed() -> None:
    sizes = FRESH
    for width in range(1, 101):
        sizes = sizes.after_client_failure(Size(32 * width, 32 * (101 - width)), 0.0)
    assert len(sizes.owed) == MOST_AT_ONCE


def test_a_failed_proof_at_the_real_size_is_a_failing_device_until_it_passes() -> None:
    sizes = failed(PROVED.after_client_failure(REAL, 200.0), REAL, 200.0)
    assert sizes.real_failed is not None
    assert sizes.refused == ()
    assert sizes.real_failed.next_at == 206.0
    assert sizes.due(206.0) == REAL
    assert passed(sizes, REAL, 210.0).real_failed is None


@pytest.mark.parametrize("size", [SMALL, CANARY_SIZE])
def test_a_size_that_fails_although_a_larger_one_passes_is_refused_alone(size: Size) -> None:
    sizes = failed(PROVED.after_client_failure(size, 200.0), size, 200.0)
    assert (sizes.real_failed, sizes.due(200.0)) == (None, REAL)
    sizes = passed(sizes, REAL, 210.0)
    assert [it for it in (size, REAL, Size(700, 700), LARGE) if sizes.refuses(it)] == [size]
    assert sizes.due(210.0) == size, "it may have been a fault that is over"
    assert passed(sizes, size, 211.0).refused == ()
    still = failed(sizes, size, 211.0)
    assert still.due(211.0) is None
    assert still.after_client_failure(size, 212.0).owed == (), "its clients are refused"


def test_a_size_that_has_passed_is_not_refused_because_a_thinner_one_fails() -> None:
    strip = Size(32, 2048)
    sizes = failed(passed(PROVED, LARGE, 1.0), strip, 2.0)
    assert [it for it in (strip, LARGE, Size(64, 2048), Size(64, 4096)) if sizes.refuses(it)] == [strip]


def test_one_sender_cannot_keep_the_device_proving_by_sizes_that_do_not_cover_each_other() -> None:
    strips = [Size(32 * step, 4096 - 32 * step) for step in range(1, 60)]
    sizes, now, proving = passed(FRESH, REAL, 0.0, running=1.0), 0.0, 0.0
    while now < 600.0:
        for strip in strips:
            sizes = sizes.after_client_failure(strip, now)
        sizes = sizes.after_time(now)
        if (due := sizes.due(now)) is None:
            now += 1.0
            continue
        now, proving = now + 1.0, proving + 1.0
        sizes = passed(sizes, due, now, running=1.0)
    assert 0.05 < proving / now < 0.2


def test_a_failed_proof_of_a_larger_size_refuses_it_and_all_that_cover_it_and_proves_the_real_size() -> None:
    sizes = failed(PROVED.after_client_failure(LARGE, 10.0), LARGE, 20.0)
    assert (sizes.owed, sizes.real_failed) == ((), None)
    assert sizes.due(20.0) == REAL
    sizes = passed(sizes, REAL, 30.0)
    assert [it for it in (SMALL, REAL, LARGE, Size(2048, 4096), PANORAMA) if sizes.refuses(it)] == [
        LARGE,
        Size(2048, 4096),
    ]
    assert sizes.after_client_failure(LARGE, 31.0) == sizes, "it was admitted before"
    assert sizes.due(139.9) is None
    assert sizes.due(140.0) == LARGE, "within the duty rule"
    again = failed(sizes, LARGE, 140.0)
    assert again.due(140.0) is None, "the real size is not proved once more for it"
    assert not passed(again, LARGE, 300.0).refused


def test_a_failed_larger_size_and_a_failed_real_size_are_a_failing_device() -> None:
    sizes = failed(failed(PROVED.after_client_failure(LARGE, 10.0), LARGE, 20.0), REAL, 30.0)
    assert sizes.real_failed is not None


def test_the_smallest_refused_size_counts() -> None:
    middle = Size(1792, 1792)
    sizes = failed(failed(PROVED, LARGE), middle)
    assert [it for it in (middle, Size(1900, 1900), LARGE, REAL) if sizes.refuses(it)] == [
        middle,
        Size(1900, 1900),
        LARGE,
    ]


@given(failures=st.integers(1, 30), running=st.floats(0, 60))
def test_a_failing_size_is_tried_again_with_backoff_and_never_more_than_half_of_the_time(
    failures: int, running: float
) -> None:
    real, large = PROVED, PROVED
    for _ in range(failures):
        real, large = failed(real, REAL, 0.0, running), failed(large, LARGE, 0.0, running)
    assert real.real_failed is not None
    assert real.real_failed.next_at == max(min(2.0 ** (failures - 1), 60), running)
    assert large.refused[0].next_at == max(min(2.0 ** (failures - 1), 300), 20 * running)


# -- every sequence of outcomes up to length six ---------------------------------------------------------------------


@dataclass(frozen=True)
class Device:
    """What is true: which sizes fail, for the canary's picture and for clients' alike."""

    smallest_failing: Size | None = None

    def fails(self, size: Size) -> bool:
        return self.smallest_failing is not None and size.covers(self.smallest_failing)


HEALTHY, NO_ROOM_ABOVE_REAL, NO_REAL, NOTHING = (
    Device(),
    Device(LARGE),
    Device(Size(96, 96)),
    Device(Size(1, 1)),
)
EVENTS = ("canary", "due", "client real", "client large", "bad picture", "break")


@dataclass(frozen=True)
class Node:
    """A service after some events."""

    evidence: Evidence
    device: Device
    now: float = 0.0
    failed_since: tuple[Size, ...] = ()
    """Requests that failed because of the device as it is now, and that no proof has followed."""

    def after(self, event: str, broken: Device) -> Node:
        match event:
            case "canary":
                return self._prove(AtSize(CANARY_SIZE), Canary())
            case "due":
                subject = self.evidence.due(self.now, demanded=False)
                if isinstance(subject, Canary):
                    return self._prove(AtSize(CANARY_SIZE), subject)
                return self._prove(subject, subject) if isinstance(subject, AtSize) else self._wait()
            case "client real":
                return self._request(REAL)
            case "client large":
                return self._request(LARGE)
            case "bad picture":
                return replace(self, evidence=self.evidence.after_client_failure(REAL, self.now))
            case _:
                return replace(self, device=broken, failed_since=())

    def _prove(self, at: AtSize, subject: AtSize | Canary) -> Node:
        now = self.now + 1.0
        if self.device.fails(at.size):
            evidence = self.evidence.after_probe_failure(
                subject, OOM, now, 0.0, seconds=1.0, running_seconds=1.0
            )
        else:
            evidence = self.evidence.after_probe(subject, ProbeReport(1.0), now, seconds=1.0)
        left = (
            tuple(it for it in self.failed_since if not at.size.covers(it))
            if isinstance(subject, AtSize)
            else (self.failed_since)
        )
        return replace(self, evidence=evidence, now=now, failed_since=left)._time()

    def _request(self, size: Size) -> Node:
        if self.evidence.sizes.refuses(size) or not self.device.fails(size):
            return self
        return replace(
            self,
            evidence=self.evidence.after_client_failure(size, self.now),
            failed_since=(*self.failed_since, size),
        )

    def _wait(self) -> Node:
        """Until something is due, at most for the duty period of a proof."""
        at = self.evidence.next_due_at(demanded=False)
        return replace(self, now=max(self.now, min(at, self.now + 20.0)))._time()

    def _time(self) -> Node:
        return replace(self, evidence=self.evidence.after_time(self.now))

    @property
    def state(self) -> State:
        return self.evidence.state(self.now, Vitals())

    @property
    def warm(self) -> bool:
        return self.evidence.reason(self.now, Vitals()) is None


def ready_service() -> Node:
    evidence = Evidence.cold(CADENCE).after_load(0.0, REPORT, load_seconds=1.0)
    evidence = evidence.after_probe(Canary(), ProbeReport(0.1), 0.0, seconds=0.1)
    return Node(evidence.after_opening(0.0), HEALTHY)


def check(node: Node, path: tuple[str, ...]) -> None:
    """The two promises."""
    device, sizes = node.device, node.evidence.sizes
    if device is HEALTHY:
        assert node.state is State.READY, f"a bad picture took a healthy service out: {path}"
    for size in node.failed_since:
        # A request has failed because of the device, and no proof at its size has ended since: either one is owed, or
        # one was made so recently that the next has to wait for the end of its duty period.
        proved = [it for it in sizes.passed if it.size.covers(size) and it.until > node.now]
        if not proved:
            assert not node.warm, f"requests fail, and it says warm: {path}"
        else:
            assert sizes.due_at <= max(it.until for it in proved), f"nothing is due in time: {path}"
    if device in (NO_REAL, NOTHING) and path[-1] == "due" and node.evidence.sizes.real_failed is not None:
        assert node.state is State.FAILING, path


@pytest.mark.parametrize("broken", [NO_ROOM_ABOVE_REAL, NO_REAL, NOTHING], ids=["large", "real", "all"])
def test_no_sequence_of_six_outcomes_says_warm_while_requests_fail_or_lets_a_bad_picture_stop_the_service(
    broken: Device,
) -> None:
    """Sequences that lead to one and the same service are continued once."""
    reached: list[tuple[Node, tuple[str, ...]]] = [(ready_service(), ())]
    for _ in range(6):
        found: dict[str, tuple[Node, tuple[str, ...]]] = {}
        for node, path in reached:
            for event in EVENTS:
                after = node.after(event, broken)
                check(after, (*path, event))
                found.setdefault(repr(after), (after, (*path, event)))
        reached = list(found.values())
    assert len(reached) > 400


@pytest.mark.parametrize(
    ("broken", "state", "warm"),
    [
        (NO_ROOM_ABOVE_REAL, State.DEGRADED, False),
        (NO_REAL, State.FAILING, False),
        (NOTHING, State.FAILING, False),
    ],
)
def test_where_a_broken_device_ends(broken: Device, state: State, *, warm: bool) -> None:
    node = ready_service()
    for event in ("due", "due", "break", "client large", "due", "due", "due", "due"):
        node = node.after(event, broken)
    assert (node.state, node.warm) == (state, warm)


def test_the_reasons_of_the_three_kinds_of_trouble_with_sizes() -> None:
    ready = ready_service().evidence
    owed = ready.after_client_failure(LARGE, 1.0)
    assert (owed.state(1.0, Vitals()), owed.reason(1.0, Vitals())) == (State.READY, Reason.SIZE_UNPROVED)
    refused = replace(owed, sizes=failed(owed.sizes, LARGE, 2.0))
    assert (refused.state(2.0, Vitals()), refused.reason(2.0, Vitals())) == (
        State.DEGRADED,
        Reason.SIZE_REFUSED,
    )
    failing = replace(refused, sizes=failed(refused.sizes, REAL, 3.0))
    assert (failing.state(3.0, Vitals()), failing.reason(3.0, Vitals())) == (
        State.FAILING,
        Reason.SIZE_FAILED,
    )
    assert failing.outcome is Outcome.OOM
    assert failing.due_at(demanded=False) < math.inf, "the canary goes on"


sizes_of_pictures = st.builds(Size, st.integers(1, 100), st.integers(1, 100))


@given(one=sizes_of_pictures, other=sizes_of_pictures, third=sizes_of_pictures)
def test_covering_is_a_partial_order(one: Size, other: Size, third: Size) -> None:
    assert one.covers(one)
    if one.covers(other) and other.covers(one):
        assert one == other
    if one.covers(other) and other.covers(third):
        assert one.covers(third)

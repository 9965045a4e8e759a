"""The plan of proofs, as a table: what the next probe does, and when the gate opens."""

from __future__ import annotations

import pytest

from service.warmup.proof_plan import Proof, ProofPlan

CANARY, CLIENT_SIZE = Proof.CANARY, Proof.CLIENT_SIZE


@pytest.mark.parametrize(
    ("settled", "on_cuda", "proofs", "opens_behind"),
    [
        (True, False, (CANARY,), CANARY),
        (True, True, (CANARY, CLIENT_SIZE), CLIENT_SIZE),
        (False, False, (CANARY,), None),
        (False, True, (CANARY, CLIENT_SIZE), None),
    ],
)
def test_the_first_probe_after_a_load_opens_the_gate_unless_the_precision_is_open(
    *, settled: bool, on_cuda: bool, proofs: tuple[Proof, ...], opens_behind: Proof | None
) -> None:
    plan = ProofPlan.after_load(settled=settled, on_cuda=on_cuda)
    assert plan.gate_closed
    assert not plan.settles_next
    assert plan.proofs == proofs
    assert [proof for proof in Proof if plan.opens_gate(proof)] == ([opens_behind] if opens_behind else [])
    passed = plan.after_pass()
    assert passed.settles_next is not settled
    assert passed.gate_opens_after_probe is settled


@pytest.mark.parametrize(
    ("changed", "on_cuda", "proofs"),
    [
        (False, False, (CANARY,)),
        (True, False, (CANARY,)),
        (False, True, (CANARY,)),
        (True, True, (CANARY, CLIENT_SIZE)),
    ],
)
def test_the_probe_that_settles_the_precision_opens_the_gate(
    *, changed: bool, on_cuda: bool, proofs: tuple[Proof, ...]
) -> None:
    plan = ProofPlan.after_load(settled=False, on_cuda=on_cuda).after_pass()
    assert plan.settles_next
    assert not plan.gate_opens_after_probe, "requests wait for it"
    plan = plan.after_settling(changed=changed, on_cuda=on_cuda)
    assert plan.proofs == proofs
    assert [proof for proof in Proof if plan.opens_gate(proof)] == [proofs[-1]]
    assert plan.gate_opens_after_probe, "whether its passes succeed or fail"
    assert not plan.after_pass().settles_next


@pytest.mark.parametrize("settled", [True, False])
def test_the_gate_opens_after_a_failed_first_probe(*, settled: bool) -> None:
    assert ProofPlan.after_load(settled=settled, on_cuda=True).gate_opens_after_probe


def test_a_pass_at_a_clients_size_that_failed_is_still_owed() -> None:
    plan = ProofPlan.after_load(settled=True, on_cuda=True).after_opening()
    assert plan.proofs == (CANARY, CLIENT_SIZE)


def test_the_gate_opens_once() -> None:
    plan = ProofPlan.after_load(settled=True, on_cuda=False).after_opening()
    assert not plan.gate_closed
    assert not plan.gate_opens_after_probe
    assert not plan.after_pass().gate_opens_after_probe


@pytest.mark.parametrize(("passed", "opens"), [(False, False), (True, True)])
def test_draining_opens_the_gate_only_if_a_proof_has_passed(*, passed: bool, opens: bool) -> None:
    plan = ProofPlan.after_load(settled=False, on_cuda=False)
    assert (plan.after_pass() if passed else plan).gate_opens_at_drain is opens


def test_a_plan_without_a_load_opens_no_gate() -> None:
    plan = ProofPlan()
    assert not plan.gate_opens_after_probe
    assert not plan.gate_opens_at_drain

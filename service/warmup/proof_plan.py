"""The plan of proofs, as an immutable object: what a newly loaded engine must pass before requests are served.

``target`` holds one plan for each load. It runs the step that the plan names, then asks for the next. The plan must
stay pure: every transition returns a new plan, and nothing here runs, waits or knows the engine.

After a load, up to three steps follow:

* The canary must pass: the first proof.
* If the load left the precision open, the probe after the first proof settles it, before its canary. So settling does
  not delay the first proof. Requests wait for it, so that the first of them is served like every later one.
* On a CUDA device a pass at the size of a client's picture follows the canary, because a small canary does not set up
  what larger pictures use.

The gate keeps requests waiting from the load until the last of these has begun. A request that waits then gets its turn
directly after it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum


class Proof(Enum):
    """One pass through the pipeline that a probe makes."""

    CANARY = "canary"
    CLIENT_SIZE = "client size"


@dataclass(frozen=True, slots=True)
class ProofPlan:
    """The proofs that the loaded engine has passed, and those that it must still pass."""

    settled: bool = True
    """The precision is decided."""
    client_size_owed: bool = False
    """A pass at the size of a client's picture has not yet been made."""
    first_proof_passed: bool = False
    """A probe has passed since the load."""
    gate_closed: bool = False
    """Requests wait for the proofs."""

    @classmethod
    def after_load(cls, *, settled: bool, on_cuda: bool) -> ProofPlan:
        """A new engine: it has passed no proof, and requests wait."""
        return cls(settled=settled, client_size_owed=on_cuda, gate_closed=True)

    # -- what the next probe does --------------------------------------------------------------------------------

    @property
    def settles_next(self) -> bool:
        """Whether the next probe settles the precision before its canary."""
        return self.first_proof_passed and not self.settled

    @property
    def proofs(self) -> tuple[Proof, ...]:
        """The passes of the next probe, in order; to be read after it has settled the precision."""
        return (Proof.CANARY, Proof.CLIENT_SIZE) if self.client_size_owed else (Proof.CANARY,)

    def opens_gate(self, proof: Proof) -> bool:
        """Whether requests may queue up behind this pass: it is the last one, and the precision is settled."""
        return self.settled and proof is self.proofs[-1]

    # -- what has happened ---------------------------------------------------------------------------------------

    def after_settling(self, *, changed: bool, on_cuda: bool) -> ProofPlan:
        """The precision is decided; if it changed, what serves now needs the passes of a new engine."""
        owed = on_cuda if changed else self.client_size_owed
        return replace(self, settled=True, client_size_owed=owed)

    def after_pass(self) -> ProofPlan:
        """Every pass of a probe has succeeded."""
        return replace(self, first_proof_passed=True, client_size_owed=False)

    def after_opening(self) -> ProofPlan:
        """The gate has been opened; it stays open until the next load."""
        return replace(self, gate_closed=False)

    @property
    def gate_opens_after_probe(self) -> bool:
        """Whether the gate opens at the end of a probe, passed or failed: unless the next one settles the precision."""
        return self.gate_closed and not self.settles_next

    @property
    def gate_opens_at_drain(self) -> bool:
        """Whether requests that wait only for the precision are served with the present one when draining begins."""
        return self.gate_closed and self.first_proof_passed

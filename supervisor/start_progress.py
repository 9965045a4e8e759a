"""How far a start has come: when its load began, and which phase the engine reported last.

The supervisor makes a new one for each load; ``snapshot`` turns its times into durations. It decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class StartProgress:
    """The times are monotonic, in seconds."""

    began: float | None = None
    """When the load began; None before the first one and after one that failed."""
    phase: str | None = None
    """The last one that was reported; it stays after a failure, so that people see where the load stopped."""
    phase_detail: str = ""
    """One line for a person about the phase; may be empty."""
    phase_began: float | None = None

    def after_report(self, phase: str, detail: str, now: float) -> StartProgress:
        """The engine has begun a phase, or says how far it is in the same one."""
        began = self.phase_began if phase == self.phase else now
        return replace(self, phase=phase, phase_detail=detail, phase_began=began)

    def after_failure(self) -> StartProgress:
        """The load has failed: no time runs until the next one begins."""
        return replace(self, began=None, phase_began=None)

    def seconds(self, now: float) -> float | None:
        """Since the load began."""
        return None if self.began is None else now - self.began

    def phase_seconds(self, now: float) -> float | None:
        """Since the phase began."""
        return None if self.phase_began is None else now - self.phase_began

"""How and why a load or a probe failed, read from the exception that it raised.

``tasks`` creates a ``Failure`` for everything that a target raises; the evidence, the log and the snapshots use it.
A failure that is kept must not hold its exception: see ``without_error``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from supervisor.protocol import LoadError, MaskError, Outcome, ProbeError

_LONGEST_MESSAGE = 300
"""Characters. Whole library messages and tracebacks belong in the log."""


@dataclass(frozen=True, slots=True)
class Failure:
    """How and why a load or a probe failed."""

    outcome: Outcome
    message: str
    """One line."""
    error_type: str
    """The class name of the exception that caused it, or the outcome if there is no such exception."""
    mask_error: MaskError | None = None
    """How far the mask of a reference was from the accepted one, if that is what failed."""
    error: BaseException | None = None
    """The exception, if it was neither ``LoadError`` nor ``ProbeError``: the log then shows its traceback."""

    def without_error(self) -> Failure:
        """A copy to keep: a traceback would keep its frames alive, with their pictures and device memory."""
        return replace(self, error=None)

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """Describe any exception."""
        if isinstance(error, ProbeError | LoadError):
            cause = error.__cause__
            kind = error.outcome.value if cause is None else type(cause).__name__
            measured = error.mask_error if isinstance(error, ProbeError) else None
            return cls(error.outcome, _first_line(error.message), kind, measured)
        outcome = Outcome.OOM if isinstance(error, MemoryError) else Outcome.ERROR
        kind = type(error).__name__
        text = _first_line(str(error))
        return cls(outcome, f"{kind}: {text}" if text else kind, kind, error=error)


def _first_line(text: str) -> str:
    line = text.strip().splitlines()[0].rstrip() if text.strip() else ""
    return line if len(line) <= _LONGEST_MESSAGE else line[:_LONGEST_MESSAGE] + "..."

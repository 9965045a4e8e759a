"""A checkpoint that was found and can be loaded: where it is, and what is known about its hash.

``requested`` and ``official`` create it, and ``EngineInfo`` shows its fields. The load checks that the file is still
the one that was hashed. The values of ``kind`` and ``note`` must stay, because clients see them in ``/warmup``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from service.engines.protocol import WeightsUnavailable
from service.engines.weights.hashing import Fingerprint


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Weights that can be loaded now."""

    kind: str
    """``official``, ``file`` or ``dummy``."""
    path: Path | None
    """None for dummy weights, which are computed."""
    hash: str
    """``sha256:<hex>`` of the file; empty for dummy weights, whose hash is known once they are computed."""
    note: str
    """``verified``, ``unverified: <why>``, or ``dummy weights: <what that means>``."""
    fingerprint: Fingerprint | None
    """Of the file while its hash was computed; None for dummy weights."""

    @property
    def source(self) -> str:
        """The path, or ``dummy weights``; for messages to the operator."""
        return str(self.path) if self.path else "dummy weights"

    @property
    def name(self) -> str:
        """The name of the file, or ``dummy weights``; for messages to everyone."""
        return self.path.name if self.path else "dummy weights"

    def check_unchanged(self) -> None:
        """Make sure that the file is still the one whose hash was computed.

        Raises:
            WeightsUnavailable: the file was replaced, rewritten or removed since then.
        """
        if self.path is None:
            return
        try:
            unchanged = Fingerprint.of(self.path) == self.fingerprint
        except OSError:
            unchanged = False
        if not unchanged:
            raise WeightsUnavailable(
                f"{self.path} changed after it had been hashed. It is not loaded; the next attempt hashes it again",
                self.path,
            )

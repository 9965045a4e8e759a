"""How long a start should take: what it took where it was measured.

``warmup_body`` shows it as ``expected_seconds``, and the page counts the time of a cold start against it. Nothing is
remembered from earlier starts: the service writes no file, and a process loads its model once. So this is an
estimate for another machine, and everything that shows it must say so.
"""

from __future__ import annotations

_SECONDS = {"inspyrenet": 2.3, "u2netp": 0.9}
"""By engine, on a CPU and with the weights on the disk, to the first 200 of ``/warmup``: docs/performance.md."""


def expected_seconds(engine: str, device: str) -> float | None:
    """Seconds from the beginning of the load to the first proof; None where no start was measured.

    Args:
        engine: ``inspyrenet`` or ``u2netp``.
        device: the setting; u2netp always runs on the CPU.
    """
    if engine != "u2netp" and device.startswith("cuda"):
        return None
    return _SECONDS.get(engine)

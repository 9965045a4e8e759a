"""How threads of a computation wait for each other: asleep.

OpenMP's threads wait for the slowest at the end of every loop, thousands of times in a pass. By default they spin
meanwhile, for up to milliseconds. That costs the processor time that the slowest needs, as soon as another program
wants a core, and the quota of a container with a limit of CPU time. Measured with both cores busy: a start took 4 s
instead of 7 to 11, and 3.1 s of processor time instead of 6 to 10.

``service.startup`` calls it before torch is imported, because OpenMP's library reads its settings when it is loaded.
"""

from __future__ import annotations

from collections.abc import MutableMapping

_DECIDED_BY = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


def sleep_while_waiting(environ: MutableMapping[str, str]) -> None:
    """Let OpenMP's threads sleep while they wait, unless a variable of an operator decides it.

    Args:
        environ: environment variables of this process, changed in place.
    """
    if not any(environ.get(name) for name in _DECIDED_BY):
        environ["OMP_WAIT_POLICY"] = "PASSIVE"

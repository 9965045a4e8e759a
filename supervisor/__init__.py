"""The warmup supervisor: the state machine of warmth and the coroutine that keeps it true."""

from supervisor.clock import Clock, SystemClock
from supervisor.guard import guarded
from supervisor.protocol import LoadError, Outcome, ProbeError, ProbeReport, Target
from supervisor.snapshot import Snapshot
from supervisor.state import State
from supervisor.supervisor import Supervisor

__all__ = [
    "Clock",
    "LoadError",
    "Outcome",
    "ProbeError",
    "ProbeReport",
    "Snapshot",
    "State",
    "Supervisor",
    "SystemClock",
    "Target",
    "guarded",
]

"""The warmup supervisor: it loads the engine, probes it again and again, and reports facts about its state.

The application creates one ``Supervisor`` and runs it inside ``guarded``. The package knows what it probes only as a
``Target`` and reports only a ``Snapshot``. Keep it free of HTTP: status codes, headers, paths and the sentences for
clients belong to ``service.http``.
"""

from supervisor.clock import Clock, SystemClock
from supervisor.failure import Failure
from supervisor.guard import guarded
from supervisor.protocol import (
    AtSize,
    Canary,
    LoadError,
    LoadReport,
    MaskError,
    Outcome,
    ProbeError,
    ProbeReport,
    Reference,
    Settle,
    Size,
    Subject,
    Target,
    Vitals,
)
from supervisor.sizes import refuses
from supervisor.snapshot import Snapshot
from supervisor.state import Reason, State
from supervisor.supervisor import Supervisor

__all__ = [
    "AtSize",
    "Canary",
    "Clock",
    "Failure",
    "LoadError",
    "LoadReport",
    "MaskError",
    "Outcome",
    "ProbeError",
    "ProbeReport",
    "Reason",
    "Reference",
    "Settle",
    "Size",
    "Snapshot",
    "State",
    "Subject",
    "Supervisor",
    "SystemClock",
    "Target",
    "Vitals",
    "guarded",
    "refuses",
]

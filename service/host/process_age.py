"""The age of this process in seconds, from /proc.

``service.app`` gives it to the supervisor for the start-up metric. It must count from the moment at which the kernel
started the process, so that it includes the start of the interpreter and the imports.
"""

from __future__ import annotations

import os
import time
from pathlib import Path


def process_age() -> float:
    """Seconds since the kernel started this process; without /proc, seconds since this module was imported."""
    return time.monotonic() - _STARTED


def _started() -> float:
    """The time of the process's start on the monotonic clock."""
    now = time.monotonic()
    try:
        # Field 22 of the line is the start in clock ticks since boot (proc(5)). Field 2 is the command's name in
        # parentheses, which may contain spaces, so the fields are counted after it.
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        since_boot = int(fields[19]) / os.sysconf("SC_CLK_TCK")
        return now - (time.clock_gettime(time.CLOCK_BOOTTIME) - since_boot)
    except (OSError, ValueError, IndexError, AttributeError):
        return now


_STARTED = _started()

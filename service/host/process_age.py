"""What the operating system knows of this process."""

from __future__ import annotations

import os
import time
from pathlib import Path


def process_age() -> float:
    """Seconds since this process was started, by the kernel's word; since this import where there is no /proc."""
    return time.monotonic() - _STARTED


def _started() -> float:
    """When this process was started, on the monotonic clock."""
    now = time.monotonic()
    try:
        # The command name, in parentheses, may hold spaces; field 22 of the line, counted after it, is the start in
        # clock ticks since boot (proc(5)).
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        since_boot = int(fields[19]) / os.sysconf("SC_CLK_TCK")
        return now - (time.clock_gettime(time.CLOCK_BOOTTIME) - since_boot)
    except (OSError, ValueError, IndexError, AttributeError):
        return now


_STARTED = _started()

"""How every command ends its process."""

from __future__ import annotations

import logging
import os
import sys
from typing import NoReturn


def end_process(code: int) -> NoReturn:
    """Write what is still to be written, and end the process although threads still work.

    The interpreter's own end joins some threads, and one that is stuck in a driver never ends. It stops others in the
    middle of C++ code, which then aborts the process (SIGABRT in place of the exit code).

    Args:
        code: the exit code; 0 becomes 120 if the output cannot be written, as at the interpreter's own end.
    """
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:  # a program may be started without it
                stream.flush()
        except (OSError, ValueError):  # its reader has gone, its disk is full, or it is closed
            code = code or 120
    os._exit(code)

"""Starts the program: ``./inspyrenet`` runs it as ``python -m service``. Which command runs, and how, is in ``cli``."""

from __future__ import annotations

import os
import signal
import sys

from service.cli.commands import main

if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:], os.environ))
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)

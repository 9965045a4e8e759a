"""The entry point of ``python -m service``, which the launcher ``./inspyrenet`` runs.

It must only pass the arguments on: ``service.cli.commands`` decides which command runs.
"""

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

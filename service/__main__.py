"""The entry point of ``python -m service``, which the launcher ``./inspyrenet`` runs.

It must only pass the arguments on: ``service.cli.commands`` decides which command runs.
"""

from __future__ import annotations

import os
import signal
import sys

from service.cli.commands import main
from service.cli.process_end import end_process

if __name__ == "__main__":
    try:
        code = main(sys.argv[1:], os.environ)
    except KeyboardInterrupt:
        code = 128 + signal.SIGINT
    except SystemExit as ended:  # argparse, or SIGTERM; always with a number
        code = int(ended.code or 0)
    except BaseException:  # noqa: BLE001 - it is printed, and the process ends like any other
        sys.excepthook(*sys.exc_info())
        code = 1
    end_process(code)

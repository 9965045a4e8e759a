"""Starts the program: ``python -m service [COMMAND]``. The only place that starts an event loop."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from service.settings import Settings

# ruff: noqa: PLC0415 - each command imports what it needs: a health check must not pay for a web server


def main() -> int:
    """Run the command named on the command line; returns its exit code."""
    argv = sys.argv[1:]
    if argv[:1] == ["check"]:  # before anything is imported that is not in the standard library
        from service.cli import check

        return check.main(argv[1:], os.environ)
    if argv[:1] == ["probe"]:
        from service.cli import probe as probe_cli

        return probe_cli.main(argv[1:])

    # A process that is PID 1 of its container ignores SIGTERM unless it says otherwise; the server will, later.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    from service.cli import commands as cli

    return cli.main(argv, os.environ, serve=serve)


def serve(settings: Settings) -> NoReturn:
    """Serve until told to stop, then end the process with the server's exit code."""
    import asyncio
    import logging

    from service.host.interpreter import put_off_collection

    put_off_collection()
    from service.server import serve as serve_until_stopped
    from service.startup import configure_libraries

    configure_libraries()
    runner = asyncio.Runner()
    try:
        code = runner.run(serve_until_stopped(settings))
    except KeyboardInterrupt:
        code = 128 + signal.SIGINT
    except SystemExit:  # SIGTERM came before the server listened for it
        code = 128 + signal.SIGTERM
    except BaseException:
        logging.getLogger(__name__).critical("The server ended unexpectedly", exc_info=True)
        code = 1
    # Neither is the runner closed nor the interpreter wound down: both join every thread, and one stuck in a driver
    # never ends. The server has closed all that it opened, so what is left to do is to write out what was logged.
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


if __name__ == "__main__":
    if sys.argv[1:2] not in (["check"], ["probe"], ["weights"]):  # they are over before it pays
        from service.host.interpreter import begin_again_with_memory_set_up

        begin_again_with_memory_set_up()
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)

"""The changes that the program makes to process-wide state: all of them, in order, with their reasons.

The commands of ``service.cli`` call these functions. No module changes such state when it is imported, so tests and
scripts that use a part of the service call :func:`configure_libraries` themselves. At its top this module may import
only the standard library, ``environment_variables`` and ``service.host``, because the health check imports it too.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Mapping, Sequence

from service.environment_variables import PREFIX
from service.host.allocator import reexec_with_malloc_settings
from service.host.descriptors import raise_descriptor_limit
from service.host.garbage_collection import defer_garbage_collection
from service.host.waiting_threads import sleep_while_waiting


def prepare_to_serve(argv: Sequence[str], environ: Mapping[str, str]) -> None:
    """Prepare the process for serving, before anything large is imported.

    Args:
        argv: the command line without the program's name.
        environ: environment variables.
    """
    if not _malloc_tuning_is_off(argv, environ):
        reexec_with_malloc_settings()  # first, because it starts the program again
    exit_on_sigterm()
    raise_descriptor_limit()
    defer_garbage_collection()  # before the imports, which make most of the objects that stay


def _malloc_tuning_is_off(argv: Sequence[str], environ: Mapping[str, str]) -> bool:
    """What the setting ``malloc_tuning`` will say, known before the settings can be imported.

    A value that is not valid is refused later, together with all others.
    """
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    early.add_argument("--malloc-tuning", nargs="?", default=environ.get(f"{PREFIX}MALLOC_TUNING"))
    return bool(early.parse_known_args(argv)[0].malloc_tuning == "off")


def exit_on_sigterm() -> None:
    """End the program at SIGTERM; the server replaces this handler by its own when it starts.

    A process that is PID 1 of its container ignores SIGTERM unless it has a handler.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def configure_libraries() -> None:
    """Change what OpenMP, Pillow and aiohttp's logger keep for the whole process; it may be called again."""
    # What a function configures is imported when it is called, because the health check imports this module.
    from service.http.connection import configure_logging  # noqa: PLC0415
    from service.imaging.decode import configure_pillow  # noqa: PLC0415

    sleep_while_waiting(os.environ)  # before torch is imported
    configure_pillow()  # before the first picture: Pillow's own limits would refuse some that the settings allow
    configure_logging()  # before the first connection: aiohttp would log what clients sent

"""``./inspyrenet serve``: reads the settings, configures logging, and runs the server until it ends.

``commands`` calls it. It starts the event loop itself, because the end of the loop decides how the process
ends. The flags are made from the settings, so a new setting needs only its
place in :data:`GROUPS`.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, NoReturn

import structlog

from service import logs, startup
from service.cli.process_end import end_process
from service.cli.setting_flags import add_flags, given
from service.host.running_time import RunningTimeLoop, noticing_suspensions
from service.settings import Settings
from service.settings_reader import load_settings
from service.tracing.requested import traces_requested

if TYPE_CHECKING:
    from aiohttp import web

GROUPS: Mapping[str, tuple[str, ...]] = {
    "model": ("engine", "mode", "resize", "weights", "device", "precision"),
    "network": ("host", "port", "platform", "cors_origins", "api_keys_file", "url_hosts"),
    "warmup": ("warmup_interval", "warmup_timeout", "warmup_size", "references", "references_gate"),
    "time": ("request_timeout", "read_timeout", "load_timeout", "hang_timeout", "drain_timeout"),
    "limits": ("queue_size", "max_upload_bytes", "max_pixels", "max_model_pixels"),
    "process": ("malloc_tuning", "log_format"),
}
"""The flags in groups, as the help shows them: every setting except the keys, because other users of a machine can read
the command lines of its processes."""

_DESCRIPTION = """\
Serve until SIGTERM. Every setting is an environment variable too, whose name stands in brackets; a flag beats its
variable.
"""
_NOTES = """\
API keys have no flag, because others can see command lines. INSPYRENET_API_KEYS holds them, separated by commas.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command, and add a flag for each setting."""
    parser.description, parser.epilog = _DESCRIPTION, _NOTES
    parser.usage = "./inspyrenet [serve] [--SETTING VALUE ...]"
    for title, fields in GROUPS.items():
        group = parser.add_argument_group(title)
        add_flags(group, fields)


def run(args: argparse.Namespace, environ: Mapping[str, str]) -> NoReturn:
    """Serve until told to stop, then end the process with the server's exit code."""
    settings = configure(args, environ)
    serve(settings, traces=traces_requested(environ))


def configure(args: argparse.Namespace, environ: Mapping[str, str]) -> Settings:
    """Read the settings from flags and environment, configure logging, and log the notes about the settings.

    Raises:
        SettingsError: the settings cannot be used.
    """
    settings, notes = load_settings(given(args), environ)
    logs.configure(settings.log_format, project=environ.get("GOOGLE_CLOUD_PROJECT"))
    log = structlog.get_logger(__name__)
    for note in notes:
        log.warning(note)
    return settings


def serve(
    settings: Settings,
    *,
    make_app: Callable[[Settings], web.Application] | None = None,
    traces: bool = False,
) -> NoReturn:
    """Serve until told to stop, then end the process with the server's exit code.

    Args:
        settings: for the server.
        make_app: makes the application, if it is not the one that the settings ask for.
        traces: whether that one is traced.
    """
    # Imported late, so that --help and wrong settings are answered without the web server and the codecs.
    from service.server import build_app  # noqa: PLC0415 - see above
    from service.server import serve as serve_until_stopped  # noqa: PLC0415 - see above

    startup.configure_libraries()
    runner = asyncio.Runner(loop_factory=RunningTimeLoop)
    try:
        make_app = make_app or partial(build_app, traces=traces)
        with noticing_suspensions():
            code = runner.run(serve_until_stopped(settings, make_app=make_app))
    except KeyboardInterrupt:
        code = 128 + signal.SIGINT
    except SystemExit:  # SIGTERM arrived before the server handled it
        code = 128 + signal.SIGTERM
    except BaseException:
        logging.getLogger(__name__).critical("The server ended unexpectedly", exc_info=True)
        code = 1
    # The runner is not closed, because that would join every thread. The server has closed everything that it opened.
    end_process(code)

"""How aiohttp is to treat the wire: what it may hold, how long it waits, and what it may say in the log."""

from __future__ import annotations

import logging
from typing import Any

from aiohttp.http_exceptions import HttpProcessingError

READ_BUFFER_BYTES = 64 * 1024
"""A connection whose bytes nobody reads yet is paused when it holds twice this."""

KEEPALIVE_SECONDS = 75.0
"""Longer than the idle timeouts of common load balancers (60 s), so that they close first. A connection that has not
sent a whole request head by then is closed as well."""

LINGER_SECONDS = 2.0
"""How long the rest of a refused body is still taken in, so that its sender gets to read the refusal."""


def _without_content(record: logging.LogRecord) -> bool:
    """Malformed HTTP is told in one line: the exception's words are the client's, a key perhaps among them."""
    if record.exc_info and isinstance(record.exc_info[1], HttpProcessingError):
        record.levelno, record.levelname = logging.INFO, "INFO"
        record.msg, record.args, record.exc_info = "malformed HTTP: refused with 400", (), None
    return True


_log = logging.getLogger("wire")


def configure_logging() -> None:
    """Keep what clients sent out of aiohttp's log lines. Start-up calls this once."""
    _log.addFilter(_without_content)


OPTIONS: dict[str, Any] = {
    "access_log": None,  # the middleware writes it
    "logger": _log,
    "auto_decompress": False,  # or it would inflate what has yet to be refused
    "read_bufsize": READ_BUFFER_BYTES,
    "keepalive_timeout": KEEPALIVE_SECONDS,
    "lingering_time": LINGER_SECONDS,
}
"""Keyword arguments of ``web.AppRunner``."""

"""Limits of aiohttp's connections: how much they may hold, how long they wait, and what aiohttp may log.

The server passes ``OPTIONS`` to ``web.AppRunner``. Memory of connections without a place must stay bounded, and nothing
that a client sent may reach the log.
"""

from __future__ import annotations

import logging
from typing import Any

from aiohttp.http_exceptions import HttpProcessingError

READ_BUFFER_BYTES = 64 * 1024
"""A connection is paused when it holds twice this many bytes that no handler has read."""

KEEPALIVE_SECONDS = 75.0
"""Longer than the idle timeouts of common load balancers (60 s), so that they close idle connections first. A
connection that has not sent a whole request head by then is closed as well."""


def _without_content(record: logging.LogRecord) -> bool:
    """Log malformed HTTP in one line: the exception quotes the client, and the quote may hold an API key."""
    if record.exc_info and isinstance(record.exc_info[1], HttpProcessingError):
        record.levelno, record.levelname = logging.INFO, "INFO"
        record.msg, record.args, record.exc_info = "malformed HTTP: refused with 400", (), None
    return True


_log = logging.getLogger("wire")


def configure_logging() -> None:
    """Keep what clients sent out of aiohttp's log lines. Start-up calls this once."""
    _log.addFilter(_without_content)


OPTIONS: dict[str, Any] = {
    "access_log": None,  # the middleware writes one
    "logger": _log,
    "auto_decompress": False,  # a compressed body is refused before it is decompressed
    "read_bufsize": READ_BUFFER_BYTES,
    "keepalive_timeout": KEEPALIVE_SECONDS,
    "lingering_time": 0.0,  # ``client_connection`` does that
}
"""Keyword arguments of ``web.AppRunner``."""

"""The process-wide state that the program changes, in one place: which, in which order, and why.

The commands of ``service.cli`` call these functions. No module changes such state when it is imported, so tests and
scripts that use a part of the service call :func:`configure_libraries` themselves. This module may import only the
standard library and ``service.host`` at its top: the health check imports it too.
"""

from __future__ import annotations

# ruff: noqa: PLC0415 - what a function configures is imported when it is called


def configure_libraries() -> None:
    """Change what Pillow, aiohttp's logger and ``warnings`` keep for the whole process; may be called again."""
    from service.http.body import ignore_header_warnings
    from service.http.connection import configure_logging
    from service.imaging.codec import configure_pillow

    configure_pillow()  # before the first picture: Pillow's own limits are not the configured ones
    configure_logging()  # before the first connection: aiohttp would log what clients sent
    ignore_header_warnings()  # after logging has begun to capture warnings, which keeps the filters as they are

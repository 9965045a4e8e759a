"""A small HTTP server for tests."""

from __future__ import annotations

import sys
from http.server import ThreadingHTTPServer
from typing import Any


class QuietServer(ThreadingHTTPServer):
    """Says nothing if a client goes before its answer ends: that may be after the test, and another captures stderr."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print what was raised, but for a lost connection."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

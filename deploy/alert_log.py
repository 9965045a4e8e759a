"""An example receiver for Alertmanager: it prints every alert that it receives. Replace it by a pager.

``make monitor`` runs it, on port 9099 unless an argument says otherwise. ``metrics/alertmanager.yml`` posts to it, and
``deploy/compose.yaml`` runs it in a plain Python image, so it may import only the standard library.
"""

# ruff: noqa: T201 - this program exists to print

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

DEFAULT_PORT = 9099


class Printer(BaseHTTPRequestHandler):
    """Answers 200 to every notification and prints one line for each of its alerts."""

    def do_POST(self) -> None:
        """Print the alerts of one notification. The path is the name of the receiver."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            printed = list(lines(self.path, json.loads(body)))
        except (ValueError, KeyError, TypeError, AttributeError):
            self.send_error(400, "The body is not a notification of Alertmanager.")
            return
        for line in printed:
            print(line, flush=True)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Print no access log: the output contains only alerts."""


def lines(path: str, notification: dict[str, Any]) -> Iterator[str]:
    """Return one line for each alert: receiver, status, name, instance, description, runbook."""
    for alert in notification["alerts"]:
        labels, annotations = alert["labels"], alert["annotations"]
        where = labels.get("instance") or labels.get("job") or "-"
        yield (
            f"{path.strip('/')} {alert['status'].upper()} {labels['alertname']} {where}: "
            f"{annotations.get('description', '')} {annotations.get('runbook_url', '')}"
        )


def main() -> None:
    """Serve until the program is interrupted."""
    port = int(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_PORT
    server = ThreadingHTTPServer(("127.0.0.1", port), Printer)
    print(f"waiting for alerts on http://127.0.0.1:{port}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()


if __name__ == "__main__":
    main()

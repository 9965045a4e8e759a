"""``./inspyrenet check``: asks a running service whether it is alive, or ready; for container health checks.

A container runs it every few seconds beside the service. So it must start at once and use little memory, and may import
only the standard library.
"""

from __future__ import annotations

import argparse
import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Mapping

from service.cli.asking import locate
from service.cli.printing import print_line
from service.environment_variables import PREFIX, UNIX_SOCKET, find_port

DEFAULT_PORT = "8080"
"""The default of the setting, whose module is not in the standard library; a test compares the two."""

_MAX_SHOWN = 200  # characters of the answer's body that are printed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command and its arguments."""
    parser.description = (
        "Ask a running service whether it is alive, and print one line.\n"
        "Exit code 0 if it answers 200, else 1."
    )
    parser.add_argument(
        "--ready", action="store_true", help="ask /readyz (warm, and able to serve) instead of /livez"
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--url",
        metavar="URL",
        help="base address of the service, such as http://10.0.0.7:8080 or unix:/run/inspyrenet.sock",
    )
    where.add_argument(
        "--port",
        metavar="PORT",
        help=f"port on this machine [INSPYRENET_PORT, else PORT, else {DEFAULT_PORT}, as for the service itself]",
    )
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=float,
        default=3.0,
        help="longest wait for an answer [default: 3]",
    )


def run(args: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Ask, print one line, and return the exit code: 0 if the service answered 200, else 1."""
    base = (args.url or _base_url(args.port, environ)).rstrip("/")
    path = "/readyz" if args.ready else "/livez"
    url, handlers = locate(base, path)
    started = time.monotonic()
    try:
        # No proxy, even if the environment names one: the service is on this machine or in this network.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), *handlers)
        with opener.open(url, timeout=args.timeout) as response:
            status, body = response.status, response.read(4096)
    except urllib.error.HTTPError as error:
        with error:
            status, body = error.code, error.read(4096)
    except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: not a URL
        print_line(f"{base}{path}: no answer: {getattr(error, 'reason', error) or type(error).__name__}")
        return 1
    took = (time.monotonic() - started) * 1000
    answer = " ".join(body.decode(errors="replace").split())[:_MAX_SHOWN]
    print_line(f"{base}{path}: {status} in {took:.0f} ms: {answer}")
    return 0 if status == 200 else 1


def _base_url(port: str | None, environ: Mapping[str, str]) -> str:
    host = environ.get(f"{PREFIX}HOST", "").strip()
    if port is None:
        if host.startswith(UNIX_SOCKET):
            return host
        found = find_port(environ)
        port = found[1].strip() if found else DEFAULT_PORT
    host = host.removeprefix("[").removesuffix("]")
    if host in ("", "0.0.0.0") or host.startswith(UNIX_SOCKET):  # noqa: S104 - the loopback address reaches it
        host = "127.0.0.1"
    elif host == "::":
        host = "::1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

"""``python -m service check``: asks a running service whether it lives, or is ready; for container health checks.

Standard library only: it runs every few seconds beside the service, so it must start at once and weigh nothing.
"""

from __future__ import annotations

import argparse
import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence

from service.environment import PREFIX, find_port

DEFAULT_PORT = "8080"
_LONGEST_ANSWER = 200  # characters of the answer's body worth a line


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``check``."""
    parser.add_argument(
        "--ready", action="store_true", help="ask /readyz (warm, and fit for traffic) instead of /livez"
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--url", metavar="URL", help="base address of the service, such as http://10.0.0.7:8080"
    )
    where.add_argument(
        "--port",
        metavar="PORT",
        help=f"port on this machine [INSPYRENET_PORT, else PORT, else {DEFAULT_PORT}, as the service itself does]",
    )
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=float,
        default=3.0,
        help="longest wait for an answer [default: 3]",
    )


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run the command; the exit code is 0 if the service answered 200, else 1."""
    parser = argparse.ArgumentParser(
        prog="python -m service check",
        description="Ask a running service whether it lives (exit code 0) or not (1), and print one line.",
        allow_abbrev=False,
    )
    add_arguments(parser)
    return run(parser.parse_args(argv), environ)


def run(args: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Ask, print one line, and return the exit code."""
    url = (args.url or _base_url(args.port, environ)).rstrip("/") + ("/readyz" if args.ready else "/livez")
    started = time.monotonic()
    try:
        # Straight to the service: a proxy named in the environment has no part in asking after one's own health.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=args.timeout) as response:
            status, body = response.status, response.read(4096)
    except urllib.error.HTTPError as error:
        with error:
            status, body = error.code, error.read(4096)
    except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: not a URL
        print(f"{url}: no answer: {getattr(error, 'reason', error) or type(error).__name__}")  # noqa: T201
        return 1
    took = (time.monotonic() - started) * 1000
    answer = " ".join(body.decode(errors="replace").split())[:_LONGEST_ANSWER]
    print(f"{url}: {status} in {took:.0f} ms: {answer}")  # noqa: T201
    return 0 if status == 200 else 1


def _base_url(port: str | None, environ: Mapping[str, str]) -> str:
    if port is None:
        found = find_port(environ)
        port = found[1].strip() if found else DEFAULT_PORT
    host = environ.get(f"{PREFIX}HOST", "").strip()
    if host in ("", "0.0.0.0"):  # noqa: S104 - every address: the nearest one will do
        host = "127.0.0.1"
    elif host == "::":
        host = "::1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

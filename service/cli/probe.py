"""``./inspyrenet probe URL``: tests from outside that a service does its work; for cron and monitors.

The test is a probe through ``POST /warmup``, or a given picture through ``POST /process``. Standard library only, so
that it starts at once. It trusts no answer by its status alone: the answer may come from a proxy, or from an older
version that answers 200 even when it fails.
"""

from __future__ import annotations

import argparse
import http.client
import json
import math
import struct
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from service.cli.asking import locate
from service.cli.printing import print_line

OK, FAILING, CANNOT_TELL = 0, 1, 2

DEFAULT_TIMEOUT = 150.0
"""Seconds: a little more than a probe may run by default, and enough for most cold starts."""

_SECOND_TIMEOUT = 3.0
"""Seconds for the question what the service knows, after the test had no answer."""

_MAX_ANSWER_BYTES = 256 * 1024 * 1024
_MAX_LINE = 300  # characters
_WORDS = {OK: "OK", FAILING: "FAILING", CANNOT_TELL: "CANNOT TELL"}
_PNG = b"\x89PNG\r\n\x1a\n"


class Answer(NamedTuple):
    """An HTTP response."""

    status: int
    body: bytes


class Verdict(NamedTuple):
    """The exit code, and the reason in one line."""

    code: int
    reason: str


class NoAnswer(Exception):
    """No HTTP response arrived."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Makes a redirect the answer: following it would turn the POST into a GET, which proves nothing."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Follow no redirect."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command and its arguments."""
    parser.description = (
        "Test that a running service works, and print one line.\n"
        "Exit code 0: it works; 1: it fails; 2: the test says neither (no answer, busy, starting, or another service)."
    )
    parser.add_argument(
        "url",
        metavar="URL",
        help="base address of the service, such as https://cutout.example or unix:/run/inspyrenet.sock",
    )
    parser.add_argument(
        "--image",
        type=Path,
        metavar="FILE",
        help="post this picture to /process and expect a cut-out, instead of a probe through /warmup",
    )
    parser.add_argument(
        "--key-file", type=Path, metavar="FILE", help="file whose first line is the API key for /process"
    )
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=_seconds,
        default=DEFAULT_TIMEOUT,
        help=f"longest wait for the whole answer [default: {DEFAULT_TIMEOUT:g}]",
    )


def _seconds(text: str) -> float:
    seconds = float(text)
    if not (math.isfinite(seconds) and 0 < seconds <= threading.TIMEOUT_MAX):
        raise ValueError(text)
    return seconds


_seconds.__name__ = (
    "number of seconds above 0"  # argparse says: "invalid number of seconds above 0 value: 'nan'"
)


def run(args: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Test, print one line, and return the exit code: 0 works, 1 fails, 2 cannot tell."""
    del environ  # every command gets it; this one takes all that it needs from its arguments
    base, path = args.url.rstrip("/"), "/process" if args.image else "/warmup"
    started = time.monotonic()
    try:
        answer = ask(base, path, args.timeout, args)
        verdict = judge_cut_out(answer) if args.image else judge_warmup(answer)
    except NoAnswer as error:
        verdict = _judge_silence(_one_line(str(error)), base)
    except Exception as error:  # noqa: BLE001 - a test that breaks in any way has proved nothing
        verdict = Verdict(CANNOT_TELL, _one_line(str(error)) or type(error).__name__)
    seconds = time.monotonic() - started
    # Nagios reads what stands after the bar as performance data.
    print_line(f"{_WORDS[verdict.code]}: {base}{path}: {verdict.reason} | time={seconds:.3f}s")
    return verdict.code


def _judge_silence(silence: str, base: str) -> Verdict:
    """What it means that no answer came: the service may know, and ``GET /warmup`` answers at once."""
    try:
        answer = ask(base, "/warmup", _SECOND_TIMEOUT)
    except NoAnswer:
        return Verdict(CANNOT_TELL, silence)
    known = judge_warmup(answer)
    return (
        Verdict(FAILING, f"{silence}; GET /warmup: {known.reason}")
        if known.code == FAILING
        else Verdict(CANNOT_TELL, silence)
    )


def _request(url: str, args: argparse.Namespace | None) -> urllib.request.Request:
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise ValueError("the URL must begin with http://, https:// or unix:/")
    if args is None:
        return urllib.request.Request(url)  # noqa: S310 - checked above
    headers = {"User-Agent": "inspyrenet-probe", "Content-Type": "application/octet-stream"}
    if args.key_file:
        headers["X-Api-Key"] = args.key_file.read_text().partition("\n")[0].strip()
    body = args.image.read_bytes() if args.image else b""
    return urllib.request.Request(url, data=body, headers=headers, method="POST")  # noqa: S310 - checked above


def ask(base: str, path: str, timeout: float, args: argparse.Namespace | None = None) -> Answer:
    """Send a request and read the whole answer.

    Args:
        base: address of the service.
        path: of the request.
        timeout: seconds for all of it.
        args: say what to post; without them it is a GET.

    Raises:
        NoAnswer: no response arrived within ``timeout`` seconds, or it was not HTTP.
    """
    url, handlers = locate(base, path)
    request = _request(url, args)
    results: list[Answer | Exception] = []

    def exchange() -> None:
        try:
            results.append(_exchange(request, timeout, handlers))
        except Exception as error:  # noqa: BLE001 - the waiting thread reports it below
            results.append(error)

    # The library's timeout counts for each read, and looking a name up has none. So a thread does the work, which is
    # left behind at the timeout.
    thread = threading.Thread(target=exchange, daemon=True)
    thread.start()
    thread.join(timeout)
    match results:
        case []:
            raise NoAnswer(f"no answer in {timeout:g} s")
        case [Answer() as answer]:
            return answer
        case [TimeoutError()]:
            raise NoAnswer(f"no answer in {timeout:g} s")
        case [error, *_]:
            raise NoAnswer(f"no answer: {getattr(error, 'reason', None) or error or type(error).__name__}")
    raise AssertionError("unreachable")  # pragma: no cover


def _exchange(
    request: urllib.request.Request, timeout: float, handlers: list[urllib.request.BaseHandler]
) -> Answer:
    opener = urllib.request.build_opener(_NoRedirect, *handlers)
    try:
        with opener.open(request, timeout=timeout) as response:
            return Answer(response.status, response.read(_MAX_ANSWER_BYTES))
    except urllib.error.HTTPError as error:
        with error:
            try:
                return Answer(error.code, error.read(_MAX_ANSWER_BYTES))
            except http.client.HTTPException:
                return Answer(error.code, b"")


def judge_warmup(answer: Answer) -> Verdict:
    """What the answer to ``POST /warmup`` proves."""
    said = _json(answer.body)
    message = _one_line(str(said.get("message") or ""))
    match answer.status:
        case 200 if said.get("status") == "success":
            stand_in = f"; {said.get('engine')} stands in" if said.get("fallback") else ""
            return Verdict(OK, f"{message or 'warm'}{stand_in}")
        case 200 if "status" in said:
            return Verdict(FAILING, f"it answered 200 and says {_one_line(str(said['status']))}: {message}")
        case 500:
            return Verdict(FAILING, message or "500")
        case 503 if said.get("status") == "error" and (
            said.get("outcome") != "skipped" or said.get("state") == "failing"
        ):
            return Verdict(FAILING, message or "503")
        case status:
            return Verdict(CANNOT_TELL, f"it answered {status}: {message or _text(answer.body)}")


def judge_cut_out(answer: Answer) -> Verdict:
    """What the answer to ``POST /process`` proves."""
    if answer.status == 200:
        if (size := _png_size(answer.body)) is None:
            return Verdict(FAILING, f"it answered 200 without a picture: {_text(answer.body)}")
        return Verdict(OK, f"a cut-out of {size[0]}x{size[1]} pixels")
    error = _json(answer.body).get("error")
    error = error if isinstance(error, dict) else {}
    reason = (
        f"it answered {answer.status}: {_one_line(str(error.get('message') or '')) or _text(answer.body)}"
    )
    fails = answer.status in (500, 503, 504) and error and error.get("code") != "draining"
    return Verdict(FAILING if fails else CANNOT_TELL, reason)


def _png_size(body: bytes) -> tuple[int, int] | None:
    """Width and height of a complete PNG file, or None."""
    if not body.startswith(_PNG) or body[12:16] != b"IHDR" or not body.endswith(b"IEND\xaeB`\x82"):
        return None
    width, height = struct.unpack(">II", body[16:24])
    return (width, height) if width and height else None


def _json(body: bytes) -> dict[str, Any]:
    try:
        said = json.loads(body)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _text(body: bytes) -> str:
    return _one_line(body[: 4 * _MAX_LINE].decode("utf-8", "replace")) or "an empty body"


def _one_line(text: str) -> str:
    """The text as one printable line, without the bar, which would end it for Nagios."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).replace("|", "/").split())
    return line if len(line) <= _MAX_LINE else line[:_MAX_LINE] + "..."

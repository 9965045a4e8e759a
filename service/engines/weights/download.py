"""Downloads one file over HTTP.

``official`` calls it, on an ordinary thread. Two things must stay true. The target path only ever holds a complete,
verified file. Every failure ends within a bounded time, with a message that names the cause.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import socket
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import requests
from tqdm import tqdm

from service.engines.protocol import ReportLine, WeightsUnavailable

_READ_BYTES = 16384


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a download may take without success, and how often it is attempted and reported."""

    connect_timeout: float = 4.0
    """Seconds for looking up the server's name, and again for connecting: a service without a network must notice
    quickly."""
    stall_timeout: float = 20.0
    """Seconds in which data must arrive, at ``min_rate`` or faster."""
    min_rate: int = 1024
    """Bytes a second, on average over ``stall_timeout``; a slower connection counts as broken."""
    attempts: int = 3
    retry_pause: float = 1.0
    """Seconds before the second attempt; doubled for each further one."""
    report_interval: float = 5.0
    """Seconds between two lines about the progress."""


DEFAULT_LIMITS = Limits()


class _TransientFailure(Exception):
    """An attempt failed, and another attempt may succeed."""


def download(
    url: str,
    path: Path,
    *,
    md5: str | None,
    progress: bool,
    report: ReportLine,
    limits: Limits = DEFAULT_LIMITS,
) -> None:
    """Download ``url``, verify it, and move it to ``path`` in one step, replacing what is there.

    If the server cannot be reached, there is only one attempt; the caller may try again. If the server answers and
    then fails, there are several.

    Args:
        url: http or https.
        path: its directory is created if necessary.
        md5: hexadecimal; None if no hash is published.
        progress: draw a progress bar on standard error, instead of reporting the progress.
        report: receives a line for each attempt, and lines about the progress.
        limits: timeouts and retries.

    Raises:
        WeightsUnavailable: what went wrong.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _check_name_resolves(url, limits.connect_timeout)
        for attempt in range(1, limits.attempts + 1):
            try:
                report(f"downloading {url}")
                _attempt(url, part, _Progress(report, limits, bar=progress), limits)
                break
            except _TransientFailure as error:
                if attempt == limits.attempts:
                    raise WeightsUnavailable(f"{error}, {attempt} times in a row ({url})") from error
                pause = limits.retry_pause * 2 ** (attempt - 1)
                report(f"{error}; trying again in {pause:g} s")
                time.sleep(pause)
        _verify(part, url, md5)
        os.replace(part, path)
    except OSError as error:
        raise WeightsUnavailable(_explain_disk_error(error, path), path) from error
    finally:
        with contextlib.suppress(OSError):  # an error from here would hide the one that is on its way
            part.unlink(missing_ok=True)


def _attempt(url: str, part: Path, progress: _Progress, limits: Limits) -> None:
    timeouts = limits.connect_timeout, limits.stall_timeout
    try:
        with (
            requests.get(
                url, stream=True, timeout=timeouts, headers={"Accept-Encoding": "identity"}
            ) as response,
            part.open("wb") as file,
            progress,
        ):
            if response.status_code != requests.codes.ok:
                message = f"the server answered {response.status_code} {response.reason}"
                if response.status_code >= 500 or response.status_code == 429:
                    raise _TransientFailure(message)
                raise WeightsUnavailable(f"{message} ({url})")
            progress.total = int(response.headers.get("Content-Length", 0))
            for data in response.iter_content(_READ_BYTES):
                file.write(data)
                progress.add(len(data))
    except requests.ConnectTimeout as error:
        raise WeightsUnavailable(f"{_host(url)} did not answer within {timeouts[0]:g} s") from error
    except requests.ReadTimeout as error:
        raise _TransientFailure(f"nothing arrived for {timeouts[1]:g} s") from error
    except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
        if progress.total:
            raise _TransientFailure(
                f"the connection broke after {progress.received} of {progress.total} bytes"
            ) from error
        raise WeightsUnavailable(f"{_host(url)} cannot be reached: {_system_error(error)}") from error
    except requests.RequestException as error:
        raise WeightsUnavailable(f"{url} cannot be fetched: {_system_error(error)}") from error


class _Progress:
    """Counts the bytes of one attempt, shows the count, and raises if too few arrive. Leaving it closes the bar."""

    def __init__(self, report: ReportLine, limits: Limits, *, bar: bool) -> None:
        self.total = 0
        """Bytes that the server announced; 0 while unknown."""
        self.received = 0
        self._report = report
        self._limits = limits
        self._bar = tqdm(unit="B", unit_scale=True, file=sys.stderr) if bar else None
        self._window_began = self._reported_at = time.monotonic()
        self._window_bytes = 0

    def add(self, count: int) -> None:
        self.received += count
        self._window_bytes += count
        now = time.monotonic()
        if (seconds := now - self._window_began) > self._limits.stall_timeout:
            if self._window_bytes < self._limits.min_rate * seconds:
                raise _TransientFailure(f"only {self._window_bytes} bytes arrived in {seconds:.0f} s")
            self._window_began, self._window_bytes = now, 0
        if self._bar is not None:
            self._bar.total = self.total
            self._bar.update(count)
        elif now - self._reported_at > self._limits.report_interval:
            self._reported_at = now
            self._report(f"downloaded {self.received / 1e6:.0f} of {self.total / 1e6:.0f} MB")

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()


def _verify(part: Path, url: str, md5: str | None) -> None:
    with part.open("rb") as file:
        if file.read(512).lstrip()[:1] in {b"<", b""}:
            raise WeightsUnavailable(f"{url} answered with a web page or nothing instead of a checkpoint")
        if md5 is None:
            return
        file.seek(0)
        found = hashlib.file_digest(file, "md5").hexdigest()
    if found != md5:
        raise WeightsUnavailable(f"the file from {url} has the MD5 {found}; upstream publishes {md5}")


def _check_name_resolves(url: str, timeout: float) -> None:
    """Look up the server's name in a thread: the resolver has no timeout of its own and may take half a minute."""
    if requests.utils.select_proxy(url, requests.utils.get_environ_proxies(url)):
        return  # the proxy looks the name up
    failure: list[OSError] = []

    def look_up() -> None:
        try:
            socket.getaddrinfo(_host(url), None)
        except OSError as error:
            failure.append(error)

    thread = threading.Thread(target=look_up, name="resolve", daemon=True)
    thread.start()
    thread.join(timeout)
    if failure or thread.is_alive():
        reason = failure[0].strerror if failure else f"no answer within {timeout:g} s"
        raise WeightsUnavailable(f"the name {_host(url)} cannot be looked up: {reason}")


def _host(url: str) -> str:
    return urlsplit(url).hostname or url


def _system_error(error: BaseException) -> str:
    """The operating system's message, which HTTP libraries wrap several times; without one, the exception's name."""
    message, cause = type(error).__name__, error.__context__
    while cause is not None:
        message = getattr(cause, "strerror", None) or message
        cause = cause.__context__
    return message


def _explain_disk_error(error: OSError, path: Path) -> str:
    reason = error.strerror or type(error).__name__
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        advice = "Set TRANSPARENT_BACKGROUND_FILE_PATH to a directory that can be written"
    elif error.errno in {errno.ENOSPC, errno.EDQUOT}:
        advice = "Make room for a file of about 400 MB"
    else:
        advice = "Check that directory"
    return f"cannot write {path}: {reason}. {advice}"

"""Fetch one file over HTTP: whole, verified and in its place, or an explanation; never half a file, never for ever."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import requests
from tqdm import tqdm

from service.engines.protocol import WeightsUnavailable

CONNECT_TIMEOUT = 4.0
"""Seconds to find and reach the server: a service without a network must learn so quickly."""

STALL_TIMEOUT = 20.0
"""Seconds in which at least :data:`LEAST_RATE` must arrive."""

LEAST_RATE = 1024
"""Bytes a second, on average over the stall timeout; a connection slower than that is as good as dead."""

ATTEMPTS = 3
RETRY_PAUSE = 1.0
"""Seconds before the second attempt; doubled for each further one."""

REPORT_INTERVAL = 5.0
_CHUNK = 16384

Say = Callable[[str], None]


class _Transient(Exception):
    """An attempt failed in a way that another attempt may mend."""


def download(
    url: str,
    path: Path,
    *,
    md5: str | None,
    progress: bool,
    say: Say,
    connect_timeout: float = CONNECT_TIMEOUT,
    stall_timeout: float = STALL_TIMEOUT,
    retry_pause: float = RETRY_PAUSE,
) -> None:
    """Download ``url``, verify it, and move it to ``path`` in one step, replacing what is there.

    A server that cannot be reached is not tried again (whoever called may); one that answers and then fails is.

    Args:
        url: http or https.
        path: its directory is made if it is missing.
        md5: hexadecimal; None if none is published.
        progress: draw a bar on standard error.
        say: told now and then how far it has come.
        connect_timeout: seconds, for the name and for the connection.
        stall_timeout: seconds without (enough) data.
        retry_pause: seconds before the second attempt.

    Raises:
        WeightsUnavailable: what went wrong, in words.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _resolve(url, connect_timeout)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                say(f"downloading {url}")
                meter = _Meter(say, bar=progress, stall_timeout=stall_timeout)
                _attempt(url, part, meter, timeouts=(connect_timeout, stall_timeout))
                break
            except _Transient as error:
                if attempt == ATTEMPTS:
                    raise WeightsUnavailable(f"{error}, {ATTEMPTS} times in a row ({url})") from error
                pause = retry_pause * 2 ** (attempt - 1)
                say(f"{error}; trying again in {pause:g} s")
                time.sleep(pause)
        _verify(part, url, md5)
        os.replace(part, path)
    except OSError as error:
        raise WeightsUnavailable(_explain_disk(error, path)) from error
    finally:
        _remove(part)


def _attempt(url: str, part: Path, meter: _Meter, *, timeouts: tuple[float, float]) -> None:
    try:
        with (
            requests.get(
                url, stream=True, timeout=timeouts, headers={"Accept-Encoding": "identity"}
            ) as response,
            part.open("wb") as file,
            meter,
        ):
            if response.status_code != requests.codes.ok:
                message = f"the server answered {response.status_code} {response.reason}"
                if response.status_code >= 500 or response.status_code == 429:
                    raise _Transient(message)
                raise WeightsUnavailable(f"{message} ({url})")
            meter.total = int(response.headers.get("Content-Length", 0))
            for chunk in response.iter_content(_CHUNK):
                file.write(chunk)
                meter.add(len(chunk))
    except requests.ConnectTimeout as error:
        raise WeightsUnavailable(f"{_host(url)} did not answer within {timeouts[0]:g} s") from error
    except requests.ReadTimeout as error:
        raise _Transient(f"nothing arrived for {timeouts[1]:g} s") from error
    except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
        if meter.total:
            raise _Transient(f"the connection broke after {meter.received} of {meter.total} bytes") from error
        raise WeightsUnavailable(f"{_host(url)} cannot be reached: {_system_error(error)}") from error
    except requests.RequestException as error:
        raise WeightsUnavailable(f"{url} cannot be fetched: {_system_error(error)}") from error


class _Meter:
    """Counts what arrives, shows it, and raises when it is too little; a context manager for the sake of its bar."""

    def __init__(self, say: Say, *, bar: bool, stall_timeout: float) -> None:
        self.total = 0
        self.received = 0
        self._say = say
        self._bar = tqdm(unit="B", unit_scale=True, file=sys.stderr) if bar else None
        self._stall_timeout = stall_timeout
        self._window_began = self._reported = time.monotonic()
        self._window_bytes = 0

    def add(self, count: int) -> None:
        self.received += count
        self._window_bytes += count
        now = time.monotonic()
        if now - self._window_began > self._stall_timeout:
            if self._window_bytes < LEAST_RATE * (now - self._window_began):
                raise _Transient(f"too little arrived in {now - self._window_began:.0f} s")
            self._window_began, self._window_bytes = now, 0
        if self._bar is not None:
            self._bar.total = self.total
            self._bar.update(count)
        elif now - self._reported > REPORT_INTERVAL:
            self._reported = now
            self._say(f"downloaded {self.received / 1e6:.0f} of {self.total / 1e6:.0f} MB")

    def __enter__(self) -> _Meter:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()


def _verify(part: Path, url: str, md5: str | None) -> None:
    with part.open("rb") as file:
        if file.read(512).lstrip()[:1] in {b"<", b""}:
            raise WeightsUnavailable(f"{url} answered with a web page or nothing instead of a checkpoint")
        file.seek(0)
        found = hashlib.file_digest(file, "md5").hexdigest()
    if md5 is not None and found != md5:
        raise WeightsUnavailable(f"what {url} sent has the MD5 {found}; upstream publishes {md5}")


def _resolve(url: str, timeout: float) -> None:
    """Look the server's name up, bounded: the resolver has no timeout of its own and may take half a minute."""
    if requests.utils.select_proxy(url, requests.utils.get_environ_proxies(url)):
        return  # the proxy looks it up
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
    """The operating system's own words, from under the layers of an HTTP library; else the library's name for it."""
    words, layer = type(error).__name__, error.__context__
    while layer is not None:
        words = getattr(layer, "strerror", None) or words
        layer = layer.__context__
    return words


def _explain_disk(error: OSError, path: Path) -> str:
    reason = error.strerror or type(error).__name__
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        cure = "Set TRANSPARENT_BACKGROUND_FILE_PATH to a directory that can be written"
    elif error.errno in {errno.ENOSPC, errno.EDQUOT}:
        cure = "Make room for a file of about 400 MB"
    else:
        cure = "Look at that directory"
    return f"cannot write {path}: {reason}. {cure}"


def _remove(part: Path) -> None:
    with contextlib.suppress(OSError):  # the failure that kept it from being written is the one to tell
        part.unlink(missing_ok=True)

"""API keys: who may send pictures.

The handlers that need a key call ``ApiKeys.check`` before they take a place. Several keys are valid at a time, and a
file of keys can change without a restart. Comparisons must take constant time, and no key may be logged.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import structlog
from aiohttp import web

from service.errors import Unauthorized, Unavailable
from service.http.beside_loop import run_beside_loop

_log = structlog.get_logger("keys")


class ApiKeys:
    """The keys that are valid now.

    Args:
        keys: from the settings; they stay valid as long as the process runs.
        file: one key a line, ``#`` begins a comment; read again for each request.

    Without keys and without a file, no key is needed. If the file cannot be read, its keys are not valid: the service
    must never be open by accident.
    """

    def __init__(self, keys: Iterable[str], file: Path | None) -> None:
        self._fixed = frozenset(map(_digest, keys))
        self._file = file
        self._from_file: frozenset[bytes] | None = frozenset()
        self._file_digest = b""

    async def check(self, request: web.BaseRequest) -> bytes | None:
        """Do nothing if the request has a valid key, or needs none.

        Returns:
            The key's digest, by which requests with the same key are known; None if no key is needed.

        Raises:
            Unauthorized: the key is missing or wrong.
            Unavailable: the file of keys cannot be read, and there are no other keys.
        """
        if not self._fixed and self._file is None:
            return None
        if self._file is not None:
            await run_beside_loop(partial(self._refresh, self._file))
            if self._from_file is None and not self._fixed:
                raise Unavailable(
                    "The service cannot read its file of API keys. Try again later.", retry_after=5
                )
        sent = _sent_key(request)
        if sent is None:
            raise _unauthorized("An API key is needed. Send it as X-Api-Key or as Authorization: Bearer.")
        digest = _digest(sent)
        # Compare every key, so that the time taken does not say which one nearly matched.
        matches = [hmac.compare_digest(digest, key) for key in self._fixed | (self._from_file or frozenset())]
        if not any(matches):
            raise _unauthorized("The API key is not valid.")
        return digest

    def _refresh(self, file: Path) -> None:
        """Read the file each time: a time stamp can miss a change, and a revoked key must not stay valid."""
        try:
            text = file.read_text(encoding="utf-8-sig")  # some editors write a byte order mark
        except (OSError, UnicodeDecodeError) as error:
            if self._from_file is not None:
                _log.error(
                    "the file of API keys cannot be read: its keys are not valid until it can",
                    error=type(error).__name__,
                )
            self._from_file, self._file_digest = None, b""
            return
        if (digest := _digest(text)) == self._file_digest:
            return
        lines = (line.partition("#")[0].strip() for line in text.splitlines())
        self._from_file, self._file_digest = frozenset(_digest(line) for line in lines if line), digest
        _log.info("read the file of API keys", keys=len(self._from_file))


def _digest(key: str) -> bytes:
    """A key of any length -> 32 bytes, so that all comparisons are of equal length."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def _sent_key(request: web.BaseRequest) -> str | None:
    if (key := request.headers.get("X-Api-Key")) is not None:
        return key.strip()
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _unauthorized(message: str) -> Unauthorized:
    return Unauthorized(message, headers={"WWW-Authenticate": 'Bearer realm="inspyrenet"'})

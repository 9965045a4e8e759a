"""API keys: several at a time, compared in constant time, rotated through a file without a restart."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Iterable
from pathlib import Path

import structlog
from aiohttp import web

from service.errors import Unauthorized, Unavailable

_log = structlog.get_logger("keys")


class KeyRing:
    """The keys that open ``/process``.

    Args:
        keys: from the settings; fixed for the life of the process.
        file: one key a line, ``#`` begins a comment; read again when it changes.

    With neither, the service is open. With a file that cannot be read, it is shut: never open by accident.
    """

    def __init__(self, keys: Iterable[str], file: Path | None) -> None:
        self._fixed = frozenset(map(_digest, keys))
        self._file = file
        self._from_file: frozenset[bytes] | None = frozenset()
        self._seen = b""

    @property
    def required(self) -> bool:
        """Whether a key is needed at all."""
        return bool(self._fixed) or self._file is not None

    async def check(self, request: web.BaseRequest) -> None:
        """Let the request pass or raise.

        Raises:
            Unauthorized: the key is missing or wrong.
            Unavailable: the file of keys cannot be read.
        """
        if not self.required:
            return
        if self._file is not None:
            await asyncio.to_thread(self._refresh, self._file)
            if self._from_file is None and not self._fixed:
                raise Unavailable("The keys cannot be read just now.", retry_after=5)
        offered = _offered(request)
        if offered is None:
            raise _unauthorized("An API key is needed: send it as X-Api-Key or as Authorization: Bearer.")
        digest = _digest(offered)
        # Every key is compared, so that the time taken says nothing about which one nearly matched.
        matches = [hmac.compare_digest(digest, key) for key in self._fixed | (self._from_file or frozenset())]
        if not any(matches):
            raise _unauthorized("The API key is wrong.")

    def _refresh(self, file: Path) -> None:
        """Read the file each time: a time stamp can miss a change, and a revoked key must not open anything."""
        try:
            text = file.read_text(encoding="utf-8-sig")  # some editors write a byte order mark
        except (OSError, UnicodeDecodeError) as error:
            if self._from_file is not None:
                _log.error(
                    "the file of API keys cannot be read: its keys no longer open anything",
                    error=type(error).__name__,
                )
            self._from_file, self._seen = None, b""
            return
        if (seen := _digest(text)) == self._seen:
            return
        lines = (line.partition("#")[0].strip() for line in text.splitlines())
        self._from_file, self._seen = frozenset(_digest(line) for line in lines if line), seen
        _log.info("read the file of API keys", keys=len(self._from_file))


def _digest(key: str) -> bytes:
    """Equal lengths for the comparison, whatever is offered."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def _offered(request: web.BaseRequest) -> str | None:
    if (key := request.headers.get("X-Api-Key")) is not None:
        return key.strip()
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _unauthorized(message: str) -> Unauthorized:
    return Unauthorized(message, headers={"WWW-Authenticate": 'Bearer realm="inspyrenet"'})

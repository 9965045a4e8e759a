"""Pictures and results on object stores, such as ``s3://bucket/photos``: every scheme that fsspec has a package for.

``sources`` lists them, ``tasks`` reads them, ``remote_folder`` writes them. fsspec and the package of a scheme are
imported when an address is used. Every failure must leave this module as an ``OSError``, because that is what callers
expect of files.
"""

from __future__ import annotations

import errno
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePath, PurePosixPath
from typing import Any, TypeVar

from service.batch.ledger import Stamp

T = TypeVar("T")

INSTALL = ".venv/bin/pip install --constraint constraints.txt '.[ray]'"

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://.", re.IGNORECASE)
_TIMES = ("LastModified", "mtime", "updated", "last_modified", "created")
"""Where the packages of fsspec say when an object was changed last."""


@dataclass(frozen=True, slots=True)
class Address:
    """The address of an object, or of all objects below it."""

    text: str

    def __str__(self) -> str:
        return self.text

    def __truediv__(self, below: str | PurePath) -> Address:
        return Address(f"{self.text.rstrip('/')}/{PurePosixPath(below)}")

    @property
    def name(self) -> str:
        """What follows the last slash."""
        return self.text.rstrip("/").rpartition("/")[2]

    @property
    def prefix(self) -> str:
        """What comes before the path: the scheme and its slashes, two or three."""
        scheme, _, rest = self.text.partition("://")
        return f"{scheme}:///" if rest.startswith("/") else f"{scheme}://"


@dataclass(frozen=True, slots=True)
class Listed:
    """An object that was found."""

    address: Address
    below: PurePosixPath
    """Its place below the address that was listed; the name alone if it was named itself."""
    stamp: Stamp
    named: bool
    """Whether it was named itself, or by a pattern."""


def is_address(text: str) -> bool:
    """Whether this names something on an object store, and not a file of this machine."""
    return _ADDRESS.match(text) is not None


class ObjectStore:
    """The store that an address leads to.

    Raises:
        OSError: its package is missing, or it cannot be opened.
    """

    def __init__(self, address: Address) -> None:
        for library in ("aiobotocore", "botocore"):  # they say where they found keys
            logging.getLogger(library).setLevel(logging.WARNING)
        with _as_os_errors(address):
            from fsspec.core import url_to_fs  # noqa: PLC0415 - only if an address is used

            self._fs, self._path = url_to_fs(address.text)

    def list(self, address: Address) -> Iterator[Listed]:
        """Every object that an address, or a pattern with ``*``, names; in a folder, those below it, by name.

        Raises:
            OSError: there is nothing, or the store cannot be asked.
        """
        with _as_os_errors(address):
            path = self._path_of(address)
            if "*" in path:
                found: Mapping[str, Mapping[str, Any]] = self._fs.glob(path, detail=True)
                root = ""
            elif self._fs.isfile(path):
                found, root = {path: self._fs.info(path)}, ""
            else:
                self._fs.invalidate_cache(path)
                found, root = self._fs.find(path, detail=True), path.rstrip("/") + "/"
        for name, info in sorted(found.items()):
            if info.get("type", "file") == "file" and not name.endswith("/"):
                below = name.removeprefix(root) if root else name.rpartition("/")[2]
                found_at = Address(f"{address.prefix}{name.lstrip('/')}")
                yield Listed(found_at, PurePosixPath(below), _stamp(info), named=not root)

    def read(self, address: Address, *, most: int) -> bytes:
        """At most so many bytes of an object.

        Raises:
            OSError: it cannot be read.
        """
        return self._call(address, lambda path: bytes(self._fs.cat_file(path, start=0, end=most)))

    def read_whole(self, address: Address) -> bytes:
        """All bytes of an object.

        Raises:
            OSError: it cannot be read.
        """
        return self._call(address, lambda path: bytes(self._fs.cat_file(path)))

    def write(self, address: Address, data: bytes) -> None:
        """Write an object. It appears whole or not at all.

        Raises:
            OSError: it cannot be written.
        """
        self._call(address, lambda path: self._fs.pipe_file(path, data))

    def remove(self, address: Address) -> None:
        """Remove an object.

        Raises:
            OSError: it cannot be removed.
        """
        self._call(address, self._fs.rm_file)

    def bytes_of(self, address: Address) -> int | None:
        """The size of an object; None if there is none.

        Raises:
            OSError: the store cannot be asked.
        """
        try:
            self._fs.invalidate_cache(self._path_of(address).rpartition("/")[0])
            return int(self._call(address, self._fs.info)["size"])
        except FileNotFoundError:
            return None

    def _call(self, address: Address, fn: Callable[[str], T]) -> T:
        with _as_os_errors(address):
            return fn(self._path_of(address))

    def _path_of(self, address: Address) -> str:
        return str(self._fs._strip_protocol(address.text))


def _stamp(info: Mapping[str, Any]) -> Stamp:
    changed = next((value for key in _TIMES if (value := info.get(key)) is not None), 0)
    if isinstance(changed, str):
        changed = datetime.fromisoformat(changed)
    seconds = changed.timestamp() if isinstance(changed, datetime) else float(changed)
    return Stamp(int(info["size"]), int(seconds * 1e9))


@contextmanager
def _as_os_errors(address: Address) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.strerror:
            raise
        raise type(error)(error.errno or errno.EIO, _words(error)) from error
    except ImportError as error:
        scheme = address.text.partition("://")[0]
        raise OSError(
            errno.ENOPKG,
            f"{scheme}:// needs a package that is not installed: {INSTALL} brings those for s3 and gs",
        ) from error
    except Exception as error:
        raise OSError(errno.EIO, _words(error)) from error


def _words(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}{': ' if text else ''}{text}"[:300]

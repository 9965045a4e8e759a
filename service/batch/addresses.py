"""Pictures and results on object stores, such as ``s3://bucket/photos``: the schemes of ``SCHEMES``, by fsspec.

``sources`` lists them, ``tasks`` reads them, ``remote_folder`` writes them. fsspec and the package of a scheme are
imported when an address is used. Two things must stay true: every failure leaves this module as an ``OSError``, because
that is what callers expect of files, and no password leaves it (``redact``).
"""

from __future__ import annotations

import errno
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import PurePath, PurePosixPath
from typing import Any, TypeVar
from urllib.parse import unquote

from service.batch.ledger import Stamp

T = TypeVar("T")

INSTALL = ".venv/bin/pip install --constraint constraints.txt '.[ray]'"

SCHEMES = ("s3", "gs", "abfs", "az", "hdfs", "sftp", "memory")
"""Those that list and write, and whose addresses are a place and a path. http is none of them, and nor is ``file``:
see ``as_named``."""

_FOLDERS = ("hdfs", "sftp")
"""File systems: they have folders, which must be made, and may show a part of what is being written."""

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://.", re.IGNORECASE)
_PASSWORD = re.compile(r"(://)(?:[^/\s]*:[^/\s]*|[^/\s@:\[]*:(?!\d+/)\S*)@")
"""Up to the last ``@`` before a slash. If there is none, what follows a colon and is no port is a password with a slash
in it, up to the last ``@`` of all."""
_PARAMETERS = re.compile(r"(://[^\s?]*\?)[^\s?]*=[^\s'\"]*")
_VERSIONS = ("ETag", "generation", "etag", "LastModified", "mtime", "created")
"""Where the packages of fsspec say which version of an object this is: by its content, a number, or else the time that
the store has set. Versions are compared for equality alone, so no clock has to agree with another one."""


def redact(text: str) -> str:
    """A text without the passwords and parameters (such as tokens) of the addresses in it."""
    return _PARAMETERS.sub(r"\1***", _PASSWORD.sub(r"\1***@", text))


@dataclass(frozen=True, slots=True)
class Address:
    """The address of an object, or of all objects below it. ``str()`` gives it as people and the ledger may see it."""

    text: str = field(repr=False)
    """With the password, if it has one."""
    shown: str = ""

    def __post_init__(self) -> None:
        if not self.shown:
            object.__setattr__(self, "shown", redact(self.text))

    def __str__(self) -> str:
        return self.shown

    def __truediv__(self, below: str | PurePath) -> Address:
        return self._slashed() + str(PurePosixPath(below))

    def __add__(self, end: str) -> Address:
        return Address(self.text + end, self.shown + end)

    def _slashed(self) -> Address:
        return Address(self.text.rstrip("/") + "/", self.shown.rstrip("/") + "/")

    @property
    def name(self) -> str:
        """What follows the last slash."""
        return self.shown.rstrip("/").rpartition("/")[2]

    def folder(self) -> Address:
        """What its objects are below, with a slash at its end; of a pattern, what stands before the pattern."""
        star = self.text.find("*")
        if star < 0:
            return self._slashed()
        text = self.text[: self.text.rindex("/", 0, star) + 1]
        return Address(text)


@dataclass(frozen=True, slots=True)
class Listed:
    """An object that was found."""

    address: Address
    below: PurePosixPath
    """Its place below the address that was listed, never absolute; the name alone if it was named itself."""
    stamp: Stamp
    named: bool
    """Whether it was named itself, or by a pattern."""


def as_named(text: str) -> str:
    """The path or address that a user has named; of a ``file://`` address, the path in it.

    So a folder of this machine has one name. By a second one its ledger would not be found.

    Raises:
        ValueError: it is neither; the message says what would be right.
    """
    scheme, _, rest = text.partition(":")
    scheme = scheme.lower()
    if scheme == "file" and rest.startswith("/"):
        if rest.startswith("//") and not rest.startswith("///"):
            raise ValueError(f"{text}: file:// stands before an absolute path, as in file:///mnt/photos.")
        return "/" + rest.lstrip("/")
    if scheme in SCHEMES and rest.startswith("/") and not rest.startswith("//"):
        raise ValueError(f"An address has two slashes: {scheme}:/{rest}")  # redact looks for both
    return text


def is_address(text: str) -> bool:
    """Whether this names something on an object store, and not a file of this machine."""
    return _ADDRESS.match(text) is not None


class ObjectStore:
    """The store that an address leads to.

    Raises:
        OSError: its scheme is not known, its package is missing, or it cannot be opened.
    """

    def __init__(self, address: Address) -> None:
        _check(address)
        for library in ("aiobotocore", "botocore"):  # they say where they found keys
            logging.getLogger(library).setLevel(logging.WARNING)
        with _as_os_errors(address):
            from fsspec.core import url_to_fs  # noqa: PLC0415 - only if an address is used

            self._fs, _ = url_to_fs(address.text.partition("::")[0])  # :: in a name is no chain of stores

    def find(self, address: Address) -> Iterator[Listed]:
        """Every object that an address, or a pattern with ``*``, names now; in a folder, those below it, by name.

        Raises:
            OSError: the store cannot be asked, or names objects that do not lie below the address.
        """
        folder = address.folder()
        with _as_os_errors(address):
            path, root = self._path_of(address), self._path_of(folder).rstrip("/")
            pattern = "*" in path
            self._fs.invalidate_cache()  # of listings; a pattern goes through many of them
            if not pattern and self._fs.isfile(path):
                found: Mapping[str, Mapping[str, Any]] = {path: self._fs.info(path)}
                folder, root, named = address, path, True
            elif pattern:
                found, named = self._fs.glob(path, detail=True), True
            else:
                found, named = self._fs.find(path, detail=True), False
        for name, info in sorted(found.items()):
            if info.get("type", "file") != "file" or name.endswith("/"):
                continue
            below = name.removeprefix(root).removeprefix("/")
            at = folder + below  # what stands before it, such as the host, is in no name
            if not name.startswith(root) or self._path_of(at) != name:
                raise OSError(errno.EINVAL, f"The store names {redact(name)}, which is not below the address")
            place = PurePosixPath(at.name if named else below.lstrip("/"))  # a name may have slashes in a row
            yield Listed(at, place, _stamp(info), named=named)

    def read(self, address: Address, *, most: int) -> bytes:
        """At most so many bytes of an object.

        Raises:
            OSError: it cannot be read.
        """
        return self._call(address, lambda path: bytes(self._fs.cat_file(path, start=0, end=most)))

    def read_all(self, addresses: Sequence[Address]) -> list[bytes]:
        """All bytes of each of these objects, many at the same time where the package can do that.

        Raises:
            OSError: one cannot be read.
        """
        if not addresses:
            return []
        with _as_os_errors(addresses[0]):
            paths = [self._path_of(address) for address in addresses]
            data = self._fs.cat(paths)
            return [bytes(data[path]) for path in paths]

    def write(self, address: Address, data: bytes) -> None:
        """Write an object. Stores show it whole or not at all; file systems may not.

        Raises:
            OSError: it cannot be written, or the answer was lost after it was.
        """

        def write_at(path: str) -> None:
            try:
                self._fs.pipe_file(path, data)
            except FileNotFoundError:
                if (
                    _scheme(address) not in _FOLDERS
                ):  # there is no such bucket, and it is not for us to make one
                    raise
                self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)
                self._fs.pipe_file(path, data)

        self._call(address, write_at)

    def remove_all(self, addresses: Sequence[Address]) -> None:
        """Remove these objects, many with one request where the store can do that.

        Raises:
            OSError: one cannot be removed.
        """
        if not addresses:
            return
        with _as_os_errors(addresses[0]):
            paths = [self._path_of(address) for address in addresses]
            if _scheme(addresses[0]) not in _FOLDERS:
                self._fs.rm(paths)
                return
            for path in paths:  # that of hdfs takes no list
                self._fs.rm_file(path)

    def stamp_of(self, address: Address) -> Stamp | None:
        """The stamp of an object as it is now; None if there is none.

        Raises:
            OSError: the store cannot be asked.
        """
        try:
            self._fs.invalidate_cache(self._path_of(address).rpartition("/")[0])
            return _stamp(self._call(address, self._fs.info))
        except FileNotFoundError:
            return None

    def _call(self, address: Address, fn: Callable[[str], T]) -> T:
        with _as_os_errors(address):
            return fn(self._path_of(address))

    def _path_of(self, address: Address) -> str:
        return str(self._fs._strip_protocol(address.text))


def exists(key: str) -> bool:
    """Whether there is something at this path or address, as the ledger has it.

    Raises:
        OSError: the store cannot be asked.
    """
    if not is_address(key):
        return os.path.lexists(key)
    if "://***@" in key:
        return True  # nobody can ask without the password, and what is in doubt is not replaced
    address = Address(key)
    return ObjectStore(address).stamp_of(address) is not None


def _scheme(address: Address) -> str:
    return address.text.partition("://")[0]


def _check(address: Address) -> None:
    """Refuse what would lead elsewhere than its text says."""
    scheme = _scheme(address)
    if scheme not in SCHEMES:
        others = ", ".join(f"{each}://" for each in SCHEMES)
        raise OSError(errno.EINVAL, f"{scheme}:// is not supported. Those that are: {others}")
    password = _PASSWORD.match(address.text, address.text.find("://"))
    if password and "/" in password[0].removeprefix("://"):
        raise OSError(errno.EINVAL, "A / in a password is written %2F, or the address ends there")
    if "?***" in address.shown:  # as it was written; names that were found may have a question mark
        raise OSError(
            errno.EINVAL, "An address takes no parameters (?name=value). Keys belong in the environment"
        )


def _stamp(info: Mapping[str, Any]) -> Stamp:
    version = next((value for key in _VERSIONS if (value := info.get(key)) is not None), "")
    if isinstance(version, datetime):  # packages describe the same time in several ways
        version = version.timestamp()
    if isinstance(version, float):
        version = f"{version:.6f}"
    return Stamp(int(info["size"]), version=str(version).strip('"'))


@contextmanager
def _as_os_errors(address: Address) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        words = error.strerror if error.errno is not None and error.strerror else _words(error)
        raise type(error)(error.errno or errno.EIO, _without_password(words, address)) from error
    except ImportError as error:
        raise OSError(
            errno.ENOPKG,
            f"{_scheme(address)}:// needs a package that is not installed ({_words(error)}). {INSTALL} brings those "
            "for s3 and gs",
        ) from error
    except Exception as error:
        raise OSError(errno.EIO, _without_password(_words(error), address)) from error


def _words(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}{': ' if text else ''}{text}"


def _without_password(words: str, address: Address) -> str:
    """What a package says, which may hold its password or an address with a signature."""
    if found := _PASSWORD.search(address.text):
        password = found[0].partition("://")[2].partition(":")[2].removesuffix("@")
        for secret in filter(None, (password, unquote(password))):
            words = words.replace(secret, "***")
    return redact(words)[:300]

"""Opens the socket that the service listens on: a TCP port, or a socket file of this machine.

``server`` opens it before anything large is imported, hands it to ``Listener``, and closes it at the end. The file of a
UNIX socket goes with it. A file is removed only if it is the socket's own, or a socket at which nobody listens.

Several services may start at one path, and one may start while another ends. So whatever looks at the file and then
changes it holds a lock on the directory: between the two, no other service changes it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from service.environment_variables import UNIX_SOCKET

BACKLOG = 512

LOCK_SECONDS = 2.0
"""A service holds the lock for milliseconds; whoever may read the directory could hold it for ever."""

SOCKET_FILE_MODE = 0o660
"""The owner and the group may connect: a proxy of another user joins the group."""


def listen(host: str, port: int) -> socket.socket:
    """A listening socket: from here on connections wait, whatever is still to be imported.

    Args:
        host: an address or name of this machine, or ``unix:`` and the path of a socket file.
        port: of TCP; 0 for any that is free.

    Raises:
        OSError: the address is taken, or not this machine's, or the file cannot be created.
        UnicodeError: no host can have this name.
    """
    if host.startswith(UNIX_SOCKET):
        return _listen_at_file(host.removeprefix(UNIX_SOCKET))
    family, kind, proto, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, proto)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.settimeout(0)
    except OSError:
        listener.close()
        raise
    return listener


def address_of(listener: socket.socket) -> str:
    """Where clients reach it, as ``./inspyrenet check --url`` takes it; with the port that was chosen for port 0."""
    if listener.family == socket.AF_UNIX:
        return f"{UNIX_SOCKET}{listener.getsockname()}"
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def advice(error: OSError | UnicodeError) -> str:
    """What to do about an error of ``listen``."""
    if isinstance(error, socket.gaierror | UnicodeError) or error.errno == errno.EADDRNOTAVAIL:
        return "INSPYRENET_HOST must be an address of this machine; 0.0.0.0 is every IPv4 address, :: is every address"
    if error.errno == errno.EADDRINUSE:
        return "stop the program that listens there, or choose another port with --port or INSPYRENET_PORT"
    return "choose an address that this user may listen on: a port above 1023, or a socket in a directory of its own"


class _SocketAtFile(socket.socket):
    """A UNIX socket that removes its file when it is closed, unless another one has this name by then."""

    def __init__(self, path: str) -> None:
        super().__init__(socket.AF_UNIX, socket.SOCK_STREAM)
        self._path = path
        self._file: tuple[int, int] | None = None

    def bind_to_file(self) -> None:
        """Create the file; only its owner and its group may connect, from the first moment on."""
        mask = os.umask(0o777 & ~SOCKET_FILE_MODE)
        try:
            self.bind(self._path)
        finally:
            os.umask(mask)
        self._file = _identity(self._path)

    def close(self) -> None:
        """Also removes the file, unless another process holds the directory's lock: then the next start removes it."""
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError), _locked_directory(self._path):
                if _identity(self._path) == file:
                    os.unlink(self._path)
        super().close()


def _identity(path: str) -> tuple[int, int]:
    """Device and inode: two files never have the same ones at the same time, whatever their names."""
    found = os.lstat(path)
    return found.st_dev, found.st_ino


@contextmanager
def _locked_directory(path: str) -> Iterator[None]:
    """No other service looks at, makes or removes a socket file in this directory meanwhile.

    Raises:
        OSError: the directory cannot be opened, or another process holds the lock for longer than ``LOCK_SECONDS``.
    """
    directory = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        give_up = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() >= give_up:
                    raise OSError(errno.EAGAIN, "another process holds a lock on its directory") from error
            time.sleep(0.02)
        yield
    finally:
        os.close(directory)


def _listen_at_file(path: str) -> socket.socket:
    listener = _SocketAtFile(path)
    try:
        # Locked until it listens: a socket that does not looks as if it were left behind.
        with _locked_directory(path):
            _remove_unused(path)
            listener.bind_to_file()
            listener.listen(BACKLOG)
        listener.settimeout(0)
    except OSError:
        listener.close()
        raise
    return listener


def _remove_unused(path: str) -> None:
    """Remove a socket file that an earlier process has left; the directory is locked.

    Raises:
        OSError: somebody listens there, or it is no socket.
    """
    try:
        is_socket = stat.S_ISSOCK(os.lstat(path).st_mode)
    except FileNotFoundError:
        return
    if not is_socket:
        raise OSError(errno.EEXIST, "there is a file of this name that is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as visitor:
        visitor.settimeout(0)
        try:
            visitor.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except BlockingIOError:  # so many wait there that it takes no more
            pass
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))

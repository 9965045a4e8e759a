"""Opens the socket that the service listens on: a TCP port, or a socket file of this machine.

``server`` opens it before anything large is imported, hands it to ``Listener``, and removes the file of a UNIX socket
at the end. A file is removed only if it is a socket at which nobody listens.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from contextlib import suppress

from service.environment_variables import UNIX_SOCKET

BACKLOG = 512

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
    except OSError:
        listener.close()
        raise
    return _listening(listener)


def address_of(listener: socket.socket) -> str:
    """Where clients reach it, as ``./inspyrenet check --url`` takes it; with the port that was chosen for port 0."""
    if listener.family == socket.AF_UNIX:
        return f"{UNIX_SOCKET}{listener.getsockname()}"
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def remove_socket_file(host: str) -> None:
    """Remove the file of a UNIX socket that is closed, unless another process listens there now.

    Args:
        host: as for ``listen``.
    """
    if host.startswith(UNIX_SOCKET):
        with suppress(OSError):
            _remove_unused(host.removeprefix(UNIX_SOCKET))


def advice(error: OSError | UnicodeError) -> str:
    """What to do about an error of ``listen``."""
    if isinstance(error, socket.gaierror | UnicodeError) or error.errno == errno.EADDRNOTAVAIL:
        return "INSPYRENET_HOST must be an address of this machine; 0.0.0.0 is every IPv4 address, :: is every address"
    if error.errno == errno.EADDRINUSE:
        return "stop the program that listens there, or choose another port with --port or INSPYRENET_PORT"
    return "choose an address that this user may listen on: a port above 1023, or a socket in a directory of its own"


def _listening(listener: socket.socket) -> socket.socket:
    try:
        listener.listen(BACKLOG)
        listener.setblocking(False)  # noqa: FBT003 - the library's own signature
    except OSError:
        listener.close()
        raise
    return listener


def _listen_at_file(path: str) -> socket.socket:
    _remove_unused(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o777 & ~SOCKET_FILE_MODE)  # nobody else may connect even for a moment
    try:
        listener.bind(path)
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(mask)
    return _listening(listener)


def _remove_unused(path: str) -> None:
    """Remove a socket file that an earlier process has left.

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
        visitor.setblocking(False)  # noqa: FBT003 - the library's own signature
        try:
            visitor.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except BlockingIOError:  # so many wait there that it takes no more
            pass
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))

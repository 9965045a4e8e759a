"""How the commands ``check`` and ``probe`` reach a service: at an http address, or at a UNIX socket.

Both commands must start at once, so this may import only the standard library.
"""

from __future__ import annotations

import http.client
import socket
import urllib.request
from functools import partial
from typing import Any

from service.environment_variables import UNIX_SOCKET


def locate(base: str, path: str) -> tuple[str, list[urllib.request.BaseHandler]]:
    """The URL of a path of a service, and what an opener needs to open it.

    Args:
        base: the service's address: ``http://...``, ``https://...``, or ``unix:`` and the path of its
            socket; without a slash at its end.
        path: begins with a slash.
    """
    if base.startswith(UNIX_SOCKET):
        return f"http://localhost{path}", [_UnixHandler(base.removeprefix(UNIX_SOCKET))]
    return base + path, []


class _UnixHandler(urllib.request.HTTPHandler):
    def __init__(self, socket_file: str) -> None:
        super().__init__()
        self._socket_file = socket_file

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        connection: Any = partial(_UnixConnection, socket_file=self._socket_file)
        return self.do_open(connection, req)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, host: str, *, socket_file: str, timeout: float) -> None:
        super().__init__(host, timeout=timeout)
        self._socket_file = socket_file

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._socket_file)

"""One client's connection: the layer between its socket and aiohttp's HTTP protocol.

``listener`` puts one in front of each of aiohttp's protocols; ``middleware`` tells it when a request begins and when
its answer does. It adds what aiohttp lacks, for every route and for requests that are not even HTTP:

* An end that the client can see. Whatever the client is still sending is read and thrown away for a while, because a
  socket that is closed with unread bytes destroys the answer on its way.
* Half-closed connections. A client may say that it will send no more, and still wait for its answer.
* A body whose framing breaks after its request has begun is an error of that body at once, not a wait for more.

aiohttp sees ``ClientTransport``, and asyncio sees ``ClientConnection``. Nothing here may wait, and every state in which
a connection is kept open must end by itself.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable
from typing import Any, cast

from aiohttp import StreamReader, web

LINGER_IDLE_SECONDS = 2.0
"""After the last answer, a client that sends nothing for so long is cut off."""

LINGER_SECONDS = 30.0
"""So long may a client go on sending after the last answer; the time that a body may take by default."""

LINGER_BYTES = 32 * 1024 * 1024
"""So much may it send; a bit more than the largest body by default."""

FIRST_LOOK_SECONDS = 0.01
LONGEST_LOOK_SECONDS = 1.0
"""The first and the longest pause between two looks at a connection on which the client will send no more."""

ANSWER_BEGINS = b"HTTP/1."
"""Every answer begins with these bytes, whatever its version and status."""


class ClientConnection(asyncio.Protocol):
    """Passes everything between asyncio's transport and aiohttp's protocol.

    Args:
        inner: aiohttp's protocol.
        on_end: called once, when the connection is gone.
        loop: gives the time and the timers; the running one if not given.
    """

    def __init__(
        self,
        inner: web.RequestHandler,
        *,
        on_end: Callable[[ClientConnection], None],
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._inner = inner
        self._on_end = on_end
        self._loop = loop or asyncio.get_running_loop()
        self._idle_since: float | None = self._loop.time()
        self._content: StreamReader | None = None  # the body of the request at hand
        self._answering = False
        self._sent_ahead = 0
        self._client_finished = False
        self._closing = False
        self._discarded = 0
        self._last_byte = 0.0
        self._timer: asyncio.TimerHandle | None = None

    # -- for the listener and the middleware ---------------------------------------------------------------------

    @property
    def idle_since(self) -> float | None:
        """The loop's time since which no request is at hand; None while there is one, and once the end has begun."""
        return None if self._closing else self._idle_since

    def drop(self) -> None:
        """Close the connection without reading on."""
        self._closing = True
        self._transport.close()

    def request_began(self, content: StreamReader) -> None:
        """A request is at hand; ``content`` is its body."""
        self._content, self._answering, self._idle_since = content, False, None
        self._check_framing()

    def answer_began(self) -> None:
        """From now on, bytes of the answer are written."""
        self._answering = True

    def request_ended(self) -> None:
        """Its answer is known; the rest of it is being written."""
        self._content, self._idle_since = None, self._loop.time()
        if self._client_finished:
            self._look_again(FIRST_LOOK_SECONDS)

    # -- asyncio's side ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The client is there."""
        self._transport = cast("asyncio.Transport", transport)
        self._inner.connection_made(cast("asyncio.Transport", ClientTransport(self, self._transport)))

    def data_received(self, data: bytes) -> None:
        """Bytes for aiohttp, or for nobody once the end has begun."""
        if self._closing:
            self._discard(len(data))
            return
        self._inner.data_received(data)
        self._check_framing()

    def eof_received(self) -> bool:
        """The client will send no more: it waits for its answer, or it has left.

        Returns:
            Whether the connection stays open.
        """
        if self._closing:
            return False
        self._client_finished = True
        self._look_again(FIRST_LOOK_SECONDS)
        return True

    def pause_writing(self) -> None:
        """The client reads more slowly than aiohttp writes."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """It has caught up."""
        self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is about to be closed."""
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
        self._inner.connection_lost(exc)
        self._on_end(self)

    # -- aiohttp's side, by way of the transport -----------------------------------------------------------------

    @property
    def is_closing(self) -> bool:
        """Whether the end has begun: nothing more can be written."""
        return self._closing or self._transport.is_closing()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write, without what was sent ahead."""
        if self._sent_ahead:
            data, self._sent_ahead = memoryview(data)[self._sent_ahead :], 0
        self._transport.write(data)

    def resume_reading(self) -> None:
        """aiohttp has parsed what it held back, and can take more."""
        self._transport.resume_reading()
        self._check_framing()

    def close(self) -> None:
        """Send what is still to be sent and the end, and read on until the client has seen it, within bounds."""
        if self.is_closing:
            return
        self._closing = True
        if self._client_finished:
            self._transport.close()
            return
        try:
            self._transport.write_eof()
        except OSError:  # the client is gone
            self._transport.abort()
            return
        self._transport.resume_reading()
        self._last_byte = self._loop.time()
        self._linger(self._last_byte + LINGER_SECONDS)

    # -- the rest of the class's work ----------------------------------------------------------------------------

    def _check_framing(self) -> None:
        """Fail the body at hand if its framing is broken.

        aiohttp then queues an error behind the request, which would wait for the rest of its body. Nothing else can be
        queued behind a body that is not complete.
        """
        content = self._content
        if content is not None and not content.is_eof() and self._inner._messages:
            content.set_exception(web.RequestPayloadError("the framing of the body is broken"))

    def _discard(self, size: int) -> None:
        self._last_byte = self._loop.time()
        self._discarded += size
        if self._discarded > LINGER_BYTES:
            self._transport.close()

    def _linger(self, end: float) -> None:
        now = self._loop.time()
        idle_end = self._last_byte + LINGER_IDLE_SECONDS
        if now >= min(end, idle_end):
            self._transport.close()
        else:
            self._timer = self._loop.call_at(min(end, idle_end), self._linger, end)

    def _look_again(self, pause: float, *, idle: bool = False) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(pause, self._look, pause, idle)

    def _look(self, pause: float, was_idle: bool) -> None:  # noqa: FBT001 - a callback
        """Look at a connection on which the client will send no more: is it waiting for an answer, or has it left?

        Both look alike until something is sent to it: a client that has left answers with a reset. So the bytes with
        which every answer begins are sent ahead.
        """
        if self.is_closing:
            return
        if self._socket_error():
            self._transport.abort()
            return
        content = self._content
        if content is None:
            idle = not self._transport.get_write_buffer_size()
            if idle and was_idle:  # twice, because the next of several requests may be about to begin
                self.drop()
                return
        elif not content.is_eof():
            self.drop()  # the rest of the body cannot come any more
            return
        else:
            idle = False
            if not self._answering and not self._sent_ahead:
                self._transport.write(ANSWER_BEGINS)
                self._sent_ahead = len(ANSWER_BEGINS)
        self._look_again(min(2 * pause, LONGEST_LOOK_SECONDS), idle=idle)

    def _socket_error(self) -> int:
        sock = self._transport.get_extra_info("socket")
        return int(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)) if sock is not None else 0


class ClientTransport:
    """The transport that aiohttp sees: asyncio's, but for what ``ClientConnection`` does itself."""

    def __init__(self, connection: ClientConnection, transport: asyncio.Transport) -> None:
        self.connection = connection
        self._transport = transport

    def is_closing(self) -> bool:
        """As ``ClientConnection.is_closing``."""
        return self.connection.is_closing

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """As ``ClientConnection.write``."""
        self.connection.write(data)

    def writelines(self, pieces: Iterable[bytes | bytearray | memoryview]) -> None:
        """Write the pieces, as one."""
        self.connection.write(b"".join(pieces))

    def resume_reading(self) -> None:
        """As ``ClientConnection.resume_reading``."""
        self.connection.resume_reading()

    def close(self) -> None:
        """As ``ClientConnection.close``."""
        self.connection.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


def connection_of(request: web.BaseRequest) -> ClientConnection | None:
    """The connection that a request came on; None in a test without one, or if the client has left."""
    transport: object = request.transport
    return transport.connection if isinstance(transport, ClientTransport) else None

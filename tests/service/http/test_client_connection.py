"""How a connection ends and how a client that has left is told from one that waits, on a fake loop."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from typing import Any, cast
from unittest import mock

import pytest
from aiohttp import StreamReader
from aiohttp.base_protocol import BaseProtocol
from hypothesis import given
from hypothesis import strategies as st

from service.http import client_connection as module
from service.http.client_connection import ANSWER_BEGINS, ClientConnection, ClientTransport


class Timer:
    """What a loop returns for a callback that it will call."""

    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class FakeLoop:
    """The part of an event loop that a connection uses; time passes only in ``advance``."""

    def __init__(self) -> None:
        self.now = 0.0
        self._timers: list[tuple[float, int, Timer, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[..., None], *args: object) -> Timer:
        handle = Timer()
        heapq.heappush(self._timers, (when, next(self._numbers), handle, lambda: callback(*args)))
        return handle

    def call_later(self, delay: float, callback: Callable[..., None], *args: object) -> Timer:
        return self.call_at(self.now + delay, callback, *args)

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while self._timers and self._timers[0][0] <= end:
            self.now, _, handle, callback = heapq.heappop(self._timers)
            if not handle.cancelled:
                callback()
        self.now = end


class World:
    """A connection between a fake transport and a fake protocol."""

    def __init__(self, transport: mock.NonCallableMock | None = None) -> None:
        self.loop = FakeLoop()
        self.ended: list[ClientConnection] = []
        self.inner = mock.Mock(_messages=[])
        self.connection = ClientConnection(
            self.inner, on_end=self.ended.append, loop=cast("asyncio.AbstractEventLoop", self.loop)
        )
        self.socket_error = 0
        self.transport = transport or mock.create_autospec(asyncio.Transport, instance=True)
        self.transport.is_closing.side_effect = lambda: self.closed
        self.transport.get_write_buffer_size.return_value = 0
        self.transport.get_extra_info.return_value.getsockopt.side_effect = lambda *_: self.socket_error
        self.connection.connection_made(self.transport)
        self.seen: ClientTransport = self.inner.connection_made.call_args.args[0]

    @property
    def closed(self) -> bool:
        return bool(self.transport.close.called or self.transport.abort.called)

    @property
    def written(self) -> bytes:
        return b"".join(bytes(call.args[0]) for call in self.transport.write.call_args_list)


@pytest.fixture
def world() -> World:
    return World()


def body(*, complete: bool) -> StreamReader:
    stream = StreamReader(mock.NonCallableMock(spec=BaseProtocol), 1 << 16, loop=mock.Mock())
    if complete:
        stream.feed_eof()
    return stream


def test_the_end_is_sent_at_once_and_what_still_comes_is_thrown_away(world: World) -> None:
    world.seen.close()
    world.transport.write_eof.assert_called_once_with()
    world.transport.resume_reading.assert_called_once_with()
    assert world.seen.is_closing()
    world.connection.data_received(b"more")
    world.inner.data_received.assert_not_called()
    assert not world.closed
    assert not world.connection.eof_received(), "asyncio closes the socket once the client has ended as well"


def test_a_client_that_is_silent_after_the_end_is_cut_off(world: World) -> None:
    world.seen.close()
    world.loop.advance(module.LINGER_IDLE_SECONDS - 0.1)
    assert not world.closed
    world.loop.advance(0.2)
    assert world.closed


def test_a_client_that_goes_on_sending_is_read_for_a_while(world: World) -> None:
    world.seen.close()
    for _ in range(int(module.LINGER_SECONDS) - 1):
        world.connection.data_received(b"x" * 1000)
        world.loop.advance(1)
    assert not world.closed
    world.loop.advance(1.5)
    assert world.closed


def test_a_client_that_sends_too_much_after_the_end_is_cut_off(world: World) -> None:
    world.seen.close()
    half = bytes(module.LINGER_BYTES // 2)
    world.connection.data_received(half)
    world.connection.data_received(half)
    assert not world.closed
    world.connection.data_received(b"x")
    assert world.closed


def test_a_client_that_is_gone_is_not_waited_for(world: World) -> None:
    world.transport.write_eof.side_effect = OSError
    world.seen.close()
    world.transport.abort.assert_called_once_with()


def test_a_half_closed_connection_stays_open_for_its_answer(world: World) -> None:
    world.connection.request_began(body(complete=True))
    assert world.connection.eof_received()
    world.loop.advance(3600)
    assert not world.closed
    assert world.written == ANSWER_BEGINS
    world.connection.answer_began()
    world.seen.write(b"HTTP/1.1 200 OK\r\n\r\n")
    world.connection.request_ended()
    assert world.written == b"HTTP/1.1 200 OK\r\n\r\n"
    world.loop.advance(1)
    assert world.closed


def test_a_reset_shows_that_the_client_has_left(world: World) -> None:
    world.connection.request_began(body(complete=True))
    world.connection.eof_received()
    world.loop.advance(1)
    world.socket_error = 32
    world.loop.advance(module.LONGEST_LOOK_SECONDS)
    world.transport.abort.assert_called_once_with()


def test_nothing_is_sent_ahead_while_an_answer_is_being_written(world: World) -> None:
    world.connection.request_began(body(complete=True))
    world.connection.answer_began()
    world.connection.eof_received()
    world.transport.get_write_buffer_size.return_value = 10
    world.connection.request_ended()
    world.loop.advance(10)
    assert world.written == b""
    assert not world.closed, "the answer is still on its way"
    world.transport.get_write_buffer_size.return_value = 0
    world.loop.advance(3)
    assert world.closed


def test_a_client_that_ends_within_its_body_has_left(world: World) -> None:
    world.connection.request_began(body(complete=False))
    world.connection.eof_received()
    world.loop.advance(1)
    assert world.closed
    assert world.written == b""


def test_an_error_behind_a_body_that_is_not_complete_is_an_error_of_that_body(world: World) -> None:
    content = body(complete=False)
    world.connection.request_began(content)
    world.connection.data_received(b"5\r\nab")
    assert content.exception() is None
    world.inner._messages.append("an error")
    world.connection.data_received(b"zz")
    assert content.exception() is not None


def test_a_connection_is_idle_between_its_requests(world: World) -> None:
    assert world.connection.idle_since == 0
    world.connection.request_began(body(complete=True))
    assert world.connection.idle_since is None
    world.loop.advance(5)
    world.connection.request_ended()
    assert world.connection.idle_since == 5
    world.seen.close()
    assert world.connection.idle_since is None


def test_the_end_of_a_connection_reaches_aiohttp_and_the_listener(world: World) -> None:
    world.connection.connection_lost(None)
    world.inner.connection_lost.assert_called_once_with(None)
    assert world.ended == [world.connection]


@given(st.lists(st.binary(), min_size=1), st.booleans())
def test_what_was_sent_ahead_is_sent_once(pieces: list[bytes], at_once: bool) -> None:
    world = World(mock.NonCallableMock(spec=asyncio.Transport))  # an autospec takes 20 times as long to make
    world.connection.request_began(body(complete=True))
    world.connection.eof_received()
    world.loop.advance(1)
    answer = [ANSWER_BEGINS + pieces[0], *pieces[1:]]
    if at_once:
        world.seen.writelines(answer)
    else:
        for piece in answer:
            world.seen.write(piece)
    assert world.written == b"".join(answer)


def test_aiohttp_sees_everything_else_of_the_transport(world: World) -> None:
    seen: Any = world.seen
    seen.pause_reading()
    world.transport.pause_reading.assert_called_once_with()

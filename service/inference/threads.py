"""What crosses from a thread into the event loop: results, and errors that a future can carry."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


def deliverable(error: BaseException) -> Exception:
    """The error itself, or one in its place.

    A future cannot hold a ``StopIteration``, and whatever is no ``Exception`` (some library's ``sys.exit``) would end
    the event loop rather than the one who waits.
    """
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    return RuntimeError(repr(error))


def contained(fn: Callable[..., T]) -> Callable[..., T]:
    """``fn``, raising only what can be delivered."""

    def run(*args: object) -> T:
        try:
            return fn(*args)
        except BaseException as error:
            if deliverable(error) is error:
                raise
            raise deliverable(error) from None

    return run


async def in_daemon_thread(fn: Callable[[], T], *, name: str) -> T:
    """Run ``fn`` in a thread of its own that never blocks the exit, however long it takes (a download)."""
    future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    threading.Thread(target=_run, args=(fn, future), name=name, daemon=True).start()
    try:
        return await future
    finally:
        del future  # an error and a frame it came through would keep each other alive


def _run(fn: Callable[[], T], future: asyncio.Future[T]) -> None:
    result, error = None, None
    try:
        result = fn()
    except BaseException as caught:  # noqa: BLE001 - delivered to whoever waits
        error = deliverable(caught)
    with suppress(RuntimeError):  # the loop is closed: the process is ending
        future.get_loop().call_soon_threadsafe(_deliver, future, result, error)
    del future, result, error


def _deliver(future: asyncio.Future[T], result: T | None, error: Exception | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)  # type: ignore[arg-type]  # a T whenever there is no error

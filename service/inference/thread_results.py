"""Delivers results and errors from a thread to the event loop.

Every module of ``service.inference`` that runs a function in a thread uses it. An exception that a future cannot hold,
or that would end the event loop, must never reach a future.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


def deliverable(error: BaseException) -> Exception:
    """The error itself if a future can hold it, else a ``RuntimeError`` that names it.

    A future cannot hold a ``StopIteration``. An exception that is no ``Exception``, such as the ``SystemExit`` of a
    library, would end the event loop instead of the call that waits for the result.
    """
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    return RuntimeError(repr(error))


async def in_daemon_thread(fn: Callable[[], T], *, name: str) -> T:
    """Run ``fn`` in a thread of its own, which does not block the exit of the process however long it takes."""
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
    except BaseException as caught:  # noqa: BLE001 - delivered to the caller
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

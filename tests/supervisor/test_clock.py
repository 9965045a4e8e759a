"""The one piece that touches real time."""

from __future__ import annotations

import asyncio

from supervisor import SystemClock


async def test_a_wait_ends_with_the_time() -> None:
    clock = SystemClock()
    before = clock.monotonic()
    await clock.wait(asyncio.Event(), 0.02)
    assert clock.monotonic() - before >= 0.015


async def test_a_wait_ends_with_the_event() -> None:
    clock, event = SystemClock(), asyncio.Event()
    before = clock.monotonic()
    asyncio.get_running_loop().call_soon(event.set)
    await clock.wait(event, 60)
    assert clock.monotonic() - before < 30


async def test_a_wait_for_no_time_lets_others_run() -> None:
    ran = asyncio.Event()
    asyncio.get_running_loop().call_soon(ran.set)
    await SystemClock().wait(asyncio.Event(), 0.0)
    await asyncio.sleep(0)
    assert ran.is_set()

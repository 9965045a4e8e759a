"""``SystemClock``, the only part of the supervisor that uses real time."""

from __future__ import annotations

import asyncio

from supervisor import SystemClock


async def test_a_wait_ends_when_its_time_has_passed() -> None:
    clock = SystemClock()
    before = clock.monotonic()
    await clock.wait(asyncio.Event(), 0.02)
    assert clock.monotonic() - before >= 0.015


async def test_a_wait_ends_when_the_event_is_set() -> None:
    clock, event = SystemClock(), asyncio.Event()
    before = clock.monotonic()
    asyncio.get_running_loop().call_soon(event.set)
    await clock.wait(event, 60)
    assert clock.monotonic() - before < 30


async def test_a_wait_of_zero_seconds_lets_other_tasks_run() -> None:
    ran = asyncio.Event()
    asyncio.get_running_loop().call_soon(ran.set)
    await SystemClock().wait(asyncio.Event(), 0.0)
    await asyncio.sleep(0)
    assert ran.is_set()

"""A running supervisor for every test that asks for one."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from supervisor import guarded
from tests.supervisor.fakes import World, settle


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    async with guarded(made.supervisor):
        await settle()
        yield made

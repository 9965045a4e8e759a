"""The fixture of a running supervisor."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from supervisor import guarded
from tests.supervisor.fakes import World, run_ready_tasks


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    async with guarded(made.supervisor):
        await run_ready_tasks()
        yield made

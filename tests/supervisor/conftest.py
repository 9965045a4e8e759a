"""The fixture of a running supervisor."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from supervisor import guarded
from tests.supervisor.fakes import World
from tests.support.waiting import let_run


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    async with guarded(made.supervisor):
        await let_run()
        yield made

"""Budgets of memory for tests: engines whose needs are small round numbers."""

from __future__ import annotations

from service.engines.memory_needs import MemoryNeeds
from service.inference.memory_budget import MemoryBudget

NEEDS = MemoryNeeds(idle=1_000_000_000, per_model_pixel=100, per_further_model_pixel=100)


def memory_budget(limit: int | None = None, *, needs: MemoryNeeds = NEEDS, threads: int = 2) -> MemoryBudget:
    """A budget of an engine whose model input is the picture; without a limit everything fits."""
    return MemoryBudget(
        limit,
        model_input_size=lambda width, height: (width, height),
        codec_threads=threads,
        engine="inspyrenet",
        least_needs={"inspyrenet": needs},
    )

"""Garbage collection: off while the service starts, on once it runs."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.host.garbage_collection import defer_garbage_collection, resume_garbage_collection
from tests.support.service_process import live


@pytest.fixture
def collecting() -> Iterator[None]:
    yield
    gc.enable()


@pytest.mark.usefixtures("collecting")
@pytest.mark.parametrize("keep", [True, False])
def test_deferred_garbage_collection_is_resumed_and_existing_objects_are_frozen_on_demand(keep: bool) -> None:
    defer_garbage_collection()
    assert not gc.isenabled()
    before = gc.get_freeze_count()
    objects: list[list[None]] = [[] for _ in range(10_000)]
    resume_garbage_collection(keep=keep)
    assert gc.isenabled()
    assert (gc.get_freeze_count() - before > len(objects) / 2) == keep
    frozen = gc.get_freeze_count()
    objects_of_a_later_load: list[list[None]] = [[] for _ in range(10_000)]
    resume_garbage_collection(keep=True)
    # Frozen objects of other tests may be freed in the meantime, so the count can fall.
    assert gc.get_freeze_count() < frozen + len(objects_of_a_later_load)


@pytest.mark.process
def test_a_running_service_collects_garbage(tmp_path: Path) -> None:
    with live(tmp_path, command=["-m", "service"], engine="u2netp") as service:
        collections = 'python_gc_collections_total{generation="0"}'
        before = service.metric(collections, prefix="")
        service.until(lambda: service.metric(collections, prefix="") > before)

"""The ledger of an object store; ``test_remote_folder.py`` lets it fail at every step."""

from __future__ import annotations

from collections.abc import Iterator

import fsspec
import pytest

from service.batch.addresses import Address, ObjectStore
from service.batch.ledger import SHARDS, Record, Stamp
from service.batch.remote_ledger import LONGEST_WAIT, MOST_WAITING, RemoteLedger, outputs_in
from tests.support.clock import FakeClock

ROOT = Address("memory://shop/out")


@pytest.fixture(autouse=True)
def store() -> Iterator[ObjectStore]:
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    yield ObjectStore(ROOT)
    memory.store.clear()


def record(number: int) -> Record:
    return Record(
        f"{number}.png", Stamp(1, version="1"), "memory://shop/in/x", Stamp(2, version="2"), {"options": {}}
    )


def objects(store: ObjectStore) -> list[Address]:
    return [each.address for each in store.find(ROOT / SHARDS)]


def reread(store: ObjectStore) -> RemoteLedger:
    ledger = RemoteLedger(ROOT, store)
    ledger.read(objects(store))
    return ledger


def test_records_are_written_when_there_are_many_or_one_is_old_or_at_the_end(store: ObjectStore) -> None:
    clock = FakeClock()
    ledger = RemoteLedger(ROOT, store, clock=clock)
    for number in range(MOST_WAITING - 1):
        ledger.add(record(number))
    assert objects(store) == []
    ledger.add(record(MOST_WAITING))
    assert len(objects(store)) == 1
    ledger.add(record(MOST_WAITING + 1))
    clock.now += LONGEST_WAIT
    assert len(objects(store)) == 1
    ledger.add(record(MOST_WAITING + 2))
    assert len(objects(store)) == 2
    ledger.add(record(MOST_WAITING + 3))
    ledger.flush()
    ledger.flush()
    assert len(objects(store)) == 3
    assert reread(store).outputs == ledger.outputs


def test_a_claim_counts_if_what_is_there_has_changed_since_and_there_is_one_object_of_them(
    store: ObjectStore,
) -> None:
    before, after = Stamp(1, version="before"), Stamp(1, version="after")
    ledger = RemoteLedger(ROOT, store)
    ledger.claim({"a.png": None})
    ledger.claim({"b.png": before})
    assert len(objects(store)) == 1
    again = reread(store)
    assert [again.unfinished("a.png", there) for there in (None, after)] == [False, True]
    assert [again.unfinished("b.png", there) for there in (before, after)] == [False, True]
    assert not ledger.unfinished("a.png", after)  # it knows what it wrote


def test_any_bytes_are_read_without_an_error(store: ObjectStore) -> None:
    for name in ("a.jsonl", "a.claims"):
        store.write(ROOT / SHARDS / name, b'\xff{\n[]\n3\n{"output": 3}\n{"output": "a"')
    assert reread(store).outputs == set()
    assert outputs_in(objects(store)) == {"memory://shop/out/3"}

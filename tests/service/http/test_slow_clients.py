"""Which transfer is evicted when every place is taken, on a fake clock."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from service.http.slow_clients import MIN_AGE_SECONDS, MIN_BYTES_PER_SECOND, SlowClients
from tests.support.clock import FakeClock


class Transfers:
    """Transfers of a fixed number of bytes, and the names of those that were evicted."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.evicted: list[str] = []
        self.clients = SlowClients(clock=self.clock)
        self._under_way: list[ExitStack] = []

    def begin(self, name: str, *, moved: int) -> ExitStack:
        transfer = ExitStack()
        transfer.enter_context(
            self.clients.watch(moved_bytes=lambda: moved, end=lambda: self.evicted.append(name))
        )
        self._under_way.append(transfer)  # a transfer that is garbage-collected ends
        return transfer


@pytest.fixture
def transfers() -> Transfers:
    return Transfers()


def test_an_eviction_without_transfers_does_nothing(transfers: Transfers) -> None:
    transfers.clients.evict_slowest()
    assert transfers.evicted == []


def test_each_call_evicts_the_slowest_transfer_that_is_left(transfers: Transfers) -> None:
    for name, moved in [("slow", 1000), ("slowest", 10), ("fast", 100 * MIN_BYTES_PER_SECOND)]:
        transfers.begin(name, moved=moved)
    transfers.clock.now += 10
    for _ in range(4):
        transfers.clients.evict_slowest()
    assert transfers.evicted == ["slowest", "slow"]


def test_a_young_transfer_is_not_evicted(transfers: Transfers) -> None:
    transfers.begin("young", moved=0)
    transfers.clock.now += MIN_AGE_SECONDS - 0.01
    transfers.clients.evict_slowest()
    assert transfers.evicted == []
    transfers.clock.now += 0.01
    transfers.clients.evict_slowest()
    assert transfers.evicted == ["young"]


def test_a_transfer_at_the_minimum_rate_is_never_evicted(transfers: Transfers) -> None:
    transfers.begin("fast enough", moved=MIN_BYTES_PER_SECOND * 10)
    transfers.begin("almost", moved=MIN_BYTES_PER_SECOND * 10 - 1)
    transfers.clock.now += 10
    transfers.clients.evict_slowest()
    transfers.clients.evict_slowest()
    assert transfers.evicted == ["almost"]


def test_a_fast_start_does_not_hide_a_stall_for_long(transfers: Transfers) -> None:
    transfers.begin("stalled", moved=MIN_BYTES_PER_SECOND * 1000)
    transfers.clock.now += MIN_AGE_SECONDS
    transfers.clients.evict_slowest()
    assert transfers.evicted == []
    transfers.clock.now += MIN_AGE_SECONDS
    transfers.clients.evict_slowest()
    assert transfers.evicted == ["stalled"]


def test_a_transfer_that_has_ended_is_not_evicted(transfers: Transfers) -> None:
    transfers.begin("done", moved=0).close()
    transfers.clock.now += 10
    transfers.clients.evict_slowest()
    assert transfers.evicted == []


def test_an_evicted_transfer_knows_it(transfers: Transfers) -> None:
    with transfers.clients.watch(moved_bytes=lambda: 0, end=lambda: None) as transfer:
        assert not transfer.evicted
        transfers.clock.now += 10
        transfers.clients.evict_slowest()
        assert transfer.evicted

"""Results on an object store: fsspec's in memory. ``tests/service/cli/test_cluster_run.py`` has S3."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import PurePath

import fsspec
import pytest

from service.batch import ledger
from service.batch.addresses import Address, ObjectStore
from service.batch.ledger import Record, Stamp
from service.batch.output_folder import State, WouldReplace
from service.batch.plan import Job
from service.batch.remote_folder import MOST_PARTS, RemoteFolder
from service.batch.sources import find

ROOT = Address("memory://shop/out")
PICTURE = Address("memory://shop/in/a.jpg")
MADE = {"options": {}}


@pytest.fixture(autouse=True)
def _empty_store() -> Iterator[None]:
    store = fsspec.filesystem("memory")
    store.store.clear()
    store.pseudo_dirs[:] = [""]
    ObjectStore(PICTURE).write(PICTURE, b"a picture")
    yield
    store.store.clear()


def job() -> Job:
    (source,) = find([str(PICTURE)]).sources
    return Job(source, PurePath("sub/a.png"))


def folder(*, overwrite: bool = False, made: dict[str, object] = MADE) -> RemoteFolder:
    opened = RemoteFolder(ROOT, made_with=made, overwrite=overwrite)
    opened.open()
    return opened


def write(data: bytes = b"result") -> Job:
    done = job()
    folder().write(done, data, done.source.stamp)
    return done


def test_a_picture_is_done_when_its_result_is_there_as_it_was_written_and_was_made_so() -> None:
    assert folder().judge(job()) is State.TO_DO
    write()
    assert folder().judge(job()) is State.DONE
    assert folder(made={"options": {"output": "white"}}).judge(job()) is State.TO_DO
    assert folder(overwrite=True).judge(job()) is State.TO_DO
    ObjectStore(PICTURE).write(PICTURE, b"another picture")
    assert folder().judge(job()) is State.TO_DO


def test_what_this_program_did_not_write_is_not_replaced() -> None:
    target = ROOT / "sub/a.png"
    ObjectStore(ROOT).write(target, b"of somebody else")
    with pytest.raises(WouldReplace, match=r"memory://shop/out/sub/a.png is there already"):
        folder().judge(job())
    with pytest.raises(WouldReplace):
        folder().write(job(), b"result", job().source.stamp)
    assert ObjectStore(ROOT).read_whole(target) == b"of somebody else"
    folder(overwrite=True).write(job(), b"result", job().source.stamp)
    assert ObjectStore(ROOT).read_whole(target) == b"result"


def test_the_record_is_written_before_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    real = ObjectStore.write
    monkeypatch.setattr(
        ObjectStore,
        "write",
        lambda self, address, data: (written.append(str(address)), real(self, address, data)),
    )
    write()
    assert ledger.SHARDS in written[0]
    assert written[1] == "memory://shop/out/sub/a.png"


def test_work_that_is_done_again_because_a_process_died_replaces_its_own_result() -> None:
    other = folder().share().join()
    write()
    other.write(job(), b"result", job().source.stamp)
    assert folder().judge(job()) is State.DONE


def test_records_that_come_at_the_same_time_are_all_kept() -> None:
    opened = folder()
    jobs = [Job(job().source, PurePath(f"{number}.png")) for number in range(20)]
    threads = [
        threading.Thread(target=opened.write, args=(each, b"result", each.source.stamp)) for each in jobs
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(folder().results) == 20


def test_many_files_of_records_become_one() -> None:
    for number in range(MOST_PARTS + 1):
        record = Record(f"{number}.png", Stamp(1, 0), "memory://shop/in/x", Stamp(1, 1), MADE)
        ObjectStore(ROOT).write(ROOT / ledger.SHARDS / f"{number}.jsonl", record.to_line().encode())
    assert len(folder().results) == len(folder().results) == MOST_PARTS + 1
    parts = list(ObjectStore(ROOT).list(ROOT / ledger.SHARDS))
    assert len(parts) == 1


def test_results_are_never_inputs() -> None:
    write()
    found = find(["memory://shop"])
    assert [str(source.below) for source in found.sources] == ["in/a.jpg"]
    assert found.passed_over == {"own results": 1}

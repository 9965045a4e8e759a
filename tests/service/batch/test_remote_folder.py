"""Results on an object store: fsspec's in memory, which fails when it is told to.

``tests/service/cli/test_cluster_run.py`` has S3.
"""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from pathlib import PurePath

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from service.batch import ledger, remote_ledger
from service.batch.addresses import Address, ObjectStore
from service.batch.ledger import Record, Stamp
from service.batch.plan import Job
from service.batch.remote_folder import MOST_FAILURES, RemoteFolder
from service.batch.results import CannotWrite, State, WouldReplace
from service.batch.sources import find
from service.batch.survey import survey
from service.batch.tasks import FolderTask

ROOT = Address("memory://shop/out")
INPUTS = Address("memory://shop/in")
MADE = {"options": {}}

IN_THE_WAY = (
    "memory://shop/in/d.jpg: memory://shop/out/d.png is there already, and is no result of an earlier run. "
    "--overwrite replaces it."
)


class Killed(BaseException):
    """The process has been killed; nothing of it runs any more."""


class FaultyStore(MemoryFileSystem):
    """Calls ``fault`` at each step: what it is about to do, where, and how it does that."""

    fault: Callable[[str, str, Callable[[], object]], object] | None = None
    dead = False

    def _step(self, what: str, path: str, do: Callable[[], object]) -> object:
        return do() if FaultyStore.fault is None else FaultyStore.fault(what, path, do)

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **_: object) -> None:
        self._step("write", path, lambda: super(FaultyStore, self).pipe_file(path, value, mode))

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: object) -> object:
        return self._step("read", path, lambda: super(FaultyStore, self).cat_file(path, start, end))

    def rm_file(self, path: str) -> None:
        self._step("remove", path, lambda: super(FaultyStore, self).rm_file(path))

    def info(self, path: str, **_: object) -> object:
        return self._step("info", path, lambda: super(FaultyStore, self).info(path))


@pytest.fixture(autouse=True)
def _empty_store() -> Iterator[None]:
    fsspec.register_implementation("memory", FaultyStore, clobber=True)
    yield
    FaultyStore.fault = None
    empty()
    fsspec.register_implementation("memory", MemoryFileSystem, clobber=True)


def empty() -> None:
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]


def put(address: Address, data: bytes) -> None:
    ObjectStore(address).write(address, data)


def content(name: str) -> bytes:
    return ObjectStore(ROOT).read_all([ROOT / name])[0]


def jobs() -> list[Job]:
    return [Job(source, source.below.with_suffix(".png")) for source in find([str(INPUTS)]).sources]


def opened(*, overwrite: bool = False, made: dict[str, object] = MADE) -> RemoteFolder:
    folder = RemoteFolder(ROOT, made_with=made, overwrite=overwrite)
    folder.open()
    return folder


def run(*, through: str = "itself") -> tuple[list[str], list[str]]:
    """A run of the command in small: what it made, and what it reported. A result says from what it was made."""
    folder = opened()
    made: list[str] = []
    problems: list[str] = []
    complete = False
    try:
        seen = survey([str(INPUTS)], folder, ending=".png", full_names=False)
        problems += [str(problem) for problem in seen.problems]
        folder.claim(seen.to_do)
        writer = folder.share().join()
        for job in seen.to_do:
            try:
                task = FolderTask(job, folder if through == "itself" else writer, max_bytes=1000)
                task.write(b"of " + task.read())
                if task.record is not None:
                    folder.take_in(task.record)
                made.append(str(job.output))
            except OSError as error:
                problems.append(f"{job.output}: {error}")
        complete = True
    finally:
        if not FaultyStore.dead:
            folder.close(complete=complete)
    return made, problems


def before() -> None:
    """Two results of an earlier run, one of whose pictures has changed since, a new picture, and somebody's object."""
    for name, data in (("a.jpg", b"the first a"), ("b.jpg", b"the only b")):
        put(INPUTS / name, data)
    assert run() == (["a.png", "b.png"], [])
    put(INPUTS / "a.jpg", b"another a!!")  # as many bytes
    put(INPUTS / "c.jpg", b"the only c")
    put(INPUTS / "d.jpg", b"the only d")
    put(ROOT / "d.png", b"of somebody else")


class FailsAt:
    """Each way in which a step can fail: it has no effect, all of it, or half of it; and the process goes on or not."""

    def __init__(self, step: int, kind: str, effect: str) -> None:
        self.left = step
        self._kind = kind
        self._effect = effect

    def __call__(self, what: str, path: str, do: Callable[[], object]) -> object:
        self.left -= 1
        if self.left:
            return do()
        if self._effect == "done":
            do()
        elif self._effect == "half done" and what == "write":
            do()
            whole = MemoryFileSystem.store[path]
            whole.truncate(len(whole.getvalue()) // 2)
        if self._kind == "killed":
            FaultyStore.dead = True
            raise Killed
        raise PermissionError(13, "Permission denied")


@pytest.mark.parametrize("through", ["itself", "a worker"])
@pytest.mark.parametrize("effect", ["not done", "done", "half done"])
@pytest.mark.parametrize("kind", ["failed", "killed"])
def test_after_a_failure_at_any_step_the_next_run_has_every_right_result(
    kind: str, effect: str, through: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_ledger, "MOST_WAITING", 1)
    monkeypatch.setattr(remote_ledger, "MOST_OBJECTS", 0)
    for step in itertools.count(1):
        empty()
        before()
        FaultyStore.fault = fault = FailsAt(step, kind, effect)
        with suppress(Killed, OSError):
            run(through=through)
        FaultyStore.fault, FaultyStore.dead = None, False
        where = f"at step {step}"
        made, problems = run()
        assert problems == [IN_THE_WAY], where
        assert "b.png" not in made, where  # it was right, and is not hidden
        results = [content(f"{name}.png") for name in "abcd"]
        assert results == [b"of another a!!", b"of the only b", b"of the only c", b"of somebody else"], where
        assert run() == ([], [IN_THE_WAY]), where
        if fault.left > 0:
            break
    assert step > 10  # the run has not ended before its faults


def test_a_picture_is_done_when_its_result_is_there_as_it_was_written_and_was_made_so() -> None:
    put(INPUTS / "a.jpg", b"the first a")
    run()
    (job,) = jobs()
    assert opened().judge(job) is State.DONE
    assert opened(made={"options": {"output": "white"}}).judge(job) is State.TO_DO
    assert opened(overwrite=True).judge(job) is State.TO_DO
    put(INPUTS / "a.jpg", b"another one")
    assert opened().judge(jobs()[0]) is State.TO_DO


def test_what_this_program_did_not_write_is_not_replaced() -> None:
    put(INPUTS / "a.jpg", b"the only a")
    folder, (job,) = opened(), jobs()
    folder.claim([job])
    put(ROOT / "a.png", b"of somebody")  # after the look
    with pytest.raises(WouldReplace, match=r"memory://shop/out/a.png is there already"):
        folder.write(job, b"result", job.source.stamp)
    folder.close(complete=True)
    with pytest.raises(WouldReplace):
        opened().judge(job)
    assert content("a.png") == b"of somebody"
    opened(overwrite=True).write(job, b"result", job.source.stamp)
    assert content("a.png") == b"result"


@pytest.mark.parametrize(
    ("root", "words"), [("memory://shop/out/*", "none of"), ("memory://shop/a.png", "an object")]
)
def test_results_go_to_a_folder(root: str, words: str) -> None:
    put(Address("memory://shop/a.png"), b"of somebody else")
    with pytest.raises(OSError, match=words):
        RemoteFolder(Address(root), made_with=MADE, overwrite=True)


def test_once_a_run_has_ended_what_users_put_under_its_names_is_theirs() -> None:
    for name in ("a.jpg", "b.jpg"):
        put(INPUTS / name, name.encode())
    first, (a, b) = opened(), jobs()
    first.claim([a, b])
    first.write(a, b"result", a.source.stamp)
    first.close(complete=True)  # b could not be decoded
    for name in ("a.png", "b.png"):
        put(ROOT / name, b"by hand")
    for job in (a, b):
        with pytest.raises(WouldReplace):
            opened().judge(job)


def test_what_reaches_the_store_after_a_run_was_dropped_is_made_again_and_not_in_the_way() -> None:
    put(INPUTS / "a.jpg", b"the only a")
    dropped, (job,) = opened(), jobs()
    dropped.claim([job])
    dropped.close(complete=False)
    put(ROOT / "a.png", b"result of a thread or worker that was left alone")
    assert opened().judge(job) is State.TO_DO


def test_a_thousand_results_are_noted_in_few_objects_which_are_read_and_removed_together() -> None:
    put(INPUTS / "a.jpg", b"the only a")
    (job,) = jobs()
    many = [Job(job.source, PurePath(f"{number}.png")) for number in range(1000)]
    folder = opened()
    folder.claim(many)
    threads = [
        threading.Thread(
            target=lambda some=some: [folder.write(each, b"result", each.source.stamp) for each in some]
        )
        for some in (many[::4], many[1::4], many[2::4], many[3::4])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list(ObjectStore(ROOT).find(ROOT / ledger.SHARDS))) == 2  # the claims, and the records
    FaultyStore.fault = counted = Counted()
    folder.close(complete=True)
    assert len(list(ObjectStore(ROOT).find(ROOT / ledger.SHARDS))) == 1
    assert len(opened().results) == 1000
    assert counted.count["write"] == 0
    assert counted.count["remove"] == 1
    assert counted.count["read"] == 1


class Counted:
    def __init__(self) -> None:
        self.count: Counter[str] = Counter()

    def __call__(self, what: str, _: str, do: Callable[[], object]) -> object:
        self.count[what] += 1
        return do()


def note(number: int) -> None:
    record = Record(f"{number}.png", Stamp(1, version="1"), "memory://shop/in/x", Stamp(1, version="1"), MADE)
    put(ROOT / ledger.SHARDS / f"{number}.jsonl", record.to_line().encode())


def test_many_objects_of_records_become_one_and_what_was_not_read_is_not_removed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(remote_ledger, "MOST_OBJECTS", 20)
    for number in range(21):
        note(number)
    folder = RemoteFolder(ROOT, made_with=MADE, overwrite=False)
    note(21)  # by another process, after the look
    folder.open()
    assert len(list(ObjectStore(ROOT).find(ROOT / ledger.SHARDS))) == 2
    assert len(opened().results) == 22


def test_one_result_that_cannot_be_written_is_a_row_and_many_in_a_row_end_the_run() -> None:
    put(INPUTS / "a.jpg", b"the only a")
    folder, (job,) = opened(), jobs()
    writer = folder.share().join()

    def refuse(what: str, path: str, do: Callable[[], object]) -> object:
        if what == "write" and "no" in path:
            raise PermissionError(13, "Permission denied")
        return do()

    FaultyStore.fault = refuse
    no, yes = Job(job.source, PurePath("no.png")), Job(job.source, PurePath("yes.png"))
    for results in (folder, writer):
        for each in [no] * (MOST_FAILURES - 1) + [yes] + [no] * (MOST_FAILURES - 1):
            with nullcontext() if each is yes else pytest.raises(PermissionError):
                results.write(each, b"result", each.source.stamp)
        with pytest.raises(CannotWrite, match="20 results in a row could not be written: Permission denied"):
            results.write(no, b"result", no.source.stamp)
        folder = opened(overwrite=True)


def test_results_are_never_inputs_also_while_a_run_is_under_way() -> None:
    for name in ("a.jpg", "b.jpg"):
        put(INPUTS / name, name.encode())
    folder, (a, b) = opened(), jobs()
    folder.claim([a, b])
    folder.write(a, b"result", a.source.stamp)  # not noted yet
    for argument in ("memory://shop", "memory://shop/**"):
        found = find([argument])
        assert [source.key for source in found.sources] == [
            "memory://shop/in/a.jpg",
            "memory://shop/in/b.jpg",
        ]
        assert found.passed_over == {"own results": 1}

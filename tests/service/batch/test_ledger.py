"""The ledger of an output folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.batch import ledger
from service.batch.ledger import InUse, Ledger, Record, Shard, Stamp, read_records


def record(output: str, size: int = 1) -> Record:
    return Record(output, Stamp(size, 2), f"/in/{output}", Stamp(3, 4), {"options": {"colour": [1, 2, 3]}})


def known(folder: Path) -> dict[str, tuple[Record, ...]]:
    records = read_records(folder)
    return {output: records.of(output) for output in records.outputs}


def test_what_was_added_is_read_and_every_record_of_an_output_is_kept(tmp_path: Path) -> None:
    opened = Ledger(tmp_path)
    for each in (record("a"), record("\udcff\n\u00e4"), record("a", 9), record("a")):
        opened.add(each)
    opened.close()
    assert known(tmp_path) == {
        "a": (record("a"), record("a", 9)),
        "\udcff\n\u00e4": (record("\udcff\n\u00e4"),),
    }


def test_a_folder_without_a_ledger_has_no_records(tmp_path: Path) -> None:
    assert known(tmp_path) == {}


def test_one_run_at_a_time_may_write(tmp_path: Path) -> None:
    first = Ledger(tmp_path)
    with pytest.raises(InUse):
        Ledger(tmp_path)
    first.close()
    Ledger(tmp_path).close()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0), st.integers(1, 4))
def test_a_run_that_was_killed_in_the_middle_of_a_line_costs_that_line_only(
    tmp_path: Path, cut: int, count: int
) -> None:
    lines = [record(f"{number}").to_line().encode() for number in range(count)]
    whole = b"".join(lines)
    kept = whole[: cut % (len(whole) + 1)]
    (tmp_path / ledger.FILE_NAME).write_bytes(kept)
    opened = Ledger(tmp_path)
    opened.add(record("next"))
    opened.close()
    found = known(tmp_path)
    assert found.pop("next") == (record("next"),)
    ended = kept.count(b"\n") + (kept[-1:] == b"}" and kept.endswith(lines[kept.count(b"\n")][:-1]))
    assert found == {f"{number}": (record(f"{number}"),) for number in range(ended)}


@given(st.binary(max_size=200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_read_without_an_error(tmp_path: Path, data: bytes) -> None:
    (tmp_path / ledger.FILE_NAME).write_bytes(
        data + b'\n{"output": 3}\n[]\n' + record("a").to_line().encode()
    )
    assert known(tmp_path)["a"] == (record("a"),)


def test_what_other_processes_note_is_known_and_becomes_a_part_of_the_ledger(tmp_path: Path) -> None:
    opened = Ledger(tmp_path)
    run = opened.share()
    for each in ("a", "b"):
        shard = Shard(tmp_path, run)
        shard.add(record(each))
        shard.close()
    assert set(known(tmp_path)) == {"a", "b"}
    opened.close()
    assert not (tmp_path / ledger.SHARDS).exists()
    assert set(known(tmp_path)) == {"a", "b"}


def test_what_processes_noted_before_all_were_killed_is_taken_in_by_the_next_run(tmp_path: Path) -> None:
    killed = Ledger(tmp_path)
    Shard(tmp_path, killed.share()).add(record("a"))
    with (tmp_path / ledger.SHARDS / "killed.jsonl").open("wb") as half:
        half.write(record("b").to_line().encode() + record("c").to_line().encode()[:20])
    os.close(killed._file)  # as the system does it
    assert Ledger(tmp_path).records.outputs == {"a", "b"}
    assert not (tmp_path / ledger.SHARDS).exists()


def test_a_machine_that_does_not_see_the_folder_cannot_write(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Shard(tmp_path, "another run")


def test_a_process_that_outlives_its_run_brings_no_result_to_its_name(tmp_path: Path) -> None:
    opened = Ledger(tmp_path)
    shard = Shard(tmp_path, opened.share())
    shard.add(record("a"))
    opened.close()
    with pytest.raises(FileNotFoundError):
        shard.add(record("b"))
    assert set(known(tmp_path)) == {"a"}


def test_a_record_that_was_written_in_part_takes_no_other_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk was full, and then it was not."""
    write = os.write
    opened = Ledger(tmp_path)
    opened.add(record("a"))
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[: len(data) // 2]))
    with pytest.raises(OSError, match="No space left"):
        opened.add(record("b"))
    monkeypatch.undo()
    opened.add(record("c"))
    opened.close()
    assert set(known(tmp_path)) == {"a", "c"}

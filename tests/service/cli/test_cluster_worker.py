"""One worker of ``cut --ray``, in this process."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.batch.output_folder import OutputFolder, SharedFolder
from service.batch.results import made_with
from service.batch.survey import survey
from service.cli.cluster_worker import ClusterWorker, ToDo, Work
from service.imaging.options import Options
from service.settings import Settings
from service.version import __version__
from tests.support import cluster_engine, photos

MADE = made_with(Options(), Settings())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OutputFolder:
    monkeypatch.setenv("CUT_PIDS", str(tmp_path))
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.png").write_bytes(photos.encoded())
    (tmp_path / "in/b.png").write_bytes(b"no picture")
    folder = OutputFolder(tmp_path / "out", made_with=MADE, overwrite=False)
    folder.open()
    return folder


def worker(
    results: Any, *, engine: Callable[[Settings], Any] = cluster_engine.steady, **more: Any
) -> ClusterWorker:
    work = Work(
        version=more.get("version", __version__),
        settings=Settings(),
        options=Options(),
        background=None,
        results=results,
        make_engine=engine,
    )
    return ClusterWorker(work)


def to_do(folder: OutputFolder) -> dict[str, list[bytes]]:
    seen = survey([str(folder.root.parent / "in")], folder, ending=".png", full_names=False)
    jobs = sorted(seen.to_do, key=lambda job: job.output)
    return {
        "to_do": [pickle.dumps(ToDo(number, job, folder.records_of(job))) for number, job in enumerate(jobs)]
    }


def test_each_picture_is_one_row_and_the_folder_knows_the_results_at_the_end(folder: OutputFolder) -> None:
    answer = worker(folder.share())(to_do(folder))
    problems = dict(zip(answer["number"], answer["problem"], strict=True))
    assert problems[0] == ""
    assert "not an image in a supported format" in str(problems[1])
    folder.close()
    again = OutputFolder(folder.root, made_with=MADE, overwrite=False)
    seen = survey([str(folder.root.parent / "in")], again, ending=".png", full_names=False)
    assert [str(job.output) for job in seen.done] == ["a.png"]


def test_work_that_is_done_again_because_a_worker_died_replaces_its_own_result(folder: OutputFolder) -> None:
    sent, shared = to_do(folder), folder.share()
    for _ in range(2):  # the second one does not know what the first one wrote before it died
        answer = worker(shared)(sent)
        assert sorted(map(bool, answer["problem"])) == [False, True]


def test_a_machine_that_does_not_see_the_folder_or_has_another_version_says_so(
    folder: OutputFolder, tmp_path: Path
) -> None:
    elsewhere = SharedFolder(tmp_path / "empty", MADE, overwrite=False, run="1")
    for each, words in (
        (worker(elsewhere), "does not see the folder of the results"),
        (worker(folder.share(), version="0.0.1"), "and not 0.0.1"),
        (worker(folder.share(), engine=cluster_engine.without_weights), "There are no weights here."),
    ):
        answer = each(to_do(folder))
        assert all(words in str(reason) for reason in answer["cannot_start"])
    assert list(folder.root.glob("*.png")) == []

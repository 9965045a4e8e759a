"""The output folder: what counts as done, what is never replaced, and that results are whole."""

from __future__ import annotations

import errno
import os
from pathlib import Path, PurePath

import pytest

from service.batch import output_folder
from service.batch.output_folder import OutputFolder, write_whole
from service.batch.plan import Job
from service.batch.results import CannotWrite, State, WouldReplace, made_with
from service.batch.sources import find
from service.imaging.options import Options, Output
from service.settings import Settings

MADE = made_with(Options(), Settings())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(b"a picture")
    return tmp_path / "out"


def job(root: Path, folder: str = "in") -> Job:
    (source,) = find([str(root.parent / folder / "a.jpg")]).sources
    return Job(source, PurePath("sub/a.png"))


def opened(root: Path, *, made: dict[str, object] = MADE, overwrite: bool = False) -> OutputFolder:
    folder = OutputFolder(root, made_with=made, overwrite=overwrite)
    folder.open()
    return folder


def write(root: Path, data: bytes = b"result", **more: object) -> Job:
    folder = opened(root, **more)  # type: ignore[arg-type]
    done = job(root)
    try:
        folder.write(done, data, done.source.stamp)
    finally:
        folder.close()
    return done


def judged(root: Path, *, made: dict[str, object] = MADE, overwrite: bool = False) -> State:
    return OutputFolder(root, made_with=made, overwrite=overwrite).judge(job(root))


def test_a_picture_without_a_result_is_to_do(root: Path) -> None:
    assert judged(root) is State.TO_DO
    assert not root.exists()


def test_a_picture_is_done_when_its_result_is_there_as_it_was_written(root: Path) -> None:
    write(root)
    assert (root / "sub/a.png").read_bytes() == b"result"
    assert judged(root) is State.DONE
    assert judged(root, overwrite=True) is State.TO_DO


def test_a_result_that_was_deleted_is_made_again(root: Path) -> None:
    write(root)
    (root / "sub/a.png").unlink()
    assert judged(root) is State.TO_DO


def test_a_picture_that_changed_is_done_again(root: Path) -> None:
    write(root)
    (root.parent / "in/a.jpg").write_bytes(b"another picture")
    assert judged(root) is State.TO_DO
    write(root, b"its result")
    assert judged(root) is State.DONE


def test_other_options_or_another_model_make_it_again(root: Path) -> None:
    write(root)
    assert judged(root, made=made_with(Options(Output.WHITE), Settings())) is State.TO_DO
    assert judged(root, made=made_with(Options(), Settings(engine="u2netp"))) is State.TO_DO
    assert judged(root, made=made_with(Options(), Settings(precision="fp32"))) is State.DONE


def test_a_picture_whose_folder_was_moved_is_still_done(root: Path) -> None:
    write(root)
    (root.parent / "in").rename(root.parent / "moved")
    assert OutputFolder(root, made_with=MADE, overwrite=False).judge(job(root, "moved")) is State.DONE


def test_the_result_of_another_picture_is_not_replaced(root: Path) -> None:
    write(root)
    (root.parent / "other").mkdir()
    (root.parent / "other/a.jpg").write_bytes(b"not the same")
    folder = OutputFolder(root, made_with=MADE, overwrite=False)
    with pytest.raises(WouldReplace, match=r"is the result of .*in/a\.jpg\. --overwrite"):
        folder.judge(job(root, "other"))
    (root.parent / "in/a.jpg").unlink()
    assert folder.judge(job(root, "other")) is State.TO_DO


@pytest.mark.parametrize("edited", [False, True])
def test_a_file_of_the_users_is_not_replaced_unless_they_ask_for_it(root: Path, edited: bool) -> None:
    if edited:
        write(root)
    else:
        (root / "sub").mkdir(parents=True)
    (root / "sub/a.png").write_bytes(b"mine, mine")
    with pytest.raises(WouldReplace, match=r"a\.png is there already, .* --overwrite"):
        judged(root)
    with pytest.raises(WouldReplace):
        write(root)
    assert (root / "sub/a.png").read_bytes() == b"mine, mine"
    write(root, overwrite=True)
    assert (root / "sub/a.png").read_bytes() == b"result"


def test_a_run_that_ends_before_the_name_is_given_leaves_the_picture_to_do(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write(root)
    assert judged(root) is State.TO_DO


def test_a_result_that_cannot_be_replaced_is_still_known_as_one(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(root)
    (root.parent / "in/a.jpg").write_bytes(b"another picture")

    def refused(*_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", refused)
        with pytest.raises(PermissionError):
            write(root, b"its result")
    assert judged(root) is State.TO_DO
    write(root, b"its result")
    assert judged(root) is State.DONE


def test_what_a_killed_run_left_is_removed(root: Path) -> None:
    left = root / "sub" / f"{output_folder._UNFINISHED}17-0.part"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half a res")
    folder = opened(root)
    folder.remove_unfinished([job(root)])
    folder.close()
    assert list(left.parent.iterdir()) == []


def test_a_leftover_that_cannot_be_removed_does_not_end_the_run(root: Path) -> None:
    left = root / "sub" / f"{output_folder._UNFINISHED}17-0.part"
    left.mkdir(parents=True)  # unlink fails: it is a directory
    folder = opened(root)
    folder.remove_unfinished([job(root)])
    folder.close()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_full_disk_ends_the_run_and_leaves_no_half_file(
    root: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CannotWrite, match=os.strerror(number)):
        write(root)
    assert list((root / "sub").iterdir()) == []


def test_a_result_can_be_read_by_whom_the_users_mask_lets_read_it(root: Path) -> None:
    before = os.umask(0o027)
    try:
        write(root)
    finally:
        os.umask(before)
    assert (root / "sub/a.png").stat().st_mode & 0o777 == 0o640


def test_a_folder_in_the_way_of_a_result_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_whole(tmp_path / "a.png", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]

"""Which files the arguments of a command name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from service.batch import ledger, sources
from service.batch.ledger import Record, Stamp
from service.batch.sources import find
from service.imaging.formats.recognise import FORMATS
from tests.support import photos


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def write(path: Path, data: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def names(*arguments: str) -> list[str]:
    return [str(source.below) for source in find(arguments).sources]


def problems(*arguments: str) -> list[str]:
    return [str(problem) for problem in find(arguments).problems]


def test_every_format_that_is_read_has_endings() -> None:
    assert sources.ENDINGS.keys() == {file_format.name for file_format in FORMATS}


def test_a_folder_gives_its_pictures_in_order_with_their_place_below_it(folder: Path) -> None:
    for name in ("b.JPG", "sub/deep/c.png", "a.webp", "sub/d.tiff"):
        write(folder / name)
    assert names("in") == ["a.webp", "b.JPG", "sub/d.tiff", "sub/deep/c.png"]


def test_a_file_that_is_named_counts_whatever_it_is_called(folder: Path) -> None:
    write(folder / "sub/notes.txt")
    assert names("in/sub/notes.txt") == ["notes.txt"]


def test_in_a_folder_other_files_are_counted_by_their_endings(folder: Path) -> None:
    for name in ("a.txt", "b.TXT", "c.mov", "noend", ".hidden.jpg", ".hid/x.jpg"):
        write(folder / name)
    found = find(["in"])
    assert found.sources == []
    assert found.problems == []
    assert found.passed_over == {".txt": 2, ".mov": 1, "without an ending": 1, "hidden": 2}


def test_in_a_folder_a_picture_without_its_ending_is_known_by_its_first_bytes(folder: Path) -> None:
    write(folder / "photo", photos.encoded())
    write(folder / "IMG.1", photos.save(photos.photograph(), "JPEG"))
    write(folder / "raw.nef", photos.save(photos.photograph(), "TIFF"))  # raw files begin like TIFF
    assert names("in") == ["IMG.1", "photo"]


def test_a_damaged_file_with_the_ending_of_a_picture_is_taken_so_that_it_will_be_named(folder: Path) -> None:
    write(folder / "empty.jpg", b"")
    assert names("in") == ["empty.jpg"]


def test_a_folder_that_is_named_like_a_picture_is_a_folder(folder: Path) -> None:
    write(folder / "trip.jpg/a.png")
    assert names("in") == ["trip.jpg/a.png"]
    assert names("in/trip.jpg") == ["a.png"]


def test_a_pattern_that_no_shell_expanded_is_expanded(folder: Path) -> None:
    for name in ("a.jpg", "b.jpg", "c.png", "sub/d.jpg"):
        write(folder / name)
    assert names("in/*.jpg") == ["a.jpg", "b.jpg"]
    assert names("in/**/*.jpg") == ["a.jpg", "b.jpg", "d.jpg"]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(folder: Path) -> None:
    write(folder / "a[1].jpg")
    write(folder / "a1.jpg")
    assert names("in/a[1].jpg") == ["a[1].jpg"]


def test_what_is_missing_is_named(folder: Path) -> None:
    assert problems("in/none.jpg", "in/*.gif") == [
        "in/none.jpg: There is no such file or folder.",
        "in/*.gif: Nothing matches this pattern.",
    ]


def test_a_picture_named_in_several_ways_is_taken_once(folder: Path) -> None:
    write(folder / "a.jpg")
    os.symlink(folder, folder.parent / "link")
    assert names("in/a.jpg", "./in/../in/a.jpg", "in", "in/*.jpg", "link", str(folder)) == ["a.jpg"]


def test_links_to_pictures_count_and_links_to_folders_are_not_followed(folder: Path) -> None:
    write(folder / "a.jpg")
    (folder / "b.jpg").symlink_to("a.jpg")
    (folder / "round").symlink_to(folder)
    (folder / "c.jpg").symlink_to("nowhere")
    (folder / "d.txt").symlink_to("nowhere")
    found = find(["in"])
    assert [str(source.below) for source in found.sources] == ["a.jpg", "b.jpg"]
    assert [str(problem) for problem in found.problems] == ["in/c.jpg: This link leads to nothing."]
    assert found.passed_over == {"links to folders": 1, ".txt": 1}


def test_a_folder_that_cannot_be_read_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(path: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuses)
    assert problems("in") == ["in: This cannot be read: Permission denied."]


def test_what_is_neither_file_nor_folder_is_a_problem_if_it_was_named(folder: Path) -> None:
    os.mkfifo(folder / "pipe.jpg")
    assert problems("in/pipe.jpg") == ["in/pipe.jpg: This is neither a file nor a folder."]
    assert find(["in"]).passed_over == {".jpg": 1}


def test_what_a_run_wrote_is_no_input_wherever_its_folder_lies(folder: Path) -> None:
    write(folder / "a.jpg")
    write(folder / "out/sub/a.png")
    write(folder / "out/mine.png")
    record = Record("sub/a.png", Stamp(1, 2), "/a.jpg", Stamp(3, 4), {})
    write(folder / "out" / ledger.FILE_NAME, record.to_line().encode())
    found = find(["in"])
    assert [str(source.below) for source in found.sources] == ["a.jpg", "out/mine.png"]
    assert found.passed_over == {"own results": 1}


def test_results_of_this_run_are_no_inputs_even_if_a_shell_named_them(folder: Path) -> None:
    write(folder / "a.jpg")
    write(folder / "a.png")
    ours = frozenset({str(folder.resolve() / "a.png")})
    assert [str(source.below) for source in find(["in/a.jpg", "in/a.png"], ours=ours).sources] == ["a.jpg"]

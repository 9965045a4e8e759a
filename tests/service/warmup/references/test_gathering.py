"""Finding the pictures of a directory and their masks: everything counts, and every problem is named at once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from service.warmup.references import contact_sheet, manifest
from service.warmup.references.gathering import NotAccepted, gather
from tests.support import photos
from tests.support.reference_sets import HEIGHT, WIDTH, cut_out, ramp

MANY = 1_000_000


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    found = tmp_path / "pictures"
    found.mkdir()
    (found / "b.jpg").write_bytes(photos.encoded(WIDTH, HEIGHT, "JPEG"))
    (found / "a.png").write_bytes(photos.encoded(WIDTH, HEIGHT))
    return found


@pytest.fixture
def masks(tmp_path: Path) -> Path:
    found = tmp_path / "masks"
    found.mkdir()
    (found / "a.png").write_bytes(cut_out(ramp()))
    (found / "b.png").write_bytes(photos.save(ramp(), "PNG"))
    return found


def problems(directory: Path, masks: Path | None = None, *, max_pixels: int = MANY) -> tuple[str, ...]:
    with pytest.raises(NotAccepted) as caught:
        gather(directory, masks, max_pixels=max_pixels)
    return caught.value.problems


def test_every_picture_counts_in_the_order_of_the_names(directory: Path) -> None:
    found, remarks = gather(directory, None, max_pixels=MANY)
    assert [(each.file, each.size, each.given) for each in found] == [
        ("a.png", (WIDTH, HEIGHT), None),
        ("b.jpg", (WIDTH, HEIGHT), None),
    ]
    assert remarks == []


def test_the_size_is_that_of_the_upright_picture(directory: Path) -> None:
    stored = photos.save(
        photos.orient(photos.photograph(WIDTH, HEIGHT), 6), "JPEG", exif=photos.exif(6).tobytes()
    )
    (directory / "b.jpg").write_bytes(stored)
    found, _ = gather(directory, None, max_pixels=MANY)
    assert found[1].size == (WIDTH, HEIGHT)


def test_hidden_files_directories_and_what_accept_writes_do_not_count(directory: Path) -> None:
    (directory / ".DS_Store").write_bytes(b"x")
    (directory / "more").mkdir()
    (directory / manifest.FILE_NAME).write_text("{}")
    assert len(gather(directory, None, max_pixels=MANY)[0]) == 2


def test_each_mask_belongs_to_the_picture_of_its_name(directory: Path, masks: Path) -> None:
    found, remarks = gather(directory, masks, max_pixels=MANY)
    assert [each.given for each in found] == [masks / "a.png", masks / "b.png"]
    assert remarks == []


def test_a_mask_of_no_picture_is_remarked(directory: Path, masks: Path) -> None:
    (masks / "c.png").write_bytes(cut_out(ramp()))
    _, remarks = gather(directory, masks, max_pixels=MANY)
    assert remarks == [f"{masks / 'c.png'} belongs to no picture, and is not used"]


def test_every_problem_of_the_pictures_is_named_at_once(directory: Path) -> None:
    (directory / "notes.txt").write_text("not a picture")
    (directory / "cut.jpg").write_bytes(photos.encoded(WIDTH, HEIGHT, "JPEG")[:20])
    (directory / "large.png").write_bytes(photos.encoded(100, 50))
    cut, large, notes = problems(directory, max_pixels=4000)
    assert cut.startswith("cut.jpg: The JPEG ")
    assert large == "large.png has 100 x 50 pixels, more than INSPYRENET_MAX_PIXELS = 4000 allows"
    assert notes.startswith("notes.txt: The file is not an image in a supported format.")
    assert notes.endswith("Replace it, or move it away")


def test_every_problem_of_the_masks_is_named_at_once(directory: Path, masks: Path) -> None:
    (masks / "a.png").write_bytes(cut_out(ramp(30, 20)))
    (masks / "b.png").unlink()
    assert problems(directory, masks) == (
        f"{masks / 'a.png'} is 30 x 20 pixels; the picture is 24 x 16",
        f"b.jpg has no mask: there is no {masks / 'b.png'}",
    )


def test_pictures_whose_masks_would_have_the_same_name_are_refused(directory: Path) -> None:
    (directory / "a.jpg").write_bytes(photos.encoded(WIDTH, HEIGHT, "JPEG"))
    [line] = problems(directory)
    assert line.startswith("a.jpg and a.png differ only in their ending")


def test_a_directory_without_pictures_is_refused(tmp_path: Path) -> None:
    assert problems(tmp_path) == (f"{tmp_path} holds no pictures",)


def test_what_is_no_directory_is_refused(directory: Path, tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    assert problems(nowhere) == (f"{nowhere} is not a directory",)
    assert problems(directory / "a.png") == (f"{directory / 'a.png'} is not a directory",)
    assert problems(directory, nowhere) == (f"{nowhere} is not a directory",)


@pytest.mark.parametrize("name", [contact_sheet.FILE_NAME, manifest.FILE_NAME])
def test_what_cannot_be_replaced_by_a_file_is_named(directory: Path, name: str) -> None:
    (directory / name).mkdir()
    assert problems(directory) == (
        f"{directory / name} is not a file, and one has to be written there: move it away",
    )


def test_a_page_of_somebody_else_is_not_overwritten(directory: Path) -> None:
    page = directory / contact_sheet.FILE_NAME
    page.write_text("<html>my shop</html>")
    assert problems(directory) == (
        f"{page} is not a contact sheet of this program, and would be overwritten: move it away",
    )


def test_a_name_that_is_not_utf_8_is_refused(directory: Path) -> None:
    try:
        os.rename(directory / "a.png", os.fsencode(directory) + b"/\xff.png")
    except OSError:
        pytest.skip("this file system takes names in UTF-8 only")
    [line] = problems(directory)
    assert "is no name in UTF-8: rename the file" in line
    assert line.isprintable()

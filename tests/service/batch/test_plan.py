"""The names of the results."""

from __future__ import annotations

from pathlib import Path, PurePath, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.batch.addresses import Address
from service.batch.ledger import Stamp
from service.batch.plan import endings_of, plan
from service.batch.sources import Source
from service.imaging.options import Format

ROOT = Path("/nowhere/out")


def source(below: str, folder: str = "/nowhere/in") -> Source:
    path = Path(folder, below)
    return Source(path, PurePath(below), str(path), Stamp(1, 1))


def outputs(*below: str, full_names: bool = False, ending: str = ".png") -> list[str]:
    jobs, refused = plan([source(name) for name in below], ROOT, ending=ending, full_names=full_names)
    assert refused == []
    return [str(job.output) for job in jobs]


@pytest.mark.parametrize(
    ("below", "short", "full"),
    [
        ("a.jpg", "a.png", "a.jpg.png"),
        ("sub/a.b.JPEG", "sub/a.b.png", "sub/a.b.JPEG.png"),
        ("photo", "photo.png", "photo.png"),
        ("v1.2", "v1.2.png", "v1.2.png"),
    ],
)
def test_a_result_is_named_like_its_picture(below: str, short: str, full: str) -> None:
    assert outputs(below) == [short]
    assert outputs(below, full_names=True) == [full]


@pytest.mark.parametrize(("name", "ending"), [("png", ".png"), ("jpeg", ".jpg"), ("webp", ".webp")])
def test_results_have_the_ending_of_their_format(name: str, ending: str) -> None:
    assert endings_of(Format(name))[0] == ending


def test_pictures_that_would_share_a_result_are_all_refused_and_the_others_are_not() -> None:
    jobs, refused = plan(
        [source("a.jpg"), source("a.png"), source("b.png")], ROOT, ending=".png", full_names=False
    )
    assert [str(job.output) for job in jobs] == ["b.png"]
    assert [problem.name for problem in refused] == ["/nowhere/in/a.jpg", "/nowhere/in/a.png"]
    assert "/nowhere/in/a.png would have the same name, a.png" in refused[0].reason
    assert "--full-names" in refused[0].reason
    assert outputs("a.jpg", "a.png", full_names=True) == ["a.jpg.png", "a.png.png"]


def test_a_result_never_replaces_an_input(tmp_path: Path) -> None:
    pictures = [source(name, str(tmp_path.resolve())) for name in ("a.png", "b.jpg")]
    jobs, refused = plan(pictures, tmp_path, ending=".png", full_names=False)
    assert [str(job.output) for job in jobs] == ["b.png"]
    assert "would replace an input" in refused[0].reason


@pytest.mark.parametrize("root", [ROOT, Address("s3://shop/out")])
@pytest.mark.parametrize("below", ["/tmp/a.jpg", "../a.jpg", "sub/../../a.jpg"])
def test_no_result_is_written_outside_the_output_folder(below: str, root: Path | Address) -> None:
    picture = Source(Address("s3://shop/in/a.jpg"), PurePosixPath(below), "s3://shop/in/a.jpg", Stamp(1))
    jobs, refused = plan([picture], root, ending=".png", full_names=False)
    assert jobs == []
    assert "would be written outside the output folder" in refused[0].reason


def test_a_name_that_no_file_can_have_is_an_error_of_its_picture() -> None:
    picture = Source(Address("s3://shop/in/a\0.jpg"), PurePosixPath("a\0.jpg"), "key", Stamp(1))
    jobs, refused = plan([picture, source("b.jpg")], ROOT, ending=".png", full_names=False)
    assert [str(job.output) for job in jobs] == ["b.png"]
    assert "has a null character" in refused[0].reason


names = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "a.jpg", "b.x"]), st.sampled_from(["", ".jpg", ".png", ".JPG", ".y"])
    ),
    unique=True,
)


@given(names, st.booleans())
def test_no_two_results_have_one_name_and_each_picture_is_planned_or_refused(
    parts: list[tuple[str, str]], full_names: bool
) -> None:
    below = sorted({stem + ending for stem, ending in parts})
    jobs, refused = plan([source(name) for name in below], ROOT, ending=".png", full_names=full_names)
    assert len({job.output for job in jobs}) == len(jobs)
    assert len(jobs) + len(refused) == len(below)

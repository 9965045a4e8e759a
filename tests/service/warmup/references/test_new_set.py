"""The files of a set while it is made: what is written, what is removed, and what a failure leaves."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.warmup.references.contact_sheet import Thumbnails
from service.warmup.references.gathering import NotAccepted
from service.warmup.references.manifest import Manifest, Reference
from service.warmup.references.new_set import new_set
from service.warmup.references.reference_set import ReferenceSet
from tests.support import photos
from tests.support.reference_sets import HEIGHT, INFO, WEIGHTS, WIDTH, ramp

SHEET, LISTING = "index.html", "references.json"
PICTURE = photos.encoded(WIDTH, HEIGHT)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "a.png").write_bytes(PICTURE)
    return tmp_path


def make_set(directory: Path, *, before_commit: Callable[[], None] = lambda: None) -> Path:
    """Make a set of the one picture; return the directory of its mask."""
    with new_set(directory) as new:
        mask, mask_sha256 = new.add_mask("a.png", ramp())
        reference = Reference(
            file="a.png",
            sha256=hashlib.sha256(PICTURE).hexdigest(),
            size=(WIDTH, HEIGHT),
            mask=mask,
            mask_sha256=mask_sha256,
            mask_from="engine",
            engine=INFO.engine,
            weights=WEIGHTS,
            measured=0.0,
            max_error=0.01,
        )
        made = Manifest(accepted_at="2026-01-01T00:00:00+00:00", references=(reference,))
        before_commit()
        new.commit(made, {"a.png": Thumbnails(b"", b"", b"")})
    return (directory / mask).parent


def check(directory: Path) -> None:
    """The set is whole."""
    ReferenceSet.open(directory, engine="auto", max_pixels=10**6).verify()


def contents(directory: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(directory)): path.read_bytes() if path.is_file() else None
        for path in directory.rglob("*")
    }


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def failing_from(step: list[str], method: Callable[..., Any]) -> Callable[..., Any]:
    """The method; once ``step`` has an element, it fails."""

    def run(*args: Any, **options: Any) -> Any:
        if step:
            raise OSError(5, "Input/output error")
        return method(*args, **options)

    return run


def test_a_set_replaces_the_one_before_it(directory: Path) -> None:
    before = make_set(directory)
    after = make_set(directory)
    check(directory)
    assert names(directory) == {"a.png", SHEET, LISTING, after.name}
    assert before.name != after.name


@pytest.mark.parametrize("name", ["accepted", "accepted-pictures", "accepted-20261127", "masks"])
def test_directories_of_somebody_else_are_left_alone(directory: Path, name: str) -> None:
    (directory / name).mkdir()
    (directory / name / "a.png").write_bytes(b"the only copy")
    make_set(directory)
    make_set(directory)
    assert (directory / name / "a.png").read_bytes() == b"the only copy"


def test_what_somebody_put_beside_the_masks_of_an_old_set_stays(directory: Path) -> None:
    masks = make_set(directory)
    (masks / "original.tif").write_bytes(b"the only copy")
    (masks / "drafts").mkdir()
    make_set(directory)
    assert names(masks) == {"original.tif", "drafts"}


def test_what_a_run_that_was_killed_left_behind_is_removed_by_the_next(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as killed:
        killed.setattr(shutil, "rmtree", lambda *_, **__: None)  # nothing is tidied up any more
        with pytest.raises(KeyboardInterrupt):
            make_set(directory, before_commit=die)
    (left,) = (path for path in directory.iterdir() if path.is_dir())
    assert (left / "a.png").is_file()
    make_set(directory)
    assert not left.exists()


@pytest.mark.parametrize("name", ["../a.png", "..", ".", "", "{directory}/a.png"])
def test_a_list_that_leads_out_of_its_directory_removes_nothing(directory: Path, name: str) -> None:
    masks = make_set(directory)
    written = next(path for path in masks.iterdir() if path.name.startswith("."))
    written.write_bytes(os.fsencode(name.format(directory=directory)) + b"\0")
    make_set(directory)
    check(directory)
    assert names(masks) == {"a.png"}, "it was not listed"


def test_a_link_to_another_directory_is_not_followed(directory: Path) -> None:
    other = directory / "other"
    make_set(directory).rename(other)
    (directory / "accepted-abcdefgh").symlink_to(other)
    make_set(directory)
    assert (other / "a.png").is_file()


@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize("name", [SHEET, LISTING])
def test_if_a_file_cannot_be_replaced_the_directory_is_as_it_was(
    directory: Path, monkeypatch: pytest.MonkeyPatch, existing: bool, name: str
) -> None:
    """As where the file belongs to another user, and the directory lets only owners replace their files."""
    if existing:
        make_set(directory)
    before = contents(directory)
    replace_file, failures = Path.replace, [PermissionError(1, "Operation not permitted")]

    def fail(path: Path, target: Path) -> Path:
        if name in {path.name, target.name} and failures:
            raise failures.pop()
        return replace_file(path, target)

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(PermissionError):
        make_set(directory)
    assert contents(directory) == before


@pytest.mark.parametrize("occupied", [f".{SHEET}.new", f".{LISTING}.new", f".{SHEET}.old"])
def test_if_a_file_cannot_be_written_the_directory_is_as_it_was(directory: Path, occupied: str) -> None:
    make_set(directory)
    (directory / occupied).mkdir()
    before = contents(directory)
    with pytest.raises(IsADirectoryError):
        make_set(directory)
    assert contents(directory) == before


def test_nothing_fails_once_the_manifest_is_replaced(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = make_set(directory)
    replaced: list[str] = []
    replace_file = Path.replace

    def note(path: Path, target: Path) -> Path:
        if target.name == LISTING:
            replaced.append(LISTING)
        return replace_file(path, target)

    with monkeypatch.context() as broken:
        broken.setattr(Path, "replace", note)
        for name in ("unlink", "rmdir", "read_bytes", "iterdir"):
            broken.setattr(Path, name, failing_from(replaced, getattr(Path, name)))
        made = make_set(directory)
    check(directory)
    assert old.exists()
    assert names(made) >= {"a.png"}
    make_set(directory)
    assert not old.exists()
    assert not made.exists()


def test_a_second_run_at_the_same_time_is_refused(directory: Path) -> None:
    with new_set(directory), pytest.raises(NotAccepted, match="another run of accept is at work"):
        make_set(directory)


def test_the_service_may_run_as_another_user(directory: Path) -> None:
    assert make_set(directory).stat().st_mode & 0o777 == 0o755

"""Making a set of references: its masks and figures, and what is left of it if something fails."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from service.engines.protocol import DeviceError, EngineInfo
from service.errors import Undecodable
from service.imaging.decode import decode
from service.imaging.mask import BadMask
from service.warmup.references import manifest as manifests
from service.warmup.references.acceptance import TOLERANCE, Cut, Precision, accept
from service.warmup.references.gathering import NotAccepted
from service.warmup.references.manifest import Manifest
from service.warmup.references.masks import mask_of_answer
from service.warmup.references.new_set import NewSet
from service.warmup.references.reference_set import ReferenceSet
from tests.support import photos
from tests.support.reference_sets import HEIGHT, INFO, WEIGHTS, WIDTH, cut_out, ramp

INSPYRENET = replace(INFO, engine="inspyrenet")
MaskOf = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.uint8]]


class Engines:
    """Stands for the pipeline: the mask of a picture is its red channel, moved by what the precision adds.

    Attributes:
        opened: the precisions that were asked for, None for the configured one.
        on_cut: called with the number of the cut before it is made; a test replaces it to fail.
    """

    def __init__(self, info: EngineInfo = INFO, *, moved_in_bf16: int = 0) -> None:
        self.info = info
        self.opened: list[str | None] = []
        self.open_now = 0
        self.cuts = 0
        self.on_cut: Callable[[int], None] = lambda _: None
        self._moved = moved_in_bf16

    @contextmanager
    def cutting(
        self, info: EngineInfo | None, precision: Precision | None
    ) -> Iterator[tuple[EngineInfo, Cut]]:
        assert (info is None) == (precision is None)
        self.opened.append(precision)
        self.open_now += 1
        assert self.open_now == 1, "two engines at the same time need twice the memory"

        def cut(data: bytes) -> bytes:
            self.cuts += 1
            self.on_cut(self.cuts)
            red = decode(data, max_pixels=10**6).rgb[..., 0] // 2
            return cut_out(red + np.uint8(self._moved if precision == "bf16" else 0))

        try:
            yield self.info, cut
        finally:
            self.open_now -= 1


Accept = Callable[..., Manifest]


@pytest.fixture
def lines() -> list[str]:
    """What the operator is told."""
    return []


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    found = tmp_path / "pictures"
    found.mkdir()
    for seed, name in enumerate(["a.png", "b.png", "c.png"]):
        (found / name).write_bytes(photos.save(photos.photograph(WIDTH, HEIGHT, seed), "PNG"))
    return found


@pytest.fixture
def accepting(directory: Path, lines: list[str]) -> Accept:
    def run(engines: Engines, **options: Any) -> Manifest:
        arguments: dict[str, Any] = {
            "masks": None,
            "max_pixels": 10**6,
            "max_error": None,
            "report": lines.append,
        }
        return accept(directory, cutting=engines.cutting, **(arguments | options))

    return run


def files(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def open_set(directory: Path) -> ReferenceSet:
    references = ReferenceSet.open(directory, engine="auto", max_pixels=10**6)
    references.verify()
    return references


def test_the_set_that_is_made_is_one_that_the_service_takes(accepting: Accept, directory: Path) -> None:
    made = accepting(Engines())
    assert manifests.read(directory) == made
    references = open_set(directory)
    assert references.names == ("a.png", "b.png", "c.png")
    with Engines().cutting(None, None) as (info, cut):
        for name in references.names:
            assert references.judge(name, cut(references.encoded(name)), info=info).error == 0


def test_the_manifest_holds_what_the_contract_lists(accepting: Accept, directory: Path) -> None:
    reference = (accepting(Engines())).references[0]
    assert reference.file == "a.png"
    assert reference.sha256 == hashlib.sha256((directory / "a.png").read_bytes()).hexdigest()
    assert reference.size == (WIDTH, HEIGHT)
    assert reference.mask_sha256 == hashlib.sha256((directory / reference.mask).read_bytes()).hexdigest()
    assert (reference.mask_from, reference.engine, reference.weights) == ("engine", "u2netp", WEIGHTS)
    assert reference.max_error == 2 / 255


def test_the_contact_sheet_is_written_beside_it(accepting: Accept, directory: Path) -> None:
    accepting(Engines())
    assert "a.png" in (directory / "index.html").read_text()


def test_an_engine_of_one_precision_is_accepted_with_the_tolerance_alone(accepting: Accept) -> None:
    engines = Engines()
    made = accepting(engines)
    assert engines.opened == [None]
    assert {(each.measured, each.max_error) for each in made.references} == {(0.0, TOLERANCE)}


@pytest.mark.parametrize(("precision", "other"), [("fp32", "bf16"), ("bf16", "fp32")])
def test_the_difference_between_the_precisions_is_measured_on_each_picture_and_added(
    accepting: Accept, precision: str, other: str
) -> None:
    engines = Engines(replace(INSPYRENET, precision=precision), moved_in_bf16=3 if precision == "fp32" else 0)
    made = accepting(engines)
    assert engines.opened == [None, other]
    expected = 3 / 255 if precision == "fp32" else 0
    for reference in made.references:
        assert reference.measured == pytest.approx(expected)
        assert reference.max_error == pytest.approx(expected + 2 / 255)


def test_given_masks_count_and_what_was_measured_is_added(
    accepting: Accept, directory: Path, tmp_path: Path
) -> None:
    masks = tmp_path / "masks"
    masks.mkdir()
    for name in ("a.png", "b.png", "c.png"):
        (masks / name).write_bytes(cut_out(ramp()))
    engines = Engines(INSPYRENET, moved_in_bf16=3)
    made = accepting(engines, masks=masks)
    assert engines.opened == [None], "the difference between precisions does not count here"
    with Engines().cutting(None, None) as (_, cut):
        for reference in made.references:
            assert reference.mask_from == "given"
            assert np.array_equal(
                mask_of_answer((directory / reference.mask).read_bytes(), reference.size), ramp()
            )
            own = mask_of_answer(cut((directory / reference.file).read_bytes()), reference.size)
            assert reference.measured == pytest.approx(np.abs(own.astype(float) - ramp()).mean() / 255)
            assert reference.max_error == pytest.approx(reference.measured + 2 / 255)


def test_the_masks_of_a_set_can_be_given_again(accepting: Accept, directory: Path) -> None:
    first = accepting(Engines())
    again = accepting(Engines(), masks=directory / Path(first.references[0].mask).parent)
    assert {each.measured for each in again.references} == {0.0}
    open_set(directory)


def test_an_error_that_was_asked_for_is_taken_as_it_is(accepting: Accept) -> None:
    engines = Engines(INSPYRENET, moved_in_bf16=3)
    made = accepting(engines, max_error=0.03)
    assert {each.max_error for each in made.references} == {0.03}
    assert engines.opened == [None]


def test_a_reference_that_proves_little_is_named(accepting: Accept, lines: list[str]) -> None:
    accepting(Engines(), max_error=0.06)
    assert "b.png: max_error is 0.0600, so much that this reference proves little" in lines


def test_a_turned_photograph_is_accepted_upright(accepting: Accept, directory: Path) -> None:
    upright = photos.photograph(WIDTH, HEIGHT, 0)
    for orientation in range(1, 9):
        stored = photos.orient(upright, orientation)
        (directory / f"{orientation}.png").write_bytes(
            photos.save(stored, "PNG", exif=photos.exif(orientation).tobytes())
        )
    made = accepting(Engines())
    turned = [each for each in made.references if each.file[0].isdigit()]
    assert {each.size for each in turned} == {(WIDTH, HEIGHT)}
    assert {each.mask_sha256 for each in turned} == {made.references[-3].mask_sha256}
    assert len(turned) == 8


def test_a_new_set_replaces_the_old_one(accepting: Accept, directory: Path) -> None:
    before = accepting(Engines())
    (directory / "b.png").unlink()
    after = accepting(Engines())
    assert open_set(directory).names == ("a.png", "c.png")
    folders = {path.name for path in directory.iterdir() if path.is_dir()}
    assert folders == {Path(after.references[0].mask).parts[0]}
    assert folders.isdisjoint({Path(before.references[0].mask).parts[0]})


@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize("number", [1, 3, 4])
@pytest.mark.parametrize(
    "error",
    [
        Undecodable("It is damaged."),
        DeviceError("no device", sticky=True),
        BadMask("it is NaN"),
        OSError(28, "full"),
    ],
)
def test_whatever_fails_the_directory_is_as_it_was(
    accepting: Accept, directory: Path, existing: bool, number: int, error: Exception
) -> None:
    """The fourth cut is the first of the second precision."""
    if existing:
        accepting(Engines())
    before = files(directory)
    engines = Engines(INSPYRENET)

    def fail(cut: int) -> None:
        if cut == number:
            raise error

    engines.on_cut = fail
    with pytest.raises((NotAccepted, DeviceError, BadMask, Undecodable, OSError)):
        accepting(engines)
    assert files(directory) == before
    assert {path.name for path in directory.iterdir() if path.is_dir()} == {
        Path(name).parts[0] for name in before if "/" in name
    }


def test_every_picture_that_fails_is_named(accepting: Accept) -> None:
    engines = Engines()

    def fail(cut: int) -> None:
        if cut != 2:
            raise Undecodable("It is damaged.")

    engines.on_cut = fail
    with pytest.raises(NotAccepted) as caught:
        accepting(engines)
    assert caught.value.problems == ("a.png: It is damaged.", "c.png: It is damaged.")


def test_a_constant_mask_of_the_engine_is_refused(accepting: Accept, directory: Path) -> None:
    (directory / "b.png").write_bytes(photos.save(np.zeros((HEIGHT, WIDTH, 3), np.uint8), "PNG"))
    with pytest.raises(NotAccepted) as caught:
        accepting(Engines())
    assert caught.value.problems == (
        "b.png: its mask is constant (0 everywhere), so nothing would be compared",
    )


def test_a_contact_sheet_that_cannot_be_written_leaves_the_old_set_whole(
    accepting: Accept, directory: Path
) -> None:
    accepting(Engines())
    before = files(directory)
    (directory / ".index.html.new").mkdir()
    with pytest.raises(OSError, match="Is a directory"):
        accepting(Engines())
    (directory / ".index.html.new").rmdir()
    assert files(directory) == before


@pytest.mark.parametrize("name", ["index.html", "references.json"])
def test_what_cannot_be_replaced_is_told_before_the_engine_is_loaded(
    accepting: Accept, directory: Path, name: str
) -> None:
    (directory / name).mkdir()
    engines = Engines()
    with pytest.raises(NotAccepted, match=f"{name} is not a file"):
        accepting(engines)
    assert not engines.opened
    assert {path.name for path in directory.iterdir()} == {"a.png", "b.png", "c.png", name}


def test_nothing_is_said_or_read_once_the_set_is_replaced(
    accepting: Accept, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure there would be told as one that has changed nothing."""
    events: list[str] = []
    commit = NewSet.commit

    def note_commit(new: NewSet, *args: Any) -> None:
        commit(new, *args)
        events.append("committed")

    monkeypatch.setattr(NewSet, "commit", note_commit)
    accepting(Engines(), max_error=0.06, report=events.append)
    assert events[-1] == "committed"
    assert any("proves little" in line for line in events)


def test_a_second_run_at_the_same_time_is_refused(accepting: Accept, directory: Path) -> None:
    engines, seen = Engines(), []

    def accept_again(_: int) -> None:
        with pytest.raises(NotAccepted) as caught:
            accepting(Engines())
        seen.append(caught.value.problems)

    engines.on_cut = accept_again
    accepting(engines)
    assert set(seen) == {(f"another run of accept is at work in {directory}",)}
    open_set(directory)


def test_the_service_may_run_as_another_user(accepting: Accept, directory: Path) -> None:
    made = accepting(Engines())
    assert (directory / made.references[0].mask).parent.stat().st_mode & 0o777 == 0o755

"""A set of references in use: what stops the start, what fails a probe, and what is said of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.engines.protocol import ConfigurationError
from service.warmup.references.reference_set import ReferenceSet
from supervisor.failure import Failure
from supervisor.protocol import MaskError, Outcome, ProbeError
from tests.support import photos
from tests.support.reference_sets import (
    HEIGHT,
    INFO,
    WIDTH,
    cut_out,
    make_reference,
    ramp,
    write_manifest,
)

NAME = "photo.png"
TOO_FAR = 3
"""Levels of 255 by which a mask is moved to be beyond the accepted error of 2/255."""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    write_manifest(tmp_path, [make_reference(tmp_path)])
    return tmp_path


def opened(directory: Path, *, engine: str = INFO.engine, max_pixels: int = 1_000_000) -> ReferenceSet:
    return ReferenceSet.open(directory, engine=engine, max_pixels=max_pixels)


def problem(check: Callable[[], object]) -> str:
    """The line with which a start ends."""
    with pytest.raises(ConfigurationError) as caught:
        check()
    said = str(caught.value)
    assert said.isprintable()
    assert "./inspyrenet accept " in said
    return said


def failure(judge: Callable[[], object]) -> tuple[Outcome, str]:
    with pytest.raises(ProbeError) as caught:
        judge()
    return caught.value.outcome, caught.value.message


def change_a_byte(path: Path, at: int = -1, by: int = 1) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= by
    path.write_bytes(data)


# -- the start ---------------------------------------------------------------------------------------------------


def test_a_set_that_fits_its_files_is_opened_and_verified(directory: Path) -> None:
    references = opened(directory)
    references.verify()
    references.check_engine(INFO)
    assert references.names == (NAME,)
    assert references.encoded(NAME) == photos.encoded(WIDTH, HEIGHT)
    assert (references.gate("none"), references.gate("first"), references.gate("all")) == (
        (),
        (NAME,),
        (NAME,),
    )


def test_names_are_in_the_order_of_the_manifest(tmp_path: Path) -> None:
    write_manifest(tmp_path, [make_reference(tmp_path, name) for name in ("b.png", "a.png")])
    assert opened(tmp_path).names == ("b.png", "a.png")


@pytest.mark.parametrize("file", [NAME, "masks/photo.png"])
def test_a_missing_file_is_named(directory: Path, file: str) -> None:
    (directory / file).unlink()
    assert f"{file}, which references.json lists, is missing" in problem(lambda: opened(directory))


@pytest.mark.parametrize("file", [NAME, "masks/photo.png"])
def test_a_link_that_leads_out_of_the_directory_is_refused(
    directory: Path, file: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside") / "file.png"
    (directory / file).rename(outside)
    (directory / file).symlink_to(outside)
    assert f"{file} in references.json leads out of the directory" in problem(lambda: opened(directory))


def test_links_within_the_directory_are_followed_as_kubernetes_mounts_them(directory: Path) -> None:
    (directory / "..data").mkdir()
    (directory / NAME).rename(directory / "..data" / NAME)
    (directory / NAME).symlink_to(Path("..data") / NAME)
    opened(directory).verify()


@pytest.mark.parametrize("file", [NAME, "masks/photo.png"])
@given(data=st.data())
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_changed_byte_of_a_picture_or_a_mask_stops_the_start(
    directory: Path, file: str, data: st.DataObject
) -> None:
    path = directory / file
    whole = path.read_bytes()
    change_a_byte(path, data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(1, 255)))
    try:
        assert f"{file} is not the file that was accepted (SHA-256 " in problem(opened(directory).verify)
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"size": (WIDTH + 1, HEIGHT)}, "the picture is 25 x 16"),
        ({"sha256": "0" * 64}, "photo.png is not the file that was accepted"),
        ({"mask_sha256": "0" * 64}, "masks/photo.png is not the file that was accepted"),
        ({"mask": NAME, "mask_sha256": None}, "photo.png is no grey mask (mode RGB)"),
    ],
)
def test_a_manifest_that_does_not_fit_its_files_stops_the_start(
    tmp_path: Path, changed: dict[str, Any], words: str
) -> None:
    if changed.get("mask_sha256", "") is None:
        changed["mask_sha256"] = make_reference(tmp_path).sha256
    write_manifest(tmp_path, [make_reference(tmp_path, **changed)])
    assert words in problem(opened(tmp_path).verify)


def test_a_picture_of_another_size_than_its_mask_stops_the_start(tmp_path: Path) -> None:
    other = make_reference(tmp_path, "other.png")
    picture = photos.encoded(WIDTH, HEIGHT + 1)
    (tmp_path / "other.png").write_bytes(picture)
    write_manifest(tmp_path, [other.model_copy(update={"sha256": hashlib.sha256(picture).hexdigest()})])
    assert "other.png is 24 x 17 pixels; references.json says 24 x 16" in problem(opened(tmp_path).verify)


def test_a_file_that_is_no_picture_stops_the_start(tmp_path: Path) -> None:
    reference = make_reference(tmp_path)
    (tmp_path / NAME).write_bytes(b"text")
    write_manifest(tmp_path, [reference.model_copy(update={"sha256": hashlib.sha256(b"text").hexdigest()})])
    assert "photo.png: The file is not an image" in problem(opened(tmp_path).verify)


def test_a_picture_that_is_too_large_to_be_judged_stops_the_start(directory: Path) -> None:
    said = problem(lambda: opened(directory, max_pixels=WIDTH * HEIGHT - 1))
    assert "photo.png has 384 pixels, more than INSPYRENET_MAX_PIXELS = 383 allows" in said


def test_a_picture_that_cannot_be_read_stops_the_start(directory: Path) -> None:
    references = opened(directory)
    (directory / NAME).unlink()
    (directory / NAME).mkdir()
    assert "photo.png cannot be read" in problem(references.verify)


# -- the engine --------------------------------------------------------------------------------------------------


def test_another_engine_stops_the_start_before_anything_is_loaded(directory: Path) -> None:
    said = problem(lambda: opened(directory, engine="inspyrenet"))
    assert "photo.png was accepted with the engine u2netp, and inspyrenet is in use" in said


def test_with_auto_another_engine_stops_the_start_after_the_load(directory: Path) -> None:
    references = opened(directory, engine="auto")
    references.check_engine(replace(INFO, fallback=True))
    problem(lambda: references.check_engine(replace(INFO, engine="inspyrenet")))


def test_if_auto_fell_back_the_start_goes_on_and_every_reference_disagrees(tmp_path: Path) -> None:
    write_manifest(tmp_path, [make_reference(tmp_path, engine="inspyrenet")])
    references, fallback = opened(tmp_path, engine="auto"), replace(INFO, fallback=True)
    references.check_engine(fallback)
    outcome, message = failure(lambda: references.judge(NAME, cut_out(ramp()), info=fallback))
    assert outcome is Outcome.DISAGREES
    assert message.endswith("(accepted with inspyrenet; u2netp serves as a fallback)")


# -- the judge ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moved", [0, 1, 2])
def test_a_mask_within_the_accepted_error_agrees_and_its_error_is_returned(
    directory: Path, moved: int
) -> None:
    answer = cut_out(ramp() + np.uint8(moved))
    measured = opened(directory).judge(NAME, answer, info=INFO)
    assert (measured.error, measured.max_error) == (pytest.approx(moved / 255), 2 / 255)


def test_a_grey_mask_is_judged_like_a_cut_out(directory: Path) -> None:
    assert opened(directory).judge(NAME, photos.save(ramp(), "PNG"), info=INFO).error == 0


def test_a_mask_beyond_the_accepted_error_disagrees_with_the_picture_and_both_figures(
    directory: Path,
) -> None:
    with pytest.raises(ProbeError) as caught:
        opened(directory).judge(NAME, cut_out(ramp() + np.uint8(TOO_FAR)), info=INFO)
    assert caught.value.outcome is Outcome.DISAGREES
    assert caught.value.message == (
        "the mask of photo.png differs from the accepted one by 0.0118 in the mean; at most 0.0078 is accepted"
    )
    assert caught.value.mask_error == MaskError(pytest.approx(3 / 255), 2 / 255)


def test_other_weights_are_named_if_the_mask_disagrees_and_no_matter_if_it_agrees(directory: Path) -> None:
    references, other = opened(directory), replace(INFO, weights_hash="sha256:" + "cd" * 32)
    assert references.judge(NAME, cut_out(ramp()), info=other).error == 0
    _, message = failure(lambda: references.judge(NAME, cut_out(255 - ramp()), info=other))
    assert message.endswith("(accepted with the weights sha256:abababababab; sha256:cdcdcdcdcdcd serve)")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "does not decode"),
        (cut_out(ramp(10, 10)), "is 10 x 10 pixels; the picture is 24 x 16"),
        (photos.encoded(WIDTH, HEIGHT), "has no alpha channel"),
    ],
)
def test_an_answer_that_is_no_mask_of_the_picture_is_bad_output(
    directory: Path, answer: bytes, words: str
) -> None:
    outcome, message = failure(lambda: opened(directory).judge(NAME, answer, info=INFO))
    assert outcome is Outcome.BAD_OUTPUT
    assert message.startswith("the answer for the reference photo.png ")
    assert words in message


def test_a_file_that_changes_while_the_service_runs_fails_the_probe(directory: Path) -> None:
    references = opened(directory)
    references.verify()
    change_a_byte(directory / NAME)
    change_a_byte(directory / "masks" / "photo.png")
    for judged in (
        lambda: references.encoded(NAME),
        lambda: references.judge(NAME, cut_out(ramp()), info=INFO),
    ):
        outcome, message = failure(judged)
        assert outcome is Outcome.ERROR
        assert "is not the file that was accepted" in message
        assert message.endswith("after accepting references again, the service has to be restarted")


def test_a_file_that_disappears_while_the_service_runs_fails_the_probe(directory: Path) -> None:
    references = opened(directory)
    (directory / NAME).unlink()
    assert "photo.png cannot be read" in failure(lambda: references.encoded(NAME))[1]


def test_the_figures_fit_into_the_longest_message_whatever_the_name(tmp_path: Path) -> None:
    name = "line\nbreak" + "x" * 200 + ".png"
    write_manifest(tmp_path, [make_reference(tmp_path, name)])
    other = replace(INFO, weights_hash="sha256:" + "cd" * 32)
    with pytest.raises(ProbeError) as caught:
        opened(tmp_path).judge(name, cut_out(255 - ramp()), info=other)
    shown = Failure.of(caught.value).message
    assert shown == caught.value.message
    assert shown.isprintable()
    assert "at most 0.0078 is accepted" in shown

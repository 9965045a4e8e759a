"""The command ``cut`` with a scripted engine: what it makes, what it says, and how it ends."""

from __future__ import annotations

import io
import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from service.batch import ledger
from service.batch.ledger import Ledger
from service.cli import commands, cut
from service.engines.memory_needs import INSPYRENET
from service.engines.protocol import (
    RGB,
    Alpha,
    ConfigurationError,
    DeviceError,
    OutOfMemory,
    WeightsUnavailable,
)
from service.settings import Settings
from tests.support import photos
from tests.support.scripted_engine import ScriptedEngine, disc


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four pictures, one of them damaged, and a note; the present directory is their folder's."""
    monkeypatch.chdir(tmp_path)
    add("in/a.jpg")
    add("in/sub/b.png")
    add("in/sub/deep/c.webp")
    (tmp_path / "in/broken.jpg").write_bytes(photos.save(photos.photograph(), "JPEG")[:600])
    (tmp_path / "in/notes.txt").write_text("x")


def add(name: str, seed: int = 0) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = {"jpg": "JPEG"}.get(path.suffix[1:], path.suffix[1:].upper())
    path.write_bytes(photos.save(photos.photograph(seed=seed), kind))
    return path


class Run:
    """One run, with the engine that it used."""

    def __init__(self, *argv: str, **attributes: object) -> None:
        self.engines: list[ScriptedEngine] = []

        def make(_: Settings) -> ScriptedEngine:
            engine = ScriptedEngine()
            for name, value in attributes.items():
                setattr(engine, name, value)
            self.engines.append(engine)
            return engine

        self.code = cut.run(commands.parse(["cut", *argv]), {}, make_engine=make)

    @property
    def pictures(self) -> int:
        """How many pictures the engine saw."""
        return sum(len(engine.seen) for engine in self.engines)


def results(root: str = "out") -> list[str]:
    found = [path for path in Path(root).rglob("*") if path.is_file() and path.name != ledger.FILE_NAME]
    return sorted(str(path.relative_to(root)) for path in found)


def pixels(name: str) -> npt.NDArray[np.uint8]:
    with Image.open(name) as image:
        return np.asarray(image)


def raising(error: Exception) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise error

    return fail


def test_a_folder_is_cut_out_with_its_structure_and_the_broken_picture_is_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert Run("in", "--to", "out").code == 1
    assert results() == ["a.png", "sub/b.png", "sub/deep/c.png"]
    out, err = capsys.readouterr()
    assert out == ""
    *_, problem, summary = err.splitlines()
    assert problem.startswith("error: in/broken.jpg: The JPEG file is damaged")
    assert summary == "3 cut out, 1 failed. Ignored: 1 .txt."
    expected = np.round(disc(pixels("in/a.jpg")) * 255)
    assert np.abs(pixels("out/a.png")[..., 3] - expected).max() <= 1


def test_what_is_done_is_skipped_and_no_engine_is_loaded_for_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Run("in/a.jpg", "in/sub", "--to", "out")
    before = {name: Path("out", name).stat() for name in results()}
    capsys.readouterr()
    again = Run("in/a.jpg", "in/sub", "--to", "out")
    assert (again.code, again.engines) == (0, [])
    assert capsys.readouterr().err == "0 cut out, 3 done before.\n"
    assert {name: Path("out", name).stat() for name in results()} == before


def test_only_what_is_missing_changed_or_failed_is_done_again() -> None:
    Run("in", "--to", "out")
    Path("out/a.png").unlink()
    add("in/sub/b.png", seed=7)
    add("in/new.jpg")
    add("in/broken.jpg")
    again = Run("in", "--to", "out")
    assert (again.code, again.pictures) == (0, 4)
    assert Run("in", "--to", "out").pictures == 0


def test_other_options_do_it_again_and_overwrite_does_everything_again() -> None:
    Run("in/sub", "--to", "out")
    assert Run("in/sub", "--to", "out", "--output", "mask").pictures == 2
    assert pixels("out/b.png").ndim == 2
    assert Run("in/sub", "--to", "out", "--output", "mask").pictures == 0
    assert Run("in/sub", "--to", "out", "--output", "mask", "--overwrite").pictures == 2


def test_results_inside_the_folder_of_the_pictures_are_never_taken_as_pictures() -> None:
    assert Run("in/sub", "--to", "in/sub/out").pictures == 2
    assert Run("in/sub", "--to", "in/sub/out").pictures == 0
    assert Run("in/sub", "--to", "in/sub/masks", "--output", "mask").pictures == 2
    assert Run("in/a.jpg", "--to", "in").pictures == 1
    assert Run("in/*.*", "--to", "in", "--dry-run").pictures == 0


def test_pictures_that_would_share_a_result_are_named_and_the_others_are_cut_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    add("in/sub/b.jpg")
    assert Run("in/sub", "--to", "out").code == 1
    assert results() == ["deep/c.png"]
    assert capsys.readouterr().err.count("would have the same name, b.png. --full-names") == 2
    assert Run("in/sub", "--to", "out", "--full-names").code == 0
    assert {"b.jpg.png", "b.png.png"} <= set(results())


def test_a_file_of_the_users_is_named_and_not_replaced(capsys: pytest.CaptureFixture[str]) -> None:
    Path("out").mkdir()
    Path("out/a.png").write_text("mine")
    assert Run("in/a.jpg", "in/sub/b.png", "--to", "out").code == 1
    assert Path("out/a.png").read_text() == "mine"
    assert "out/a.png is there already" in capsys.readouterr().err
    assert Run("in/a.jpg", "in/sub/b.png", "--to", "out", "--overwrite").code == 0


def test_a_result_whose_name_the_file_system_cannot_hold_is_an_error_of_its_picture(
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = f"in/sub/{'long' * 62}.jpg"
    add(name)
    assert Run("in/sub", "--to", "out", "--full-names", "--format", "webp").code == 1
    assert results() == ["b.png.webp", "deep/c.webp.webp"]
    assert f"error: {name}: File name too long." in capsys.readouterr().err


def test_a_dry_run_lists_what_would_be_done_and_does_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    Run("in/a.jpg", "--to", "out")
    before = Path("out", ledger.FILE_NAME).read_bytes()
    capsys.readouterr()
    planned = Run("in", "gone.jpg", "--to", "out", "--dry-run")
    assert (planned.code, planned.engines) == (1, [])
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "done: in/a.jpg -> out/a.png",
        "to do: in/broken.jpg -> out/broken.png",
        "to do: in/sub/b.png -> out/sub/b.png",
        "to do: in/sub/deep/c.webp -> out/sub/deep/c.png",
    ]
    assert err.splitlines() == [
        "error: gone.jpg: There is no such file or folder.",
        "Ignored: 1 .txt.",
    ]
    assert Path("out", ledger.FILE_NAME).read_bytes() == before
    Run("in", "--to", "elsewhere", "--dry-run")
    assert not Path("elsewhere").exists()


def test_a_file_that_is_named_and_is_no_picture_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert Run("in/notes.txt", "in/a.jpg", "--to", "out").code == 1
    assert "error: in/notes.txt: The file is not an image" in capsys.readouterr().err
    assert results() == ["a.png"]


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--max-upload-bytes", "100"], "in/a.jpg: The file has more than 100 bytes"),
        (["--max-pixels", "4096"], "in/a.jpg: The image is 96 x 64 = 6144 pixels; at most 4096 are allowed."),
    ],
)
def test_the_limits_of_the_service_apply(
    argv: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert Run("in/a.jpg", "--to", "out", *argv).code == 1
    assert f"error: {words}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["in"], "Name the folder of the results: --to cut-outs/"),
        (["in", "-", "--to", "out"], "It cannot stand beside other inputs."),
        (["in/a.jpg", "in/sub/b.png", "--to", "-"], "carry one picture"),
        (["in", "--to", "in/notes.txt"], "--to in/notes.txt is a file."),
        (["in", "--to", "x.png"], "--to x.png names a file, but there may be several pictures."),
        (["in/a.jpg", "--to", "x.webp"], "the result is png. Name it x.png, or ask for another --format."),
        (["in/a.jpg", "--to", "in/sub/b.png"], "in/sub/b.png is there already."),
        (["in/a.jpg", "--to", "gone/x.png"], "gone is missing or cannot be written."),
        (["in/gone.jpg", "--to", "x.png"], "in/gone.jpg is not a file."),
        (["in", "--to", "in/notes.txt/out"], "cannot be written: Not a directory."),
        (["empty", "--to", "out"], "There is no picture in empty."),
        (["gone", "--to", "out", "--watch"], "gone: there is no such file or folder to be watched."),
        (["in/a.jpg", "--to", "-", "--watch"], "--watch needs a folder of results"),
        (["in", "--to", "out", "--output", "map"], "output is 'map', but it must be one of"),
        (["in", "--to", "out", "--format", "jpeg"], "JPEG has no transparency"),
        (
            ["in", "--to", "out", "--output", "background"],
            "--output background and --background FILE need each other.",
        ),
        (["in", "--to", "out", "--background", "in/a.jpg"], "need each other."),
        (["in", "--to", "out", "--output", "background", "--background", "in/notes.txt"], "not an image"),
        (["in", "--to", "out", "--output", "background", "--background", "gone"], "No such file"),
        (["in", "--to", "file://out"], "file:// stands before an absolute path, as in file:///mnt/photos."),
        (["in", "--to", "s3:/shop/out"], "An address has two slashes: s3://shop/out"),
        (["s3:/KEY:SECRET@shop", "--to", "out"], "error: An address has two slashes: s3://***@shop\n"),
        (
            ["in/a.jpg", "--to", "s3://shop/x.png"],
            "--to s3://shop/x.png names one object, but results go below",
        ),
        (["-", "--to", "s3://shop/out"], "Standard input goes to a file or to standard output."),
        (["s3://shop/in/a.jpg", "--to", "x.png"], "Its result goes into a folder or below an address"),
        (["s3://shop/in/a.jpg", "--to", "-"], "Its result goes into a folder or below an address"),
        (
            ["in", "--to", "out", "--output", "background", "--background", "s3://shop/b.jpg"],
            "--background s3://shop/b.jpg: name a file of this machine.",
        ),
        (["in/a.jpg", "--to", "x.png", "--format", "zip"], "the result is zip. Name it x.zip"),
        (["in", "--to", "x.zip", "--format", "zip"], "--to x.zip names a file, but there may be several"),
    ],
)
def test_what_cannot_start_says_why_with_exit_code_2(
    argv: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("empty").mkdir()
    asked = Run(*argv)
    assert (asked.code, asked.engines) == (2, [])
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert words in err


def test_a_wrong_setting_gives_exit_code_2() -> None:
    assert commands.run(["cut", "in", "--to", "out", "--engine", "grab"], {}) == 2


def test_two_runs_do_not_write_into_one_folder(capsys: pytest.CaptureFixture[str]) -> None:
    Path("out").mkdir()
    other = Ledger(Path("out"))
    assert Run("in", "--to", "out").code == 2
    assert capsys.readouterr().err == "error: --to out: another run writes into this folder.\n"
    other.close()


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"on_prepare": raising(WeightsUnavailable("there is no network"))}, "there is no network"),
        ({"on_load": raising(ConfigurationError("there is no cuda:7"))}, "there is no cuda:7"),
    ],
)
def test_an_engine_that_cannot_be_loaded_gives_exit_code_2(
    attributes: dict[str, object], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert Run("in", "--to", "out", **attributes).code == 2
    assert f"error: {words}\n" in capsys.readouterr().err


def failing_on_the_first(error: Exception) -> Callable[[RGB], Alpha]:
    failed = []

    def infer(image: RGB) -> Alpha:
        if not failed:
            failed.append(image)
            raise error
        return disc(image)

    return infer


def test_an_engine_that_fails_on_one_picture_does_not_stop_the_others(
    capsys: pytest.CaptureFixture[str],
) -> None:
    seen = Run("in/sub", "--to", "out", on_infer=failing_on_the_first(OutOfMemory("no memory for this one")))
    assert seen.code == 1
    assert len(results()) == 1
    assert "no memory for this one" in capsys.readouterr().err
    assert Run("in/sub", "--to", "out").pictures == 1


def test_under_a_memory_limit_a_picture_that_cannot_fit_is_named_and_the_others_take_turns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is room for one of a megapixel at a time."""
    monkeypatch.setattr("service.app.memory_limit", lambda: INSPYRENET["fp32"].idle + 70_000_000)
    Path("many").mkdir()
    Image.new("RGB", (2000, 1500)).save("many/large.png")
    for number in range(5):
        Image.new("RGB", (1000, 1000)).save(f"many/{number}.png")
    assert Run("many", "--to", "out", on_size=lambda width, height: (64, 64)).code == 1
    assert len(results()) == 5
    said = capsys.readouterr().err
    assert (
        "error: many/large.png: A picture of 2000 x 1500 pixels takes more memory than this service has."
        in said
    )
    monkeypatch.setattr("service.app.memory_limit", lambda: 1 << 28)
    assert Run("many", "--to", "out", "--device", "cpu").code == 2
    assert "the memory limit of this container is 0.3 GB" in capsys.readouterr().err


def test_an_unusable_mask_is_an_error_of_its_picture(capsys: pytest.CaptureFixture[str]) -> None:
    def nonsense(image: RGB) -> Alpha:
        return np.full(image.shape[:2], np.nan, np.float32)

    assert Run("in/a.jpg", "--to", "out", on_infer=nonsense).code == 1
    assert "error: in/a.jpg: The engine made no usable mask: " in capsys.readouterr().err
    assert results() == []


def test_a_device_that_is_lost_ends_the_run_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    args = commands.parse(["cut", "in", "--to", "out"])
    engine = ScriptedEngine()
    engine.on_infer = raising(DeviceError("it is gone", sticky=True))  # type: ignore[assignment]
    code = cut.run(args, {}, make_engine=lambda _: engine)
    assert code == 1
    assert len(engine.seen) <= 2  # the device thread may have begun the next one
    assert "error: stopped early: the device has failed for good" in capsys.readouterr().err
    assert results() == []


def test_a_full_disk_ends_the_run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    for number in range(20):
        add(f"many/{number}.png")
    seen = Run("many", "--to", "out")
    assert seen.code == 1
    assert seen.pictures < 20
    assert "error: stopped early: No space left on device." in capsys.readouterr().err
    assert results() == []


# -- one picture -------------------------------------------------------------------------------------------------------


class Stream(io.TextIOWrapper):
    """Standard input or output that is no terminal."""

    def __init__(self, data: bytes = b"") -> None:
        self.raw_bytes = io.BytesIO(data)
        super().__init__(self.raw_bytes)


def test_one_picture_may_have_a_file_of_its_own_for_its_result() -> None:
    assert Run("in/a.jpg", "--to", "cutout.png").code == 0
    assert pixels("cutout.png").shape == (64, 96, 4)
    assert Run("in/a.jpg", "--to", "cutout.png").code == 2
    assert Run("in/a.jpg", "--to", "cutout.png", "--output", "mask", "--overwrite").code == 0
    assert pixels("cutout.png").shape == (64, 96)
    assert not Path(ledger.FILE_NAME).exists()


def test_a_zip_may_have_a_file_of_its_own_too() -> None:
    assert Run("in/a.jpg", "--to", "cutout.zip", "--format", "zip").code == 0
    with zipfile.ZipFile("cutout.zip") as found:
        assert found.namelist() == ["color.jpg", "alpha.png"]
    assert Run("in/a.jpg", "--to", "out", "--format", "zip").code == 0
    assert results() == ["a.zip"]
    assert Run("in/a.jpg", "--to", "out", "--format", "zip").pictures == 0


def test_subjects_are_put_on_another_picture() -> None:
    argv = ["in/a.jpg", "in/sub/b.png", "--to", "out", "--output", "background", "--background"]
    assert Run(*argv, "in/sub/deep/c.webp").code == 0
    assert pixels("out/a.png").shape == (64, 96, 3)
    assert Run(*argv, "in/sub/deep/c.webp").pictures == 0
    add("other.png", seed=5)
    assert Run(*argv, "other.png").pictures == 2


def test_options_of_every_kind_are_known_again() -> None:
    argv = ["in/a.jpg", "--to", "out", "--crop", "--margin", "10%", "--scale", "50%"]
    assert Run(*argv).pictures == 1
    assert Run(*argv).pictures == 0
    assert Run(*argv[:-1], "60%").pictures == 1


def test_standard_input_goes_to_standard_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = Stream()
    monkeypatch.setattr(sys, "stdin", Stream(Path("in/a.jpg").read_bytes()))
    monkeypatch.setattr(sys, "stdout", out)
    assert Run("-").code == 0
    assert Image.open(out.raw_bytes).format == "PNG"
    assert "1 cut out." in capsys.readouterr().err


def test_standard_input_may_go_to_a_file_and_a_file_to_standard_output(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = Stream()
    monkeypatch.setattr(sys, "stdin", Stream(Path("in/a.jpg").read_bytes()))
    monkeypatch.setattr(sys, "stdout", out)
    assert Run("-", "--to", "x.webp", "--format", "webp").code == 0
    assert Run("in/a.jpg", "--to", "-", "--format", "webp").code == 0
    assert out.raw_bytes.getvalue() == Path("x.webp").read_bytes()


@pytest.mark.parametrize(("data", "words"), [(b"", "-: The file is empty."), (b"no", "-: The file is not")])
def test_what_is_no_picture_on_standard_input_gives_nothing_on_standard_output(
    data: bytes, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = Stream()
    monkeypatch.setattr(sys, "stdin", Stream(data))
    monkeypatch.setattr(sys, "stdout", out)
    assert Run("-").code == 1
    assert out.raw_bytes.getvalue() == b""
    assert f"error: {words}" in capsys.readouterr().err


def test_a_terminal_is_no_picture(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = Stream()
    monkeypatch.setattr(stream, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", stream)
    assert Run("-", "--to", "x.png").code == 2
    monkeypatch.setattr(sys, "stdout", stream)
    assert Run("in/a.jpg", "--to", "-").code == 2
    err = capsys.readouterr().err
    assert "Standard input is a terminal." in err
    assert "Standard output is a terminal." in err


def test_the_ledger_says_what_a_result_was_made_of() -> None:
    Run("in/a.jpg", "--to", "out", "--output", "white")
    (line,) = Path("out", ledger.FILE_NAME).read_text().splitlines()
    said = json.loads(line)
    assert (said["output"], said["source"]) == ("a.png", str(Path("in/a.jpg").resolve()))
    assert said["made_with"]["options"] == {"output": "white"}

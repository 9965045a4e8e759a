"""The command ``accept``: what it prints, what it writes, and how it ends."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks.scenes import PHOTOGRAPHS, photograph
from service.cli import accept, commands
from service.engines.protocol import RGB, Alpha, ConfigurationError, DeviceError, Engine, WeightsUnavailable
from service.server import requested_engine
from service.settings import Settings
from service.warmup.references import manifest
from service.warmup.references.reference_set import ReferenceSet
from supervisor import ProbeError
from tests.support import photos
from tests.support.programs import ROOT
from tests.support.scripted_engine import ScriptedEngine, disc


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    found = tmp_path / "pictures"
    found.mkdir()
    for seed, name in enumerate(["a.png", "b.jpg"]):
        kind = "PNG" if name.endswith("png") else "JPEG"
        (found / name).write_bytes(photos.save(photos.photograph(seed=seed), kind))
    return found


def run(*argv: object, engine: Callable[[Settings], Engine] | None = None, **environ: str) -> int:
    return accept.run(commands.parse(["accept", *map(str, argv)]), environ, make_engine=engine)


def scripted(**attributes: object) -> Callable[[Settings], ScriptedEngine]:
    def make(_: Settings) -> ScriptedEngine:
        engine = ScriptedEngine()
        for name, value in attributes.items():
            setattr(engine, name, value)
        return engine

    return make


def raising(error: Exception) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise error

    return fail


def test_pictures_are_accepted_through_the_parts_of_the_service(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Settings] = []

    def make(settings: Settings) -> ScriptedEngine:
        asked.append(settings)
        return ScriptedEngine()

    (directory / manifest.FILE_NAME).write_text("a damaged manifest, which is replaced")
    environ = {"INSPYRENET_RESIZE": "static", "INSPYRENET_REFERENCES": str(directory)}
    assert run(directory, "--mode", "fast", engine=make, **environ) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "1/2 a.png" in out
    assert out.splitlines()[-2:] == [
        f"2 pictures accepted. Look at {directory / 'index.html'}.",
        f"Then start the service with INSPYRENET_REFERENCES={directory}",
    ]
    ReferenceSet.open(directory, engine="inspyrenet", max_pixels=10**6).verify()
    configured, other = asked
    assert (configured.precision, configured.mode, configured.resize) == ("auto", "fast", "static")
    assert configured.references is None
    assert (other.precision, other.mode, other.engine) == ("bf16", "fast", "inspyrenet")


def test_the_precision_is_settled_before_the_first_picture(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(directory, "--max-error", "0.02", engine=scripted(on_settle=lambda: None)) == 0
    assert "inspyrenet is loaded: bf16 (it was checked); weights: scripted" in capsys.readouterr().out


def test_the_hash_of_the_weights_is_recorded(directory: Path) -> None:
    run(directory, "--max-error", "0.02", engine=scripted(weights_hash="sha256:abc"))
    assert {each.weights for each in manifest.read(directory).references} == {"sha256:abc"}


def test_every_problem_is_an_error_line_and_the_exit_code_is_1(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (directory / "notes.txt").write_text("x")
    (directory / "film.mp4").write_text("x")
    assert run(directory, engine=scripted()) == 1
    film, notes, nothing = capsys.readouterr().err.splitlines()
    assert film.startswith("error: film.mp4: The file is not an image")
    assert notes.startswith("error: notes.txt: The file is not an image")
    assert nothing == f"error: nothing was accepted; {directory} is as it was"
    assert not (directory / manifest.FILE_NAME).exists()


@pytest.mark.parametrize(
    ("attributes", "code", "words"),
    [
        ({"on_prepare": raising(WeightsUnavailable("there is no network"))}, 1, "error: there is no network"),
        ({"on_load": raising(ConfigurationError("there is no cuda:7"))}, 2, "error: there is no cuda:7"),
        (
            {"on_infer": raising(DeviceError("it is gone", sticky=True))},
            1,
            "error: a.png: the engine failed: it is gone",
        ),
        (
            {"on_infer": lambda image: np.full(image.shape[:2], np.nan, np.float32)},
            1,
            "error: a.png: the engine made no usable mask: ",
        ),
    ],
)
def test_an_engine_that_fails_is_reported_in_words(
    directory: Path,
    capsys: pytest.CaptureFixture[str],
    attributes: dict[str, object],
    code: int,
    words: str,
) -> None:
    assert run(directory, engine=scripted(**attributes)) == code
    assert capsys.readouterr().err.startswith(words)
    assert sorted(path.name for path in directory.iterdir()) == ["a.png", "b.jpg"]


def test_it_is_not_said_that_nothing_changed_when_only_the_last_lines_cannot_be_printed(
    directory: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def print_line(line: str) -> None:
        if "Look at" in line:
            raise BrokenPipeError

    monkeypatch.setattr(accept, "print_line", print_line)
    with pytest.raises(BrokenPipeError):
        run(directory, engine=scripted())
    assert (directory / "references.json").is_file()
    assert "nothing was accepted" not in capsys.readouterr().err


@pytest.mark.parametrize("error", ["0", "1.5", "nan", "much"])
def test_an_impossible_error_gives_exit_code_2(
    directory: Path, error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(directory, "--max-error", error)
    assert ended.value.code == 2
    assert f"invalid number above 0 and at most 1 value: '{error}'" in capsys.readouterr().err


def test_a_wrong_setting_gives_exit_code_2(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.run(["accept", str(directory), "--engine", "grab"], {}) == 2
    assert capsys.readouterr().err == "error: --engine: got 'grab'; takes inspyrenet, u2netp or auto\n"


def test_the_directory_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run()
    assert ended.value.code == 2


@pytest.mark.process
def test_a_command_that_is_ended_leaves_nothing_behind(directory: Path) -> None:
    """Enough pictures that it is at work when the signal arrives."""
    for number in range(60):
        (directory / f"{number}.png").write_bytes(photos.save(photos.photograph(seed=number), "PNG"))
    before = sorted(path.name for path in directory.iterdir())
    command = [sys.executable, "-m", "service", "accept", str(directory), "--engine", "u2netp"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        while "1/62 " not in (line := running.stdout.readline()):
            assert line, "it ended before the first picture"
        running.send_signal(signal.SIGTERM)
        running.communicate(timeout=60)
    assert running.returncode == 128 + signal.SIGTERM
    assert sorted(path.name for path in directory.iterdir()) == before


def mask_of(settings: Settings, directory: Path, name: str) -> float:
    """The error of a picture with the engine that the settings ask for, as the service will measure it."""
    references = ReferenceSet.open(directory, engine=settings.engine, max_pixels=10**6)
    with accept.opened_pipeline(settings, requested_engine(settings)) as (info, cut):
        return references.judge(name, cut(references.encoded(name)), info=info).error


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """The photographs of scikit-image, one of them turned, with names that need care."""
    found = tmp_path / "photographs"
    found.mkdir()
    for name in PHOTOGRAPHS:
        (found / f"{name} #1 <ä>.jpg").write_bytes(photos.save(photograph(name, 240, 180), "JPEG"))
    turned = photos.orient(photograph("astronaut", 240, 180), 6)
    (found / "turned.jpg").write_bytes(photos.save(turned, "JPEG", exif=photos.exif(6).tobytes()))
    return found


@pytest.mark.photographs
def test_photographs_are_accepted_with_u2netp_and_agree_later(photographs: Path) -> None:
    assert run(photographs, "--engine", "u2netp") == 0
    for name in ("astronaut #1 <ä>.jpg", "turned.jpg"):
        assert mask_of(Settings(engine="u2netp"), photographs, name) == 0
    assert (photographs / "index.html").stat().st_size > 50_000


@pytest.mark.network
@pytest.mark.timeout(600)
def test_photographs_are_accepted_with_dummy_weights_and_agree_in_both_precisions(
    tmp_path: Path, dummy_checkpoint: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """The tolerance contains what bf16 changes."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for name in ("astronaut", "coffee"):
        (pictures / f"{name}.jpg").write_bytes(photos.save(photograph(name, 128, 96), "JPEG"))
    weights = str(dummy_checkpoint("fast"))
    settings = Settings(mode="fast", weights=weights, device="cpu", precision="fp32")
    flags = ["--mode", "fast", "--weights", weights, "--device", "cpu", "--precision", "fp32"]
    assert run(pictures, *flags) == 0
    assert "The masks were made in fp32. Measuring how they differ in bf16." in capsys.readouterr().out
    for reference in manifest.read(pictures).references:
        assert 0 < reference.measured < 4 / 255
        assert reference.max_error == pytest.approx(reference.measured + 2 / 255)
    assert mask_of(settings, pictures, "astronaut.jpg") < 1e-4
    assert mask_of(settings.model_copy(update={"precision": "bf16"}), pictures, "astronaut.jpg") > 0


def test_a_mask_that_moves_disagrees(directory: Path) -> None:
    def inverted(image: RGB) -> Alpha:
        return 1 - disc(image)

    run(directory, "--max-error", "0.02", engine=scripted())
    references = ReferenceSet.open(directory, engine="inspyrenet", max_pixels=10**6)
    with accept.opened_pipeline(Settings(), scripted(on_infer=inverted)(Settings())) as (info, cut):
        answer = cut(references.encoded("b.jpg"))
    with pytest.raises(ProbeError, match=r"the mask of b\.jpg differs from the accepted one by 0\.\d{4}"):
        references.judge("b.jpg", answer, info=info)

"""How a run of ``cut`` ends by signals, and how it watches a folder."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.scenes import PHOTOGRAPHS, photograph
from service.batch import ledger
from service.cli import accept, commands, cut
from service.cli.cut_report import passed_over_in_words
from service.engines.protocol import RGB, Alpha
from service.server import requested_engine
from service.settings import Settings
from tests.support import photos
from tests.support.programs import ROOT
from tests.support.scripted_engine import ScriptedEngine, disc
from tests.support.waiting import wait_until


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()


def add(*names: str) -> None:
    for name in names:
        Path(f".{name}").write_bytes(photos.encoded())
        Path(f".{name}").rename(Path("in", name))


def results() -> list[str]:
    return sorted(path.name for path in Path("out").glob("*.png"))


def run(*argv: str, on_infer: Callable[[RGB], Alpha] = disc) -> int:
    engine = ScriptedEngine()
    engine.on_infer = on_infer
    args = commands.parse(["cut", "in", "--to", "out", *argv])
    return cut.run(args, {}, make_engine=lambda _: engine, settle_seconds=0.02)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_after_a_signal_what_is_under_way_is_finished_and_nothing_begins(
    number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    add(*(f"{count}.png" for count in range(40)))
    seen: list[RGB] = []

    def signals_itself(image: RGB) -> Alpha:
        seen.append(image)
        if len(seen) == 3:
            os.kill(os.getpid(), number)
        return disc(image)

    assert run(on_infer=signals_itself) == 128 + number
    assert 3 <= len(seen) < 40
    assert len(results()) == len(seen)
    err = capsys.readouterr().err
    assert "Finishing the pictures that are under way. A second signal drops them." in err
    assert f"{len(seen)} cut out." in err
    assert run() == 0
    assert len(results()) == 40


def test_a_run_notices_when_it_is_suspended_until_its_end() -> None:
    """``test_running_time.py`` tests the clock itself."""
    seen: set[bool] = set()

    def somebody_looks() -> bool:
        return any(thread.name == "running time" for thread in threading.enumerate())

    def infer(image: RGB) -> Alpha:
        seen.add(somebody_looks())
        return disc(image)

    add("0.png")
    assert run(on_infer=infer) == 0
    assert seen == {True}
    assert not somebody_looks()


def test_a_second_signal_drops_what_is_under_way() -> None:
    add(*(f"{count}.png" for count in range(10)))
    release = threading.Event()

    def hangs(image: RGB) -> Alpha:
        wait = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM))
        os.kill(os.getpid(), signal.SIGINT)
        wait.start()
        assert release.wait(60)
        return disc(image)

    try:
        code = run(on_infer=hangs)
    finally:
        release.set()
    assert code == 128 + signal.SIGINT
    assert results() == []


def test_a_watched_folder_is_worked_on_until_a_signal_comes(capsys: pytest.CaptureFixture[str]) -> None:
    add("early.png")

    def arrives() -> None:
        wait_until(lambda: "early.png" in results(), seconds=60, what="the first result")
        add("late.png", "a.jpg", "a.gif")
        Path("in/text.png").write_text("no picture")
        wait_until(lambda: "late.png" in results(), seconds=60, what="the late result")
        os.kill(os.getpid(), signal.SIGTERM)

    user = threading.Thread(target=arrives)
    user.start()
    code = run("--watch")
    user.join()
    assert code == 1
    assert results() == ["early.png", "late.png"]
    err = capsys.readouterr().err
    assert err.count("FAILED: in/a.gif: Its result and that of in/a.jpg would have the same name") == 1
    for name in ("a.jpg", "text.png"):
        Path("in", name).unlink()

    def ends() -> None:
        wait_until(lambda: "a.png" in results(), seconds=60, what="the result of what collided before")
        os.kill(os.getpid(), signal.SIGINT)

    user = threading.Thread(target=ends)
    user.start()
    assert run("--watch") == 0
    user.join()
    assert "1 cut out, 2 done before." in capsys.readouterr().err


def test_what_was_passed_over_is_a_sentence_or_nothing() -> None:
    assert passed_over_in_words({".txt": 2, "hidden": 1, ".gone": 0}) == "Ignored: 2 .txt, 1 hidden."
    assert passed_over_in_words({}) == ""


@pytest.mark.photographs
@pytest.mark.process
@pytest.mark.timeout(600)
def test_sixty_photographs_killed_half_way_and_started_again_give_sixty_right_results() -> None:
    """And the broken one is named. Right is what the service makes of each picture by itself."""
    sizes = random.Random(3)
    for number in range(60):
        size = sizes.randint(60, 300), sizes.randint(60, 300)
        path = Path("in", f"folder {number % 3}", f"{number}.{'jpg' if number % 2 else 'png'}")
        path.parent.mkdir(exist_ok=True)
        data = photos.save(
            photograph(PHOTOGRAPHS[number % len(PHOTOGRAPHS)], *size), "JPEG" if number % 2 else "PNG"
        )
        path.write_bytes(data)
    Path("in/broken.jpg").write_bytes(data[: len(data) // 2])
    command = [sys.executable, "-P", "-m", "service", "cut", "in", "--to", "out", "--engine", "u2netp"]
    environ = os.environ | {"PYTHONPATH": str(ROOT)}

    def made() -> list[Path]:
        return sorted(Path("out").rglob("*.png"))

    with subprocess.Popen(command, env=environ, stderr=subprocess.PIPE) as killed:
        wait_until(lambda: len(made()) >= 25, seconds=300, what="25 results")
        killed.kill()
        killed.communicate()
    before = {path: path.stat().st_mtime_ns for path in made()}
    assert 25 <= len(before) < 60
    left = Path("out/folder 0/.inspyrenet-cut-1-1.part")
    left.write_bytes(b"what a kill in the middle of a write leaves")

    done = subprocess.run(command, env=environ, stderr=subprocess.PIPE, text=True, timeout=300, check=False)
    assert done.returncode == 1
    assert f"error: {Path('in/broken.jpg')}: The JPEG" in done.stderr
    assert f"{60 - len(before)} cut out, {len(before)} done before, 1 failed." in done.stderr
    files = [path for path in Path("out").rglob("*") if path.is_file()]
    assert sorted(files) == sorted([*made(), Path("out", ledger.FILE_NAME)])
    assert len(made()) == 60
    assert {path: path.stat().st_mtime_ns for path in before} == before

    settings = Settings(engine="u2netp")
    with accept.opened_pipeline(settings, requested_engine(settings)) as (_, cut_out):
        for path in made()[::5]:
            (source,) = Path("in", path.parent.name).glob(f"{path.stem}.*")
            assert path.read_bytes() == cut_out(source.read_bytes())

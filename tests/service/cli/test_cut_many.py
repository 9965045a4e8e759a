"""``cut`` with results on an object store, fsspec's in memory; ``test_cut.py`` has folders."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from service.batch import ledger, remote_ledger
from service.cli import commands, cut
from tests.support import photos
from tests.support.scripted_engine import ScriptedEngine
from tests.support.waiting import wait_until

TO = "memory://me:hush@shop/out"


class Refusing(MemoryFileSystem):
    """Refuses to write what has one of these words in its path."""

    words: tuple[str, ...] = ()

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **_: object) -> None:
        if any(word in path for word in Refusing.words):
            raise PermissionError(13, "Permission denied")
        super().pipe_file(path, value, mode)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    for name in ("in/a.png", "in/b.png"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(photos.encoded())
    fsspec.register_implementation("memory", Refusing, clobber=True)
    yield
    Refusing.words = ()
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]
    fsspec.register_implementation("memory", MemoryFileSystem, clobber=True)


def run(*argv: str, to: str = TO, inputs: Sequence[str] = ("in",)) -> int:
    return cut.run(
        commands.parse(["cut", *inputs, "--to", to, *argv]),
        {},
        make_engine=lambda _: ScriptedEngine(),
        settle_seconds=0.1,
    )


def results() -> list[str]:
    return sorted(name.rpartition("/")[2] for name in MemoryFileSystem.store if ledger.SHARDS not in name)


@pytest.mark.parametrize(
    ("refused", "code", "words", "made"),
    [
        ((".claims",), 2, f"error: --to {TO} cannot be written: Permission denied.", []),
        (("a.png",), 1, "error: in/a.png: Permission denied.", ["b.png"]),
        (
            (".jsonl",),
            1,
            f"error: --to {TO}: what was written cannot be noted: Permission denied.",
            ["a.png", "b.png"],
        ),
    ],
)
def test_what_cannot_be_written_is_said_and_the_next_run_mends_it(
    refused: tuple[str, ...], code: int, words: str, made: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    Refusing.words = refused
    assert run() == code
    shown = capsys.readouterr().err
    assert words.replace("me:hush", "***") in shown
    assert "hush" not in shown
    assert results() == made
    Refusing.words = ()
    assert run() == 0
    assert results() == ["a.png", "b.png"]
    assert run() == 0
    assert capsys.readouterr().err.splitlines()[-1].endswith("2 done before.")
    assert not any(b"hush" in file.getvalue() for file in MemoryFileSystem.store.values())


@pytest.mark.parametrize("to", ["memory://shop/out", "out"])
@pytest.mark.parametrize(
    ("first", "second"), [("in/a.png", "in2/a.png"), ("memory://shop/in/a.png", "memory://shop/in2/a.png")]
)
def test_the_result_of_another_picture_is_replaced_nowhere(
    first: str, second: str, to: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for width, name in ((40, first), (44, second)):
        with fsspec.open(name, "wb", auto_mkdir=True) as file:
            file.write(photos.encoded(width))
    assert run(to=to, inputs=[first]) == 0
    assert run(to=to, inputs=[second]) == 1
    assert f"{first}. --overwrite replaces it." in capsys.readouterr().err
    fsspec.open(first).fs.rm(first)
    assert run(to=to, inputs=[second]) == 0


@pytest.mark.parametrize("form", ["file://{}", "FILE://{}", "file:{}"])
def test_a_file_address_is_the_path_in_it(
    form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A second way to the same folder would hide what is noted there: results would become inputs."""
    at = form.format(tmp_path)
    assert run(to=f"{at}/in/out", inputs=[f"{at}/in"]) == 0
    assert run(to="in/out") == 0
    assert run(to=f"{at}/in/more", inputs=[f"{at}/in"]) == 0
    assert [len(list(Path("in", name).glob("*.png"))) for name in ("out", "more")] == [2, 2]
    assert run(to=f"{at}/in", inputs=[f"{at}/in", "in"]) == 1
    assert capsys.readouterr().err.count("would replace an input") == 2


def watched(user: Callable[[], None], *, to: str = TO, inputs: Sequence[str] = ("in",)) -> int:
    def acts() -> None:
        try:
            user()
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=acts)
    thread.start()
    code = run("--watch", to=to, inputs=inputs)
    thread.join()
    return code


def test_a_watch_goes_on_when_the_store_refuses_for_a_while(capsys: pytest.CaptureFixture[str]) -> None:
    said = ""

    def refused() -> bool:
        nonlocal said
        said += capsys.readouterr().err
        return said.count("FAILED: in/") == 2

    def user() -> None:
        wait_until(refused, seconds=60, what="two refusals")
        Refusing.words = ()
        Path("in/c.png").write_bytes(photos.encoded())
        wait_until(lambda: results() == ["c.png"], seconds=60, what="the result")

    Refusing.words = (".claims",)
    assert watched(user) == 1
    assert "in/a.png: Its result cannot be written: Permission denied." in said
    assert not any(name.endswith(remote_ledger.CLAIMS) for name in MemoryFileSystem.store)


def test_a_look_of_a_watch_leaves_what_is_being_written() -> None:
    """What a killed run has left is removed once, at the start."""
    left, being_written = (Path("out", f".inspyrenet-cut-{number}.part") for number in (1, 2))
    left.parent.mkdir()
    left.touch()

    def user() -> None:
        wait_until(lambda: Path("out/b.png").exists(), seconds=60, what="the first results")
        being_written.touch()
        Path("in/c.png").write_bytes(photos.encoded())
        wait_until(lambda: Path("out/c.png").exists(), seconds=60, what="the late result")

    assert watched(user, to="out") == 0
    assert (left.exists(), being_written.exists()) == (False, True)


@pytest.mark.parametrize("to", [TO, "out"])
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("typo", "typo: there is no such file or folder to be watched."),
        ("https://shop/in", "https://shop/in cannot be watched: https:// is not supported."),
    ],
)
def test_what_cannot_be_watched_is_not_watched_for_ever(
    name: str, words: str, to: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--watch", to=to, inputs=["in", name]) == 2
    assert words in capsys.readouterr().err


def test_what_arrives_at_an_address_is_cut_out() -> None:
    inbox = MemoryFileSystem()

    def user() -> None:
        wait_until(lambda: Path("out/a.png").exists(), seconds=60, what="the first result")
        inbox.pipe("memory://shop/inbox/b.png", photos.encoded())
        wait_until(lambda: Path("out/b.png").exists(), seconds=60, what="the late result")

    inbox.pipe("memory://shop/inbox/a.png", photos.encoded())
    assert watched(user, to="out", inputs=["memory://shop/inbox"]) == 0

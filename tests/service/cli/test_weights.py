"""The command ``weights``: what it fetches, what it prints, and how it ends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from service.cli import commands, weights
from service.cli.commands import run
from service.engines.package_config import ModeConfig, mode_config
from service.engines.protocol import WeightsUnavailable
from service.engines.weights.checkpoint_file import Checkpoint
from service.engines.weights.official import official_path


def test_weights_that_are_on_the_disk_are_not_fetched(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TRANSPARENT_BACKGROUND_FILE_PATH", str(tmp_path))
    file = official_path(mode_config("base-nightly"))
    file.parent.mkdir()
    file.write_bytes(b"a checkpoint")
    assert run(["weights"], {"INSPYRENET_MODE": "base-nightly"}) == 0
    [line] = capsys.readouterr().out.splitlines()
    assert line.startswith(f"{file}: unverified: ")  # upstream publishes no hash of this one


def test_weights_that_are_missing_are_fetched(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "ckpt_fast.pth"

    def fetch(config: ModeConfig, *, report: Callable[[str], None]) -> Checkpoint:
        report(f"downloading {config.ckpt_name}")
        return Checkpoint("official", file, "sha256:0123", "verified", None)

    monkeypatch.setenv("TRANSPARENT_BACKGROUND_FILE_PATH", str(tmp_path))
    args = commands.parse(["weights", "--mode", "fast"])
    assert weights.run(args, {"INSPYRENET_MODE": "base"}, fetch=fetch) == 0
    missing, downloading, verified = capsys.readouterr().out.splitlines()
    assert missing.endswith(": missing")
    assert downloading == "downloading ckpt_fast.pth"
    assert verified == f"{file}: verified (sha256:0123)"


def test_weights_that_cannot_be_had_give_exit_code_1_and_the_reason(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fetch(*_: object, **__: object) -> Checkpoint:
        raise WeightsUnavailable("there is no network")

    monkeypatch.setenv("TRANSPARENT_BACKGROUND_FILE_PATH", str(tmp_path))
    assert weights.run(commands.parse(["weights"]), {}, fetch=fetch) == 1
    assert capsys.readouterr().err == "error: there is no network\n"


def test_weights_of_an_unknown_mode_give_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["weights", "--mode", "slow"], {}) == 2
    assert capsys.readouterr().err == "error: --mode: got 'slow'; takes base, fast or base-nightly\n"


def test_dummy_weights_are_announced_and_each_step_is_printed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # Computing the weights takes 12 s of CPU time, and this test is not about them.
    monkeypatch.setattr("service.engines.inspyrenet.dummy_weights.dummy_state", lambda *_, **__: {})
    file = tmp_path / "dummy.pth"
    assert run(["weights", "--dummy", str(file)], {}) == 0
    announced, *steps, done = capsys.readouterr().out.splitlines()
    assert str(file) in announced
    assert [step.partition(":")[0] for step in steps] == ["Step 1 of 3", "Step 2 of 3", "Step 3 of 3"]
    assert done.startswith(f"{file}: ")
    assert file.exists()


def test_dummy_weights_for_a_missing_directory_are_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(["weights", "--dummy", str(tmp_path / "no" / "dummy.pth")], {}) == 1
    assert capsys.readouterr().err.startswith("error: ")


def test_dummy_weights_in_place_of_a_directory_are_refused_before_they_are_computed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(["weights", "--dummy", str(tmp_path)], {}) == 1
    out, err = capsys.readouterr()
    assert out == "", "the first step is announced before it begins"
    assert err == f"error: {tmp_path} is a directory; name a file\n"

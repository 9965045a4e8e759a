"""The command line: commands, flags, help, and how each ends."""

from __future__ import annotations

import logging
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

from service.cli import commands, serve
from service.cli.commands import COMMANDS, run
from service.engines.package_config import ModeConfig, mode_config
from service.engines.protocol import WeightsUnavailable
from service.engines.weights.checkpoint_file import Checkpoint
from service.engines.weights.official import official_path
from service.settings import Settings, flag, variable
from service.version import __version__

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


def settings_of(argv: list[str], **environ: str) -> Settings:
    """The settings that ``serve`` would serve with."""
    return serve.configure(commands.parse(argv), environ)


@pytest.mark.parametrize("argv", [[], ["serve"]])
def test_no_command_means_serve(argv: list[str]) -> None:
    assert settings_of([*argv, "--port", "9000"], INSPYRENET_MODE="fast") == Settings(port=9000, mode="fast")
    assert settings_of(argv) == Settings()


def test_the_exit_code_is_that_of_the_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "service",
                "--engine",
                "grabcut",
                "--host",
                "127.0.0.1",
                "--port",
                str(port),
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 2
    assert "cannot listen" in done.stderr


def test_every_setting_is_a_flag_except_the_keys() -> None:
    flags = {field for fields in serve.GROUPS.values() for field in fields}
    assert flags == Settings.model_fields.keys() - {"api_keys"}
    with pytest.raises(SystemExit):
        run(["--api-keys", "open-sesame"], {})


def test_a_flag_cannot_be_abbreviated() -> None:
    with pytest.raises(SystemExit) as ended:
        run(["--por", "9000"], {})
    assert ended.value.code == 2


def test_wrong_settings_give_exit_code_2_and_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--mode", "slow"], {"INSPYRENET_PORT": "x", "INSPYRENET_API_KEYS": "sé"}) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert sorted(err.splitlines()) == [
        "error: --mode: got 'slow'; takes base, fast or base-nightly",
        "error: INSPYRENET_API_KEYS: got a value not shown here; "
        "takes comma-separated keys of visible ASCII characters, at least one",
        "error: INSPYRENET_PORT: got 'x'; takes a whole number from 0 to 65535",
    ]


def test_ignored_variables_are_logged(capsys: pytest.CaptureFixture[str]) -> None:
    settings_of(["--log-format", "json"], INSPYRENET_PORT="tcp://10.0.0.7:80")
    [line] = capsys.readouterr().err.splitlines()
    assert "ignoring what Kubernetes injects for a Service: INSPYRENET_PORT" in line


def test_the_help_of_serve_names_every_setting_its_variable_and_its_default(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    with pytest.raises(SystemExit) as ended:
        run(["serve", "--help"], {})
    assert ended.value.code == 0
    text = capsys.readouterr().out
    for field in Settings.model_fields.keys() - {"api_keys"}:
        assert re.search(rf"{flag(field)} [^\[]*\[{variable(field)}; default: [^]]+\]", text), field
    assert "INSPYRENET_API_KEYS" in text


def test_the_overview_names_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(["--help"], {})
    text = capsys.readouterr().out
    for command in COMMANDS:
        assert re.search(rf"^ +{command} ", text, re.MULTILINE)


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(["--version"], {})
    assert capsys.readouterr().out.split() == ["inspyrenet-api", __version__]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_that_names_the_program(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run([name, "--help"], {})
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith("usage: ./inspyrenet ")
    assert "python -m" not in text


@pytest.mark.parametrize("argv", [["sevre"], ["--port", "1", "check"]])
def test_an_unknown_command_gives_exit_code_2(argv: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(argv, {})
    assert ended.value.code == 2


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
        return Checkpoint("official", file, "md5:0123", "verified", None)

    monkeypatch.setenv("TRANSPARENT_BACKGROUND_FILE_PATH", str(tmp_path))
    monkeypatch.setattr("service.engines.weights.official.fetch", fetch)
    assert run(["weights", "--mode", "fast"], {"INSPYRENET_MODE": "base"}) == 0
    missing, downloading, verified = capsys.readouterr().out.splitlines()
    assert missing.endswith(": missing")
    assert downloading == "downloading ckpt_fast.pth"
    assert verified == f"{file}: verified (md5:0123)"


def test_weights_that_cannot_be_had_give_exit_code_1_and_the_reason(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fetch(*_: object, **__: object) -> Checkpoint:
        raise WeightsUnavailable("there is no network")

    monkeypatch.setenv("TRANSPARENT_BACKGROUND_FILE_PATH", str(tmp_path))
    monkeypatch.setattr("service.engines.weights.official.fetch", fetch)
    assert run(["weights"], {}) == 1
    assert capsys.readouterr().err == "error: there is no network\n"


def test_weights_of_an_unknown_mode_give_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["weights", "--mode", "slow"], {}) == 2
    assert capsys.readouterr().err == "error: --mode: got 'slow'; takes base, fast or base-nightly\n"


def test_dummy_weights_are_announced_and_each_step_is_printed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from service.engines.inspyrenet import dummy_weights

    monkeypatch.setattr(dummy_weights, "dummy_state", lambda *_, **__: {})
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
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def compute(*_: object) -> Path:
        raise AssertionError("must not compute")

    monkeypatch.setattr("service.engines.inspyrenet.dummy_weights.write_dummy", compute)
    assert run(["weights", "--dummy", str(tmp_path)], {}) == 1
    assert capsys.readouterr().err == f"error: {tmp_path} is a directory; name a file\n"


def test_the_program_ends_with_2_and_no_traceback_if_a_setting_is_wrong() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "service"],
        cwd=ROOT,
        env=os.environ | {"INSPYRENET_WARMUP_INTERVAL": "never"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "error: INSPYRENET_WARMUP_INTERVAL: got 'never'; takes a number of seconds above 0 and at most 86400"
    ]

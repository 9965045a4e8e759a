"""The command ``serve``: its flags, its settings, and its exit codes."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys

import pytest

from service.cli import commands, serve
from service.cli.commands import run
from service.settings import Settings, flag, variable
from tests.support.programs import ROOT


def settings_of(argv: list[str], **environ: str) -> Settings:
    """The settings that ``serve`` makes of a command line and an environment."""
    return serve.configure(commands.parse(argv), environ)


def test_settings_come_from_flags_and_variables() -> None:
    assert settings_of(["--port", "9000"], INSPYRENET_MODE="fast") == Settings(port=9000, mode="fast")


@pytest.mark.process
def test_the_exit_code_is_that_of_the_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "service",
                "--engine",
                "u2netp",
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

"""The table of commands: which one runs, the overview, and how a wrong command line ends."""

from __future__ import annotations

import re

import pytest

from service.cli import commands, serve
from service.cli.commands import COMMANDS, run
from service.settings import Settings
from service.version import __version__


@pytest.mark.parametrize("argv", [[], ["serve"]])
def test_the_default_command_is_serve(argv: list[str]) -> None:
    assert serve.configure(commands.parse([*argv, "--port", "9000"]), {}) == Settings(port=9000)
    assert serve.configure(commands.parse(argv), {}) == Settings()


def test_a_flag_cannot_be_abbreviated() -> None:
    with pytest.raises(SystemExit) as ended:
        run(["--por", "9000"], {})
    assert ended.value.code == 2


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

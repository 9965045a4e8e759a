"""Flags made from the parameters of ``/process``."""

from __future__ import annotations

import argparse

import pytest

from service.cli.option_flags import add_option_flags, given_options
from service.errors import BadParameter
from service.http.parameters import NAMES
from service.imaging.options import Format, Options, Output


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser()
    add_option_flags(made.add_argument_group("results"))
    return made


def options(*argv: str) -> Options:
    return given_options(parser().parse_args(argv))


def test_without_flags_the_options_are_those_of_the_api() -> None:
    assert options() == Options()


def test_every_parameter_has_a_flag_with_its_words(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["--help"])
    text = capsys.readouterr().out
    for name in NAMES:
        assert f"--{name.replace('_', '-')}" in text
    assert "Default: png." in text


def test_values_mean_what_they_mean_in_a_request() -> None:
    argv = ["--output", "#010203", "--format", "jpeg", "--threshold", "0.5", "--reverse"]
    assert options(*argv) == Options(Output.COLOUR, (1, 2, 3), Format.JPEG, 0.5, reverse=True)


@pytest.mark.parametrize("argv", [["--output", "map"], ["--format", "jpeg"], ["--threshold", "2"]])
def test_wrong_values_are_refused_in_the_words_of_the_api(argv: list[str]) -> None:
    with pytest.raises(BadParameter):
        options(*argv)

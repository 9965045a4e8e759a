"""Flags made from settings."""

from __future__ import annotations

import argparse

import pytest

from service.cli.setting_flags import add_flags, given


def parser(*fields: str) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser()
    add_flags(made.add_argument_group("settings"), fields)
    return made


def test_only_the_flags_that_were_given_count() -> None:
    args = parser("engine", "mode").parse_args(["--mode", "fast"])
    assert given(args) == {"mode": "fast"}


def test_a_flag_may_be_given_as_an_empty_text() -> None:
    assert given(parser("references").parse_args(["--references", ""])) == {"references": ""}


def test_the_help_shows_description_variable_and_default(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    with pytest.raises(SystemExit):
        parser("warmup_interval", "references", "cors_origins").parse_args(["--help"])
    text = capsys.readouterr().out
    assert "--warmup-interval SECONDS" in text
    assert "[INSPYRENET_WARMUP_INTERVAL; default: 60]" in text
    assert "[INSPYRENET_REFERENCES; default: none]" in text
    assert "[INSPYRENET_CORS_ORIGINS; default: none]" in text

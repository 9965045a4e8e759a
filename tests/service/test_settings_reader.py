"""Reading settings: which source wins, what is ignored, and how problems are reported."""

from __future__ import annotations

import re
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.environment_variables import SettingsError
from service.settings import Settings, variable
from service.settings_reader import load_settings

INJECTED = {
    "INSPYRENET_SERVICE_HOST": "10.0.0.7",
    "INSPYRENET_PORT": "tcp://10.0.0.7:80",
    "INSPYRENET_API_PORT_80_TCP_ADDR": "10.0.0.8",
}


def problems(flags: dict[str, str] | None = None, /, **environ: str) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        load_settings(flags or {}, environ)
    return caught.value.problems


@pytest.mark.parametrize(
    ("flags", "environ", "port"),
    [
        ({}, {}, 8080),
        ({}, {"PORT": "1"}, 1),
        ({}, {"PORT": ""}, 8080),
        ({}, {"PORT": "1", "INSPYRENET_PORT": "2"}, 2),
        ({}, {"PORT": "1", "INSPYRENET_PORT": ""}, 1),
        ({"port": "3"}, {"PORT": "1", "INSPYRENET_PORT": "2"}, 3),
        ({}, {"PORT": "1", "INSPYRENET_PORT": "tcp://10.0.0.7:80"}, 1),
        ({}, {"PORT": "1", "AIP_HTTP_PORT": "4"}, 4),
        ({}, {"PORT": "1", "AIP_HTTP_PORT": "4", "INSPYRENET_PORT": "2"}, 2),
        ({}, {"PORT": "1", "AIP_HTTP_PORT": "4", "INSPYRENET_PLATFORM": "none"}, 1),
        ({"platform": "none"}, {"PORT": "1", "AIP_HTTP_PORT": "4"}, 1),
    ],
)
def test_a_flag_beats_the_variable_which_beats_the_platforms_port(
    flags: dict[str, str], environ: dict[str, str], port: int
) -> None:
    assert load_settings(flags, environ)[0].port == port


def test_variables_that_kubernetes_injects_are_ignored_with_one_line() -> None:
    settings, notes = load_settings({}, INJECTED)
    assert settings == Settings()
    [note] = notes
    assert set(re.findall(r"INSPYRENET_\w+", note)) == set(INJECTED)


def test_a_port_that_is_no_number_and_no_service_address_is_refused() -> None:
    assert problems(INSPYRENET_PORT="http") == (
        "INSPYRENET_PORT: got 'http'; takes a whole number from 0 to 65535",
    )


def test_a_bad_flag_is_named_as_the_flag() -> None:
    assert problems({"queue_size": "none"}, INSPYRENET_QUEUE_SIZE="4") == (
        "--queue-size: got 'none'; takes a whole number of at least 1",
    )


def test_all_problems_are_reported_at_once() -> None:
    lines = problems(INSPYRENET_MODE="slow", INSPYRENET_PORT="x", INSPYRENET_NONSENSE="1")
    assert {line.partition(":")[0] for line in lines} == {
        "INSPYRENET_MODE",
        "INSPYRENET_PORT",
        "INSPYRENET_NONSENSE",
    }


@pytest.mark.parametrize(
    "name", ["INSPYRENET_WARMUP_INTERVALL", "INSPYRENET_WARMUPINTERVAL", "Inspyrenet_warmup_interval"]
)
def test_an_unknown_variable_is_refused_with_the_nearest_known_one(name: str) -> None:
    assert problems(**{name: "5"}) == (f"{name}: no such setting; did you mean INSPYRENET_WARMUP_INTERVAL?",)


def test_an_empty_variable_is_no_variable_even_if_its_name_is_unknown() -> None:
    assert load_settings({}, {"INSPYRENET_NONSENSE": "", "INSPYRENET_API_KEY": ""}) == (Settings(), ())


def test_an_empty_flag_is_a_value_and_not_the_default() -> None:
    assert problems({"mode": ""}, INSPYRENET_MODE="fast") == (
        "--mode: got ''; takes base, fast or base-nightly",
    )


def test_an_unknown_variable_like_no_other_points_to_the_help() -> None:
    assert problems(INSPYRENET_XYZZY="5") == (
        "INSPYRENET_XYZZY: no such setting; ./inspyrenet serve --help lists all settings",
    )


def test_a_key_under_a_misspelt_name_is_not_shown() -> None:
    [line] = problems(INSPYRENET_API_KEY="open-sesame")
    assert line == "INSPYRENET_API_KEY: no such setting; did you mean INSPYRENET_API_KEYS?"


def test_a_hang_timeout_below_a_deadline_is_remarked_upon() -> None:
    _, notes = load_settings({}, {"INSPYRENET_HANG_TIMEOUT": "90"})
    assert notes == (
        "INSPYRENET_HANG_TIMEOUT = 90 is below INSPYRENET_WARMUP_TIMEOUT = 120: "
        "a job that slow ends the process first",
    )


def test_a_port_beside_a_socket_is_remarked_upon() -> None:
    _, notes = load_settings({}, {"INSPYRENET_HOST": "unix:/run/a.sock", "PORT": "8080"})
    assert notes == ("PORT has no effect: INSPYRENET_HOST names a UNIX socket",)


def test_a_gate_without_references_is_remarked_upon(tmp_path: Path) -> None:
    gate = {"INSPYRENET_REFERENCES_GATE": "all"}
    _, notes = load_settings({}, gate)
    assert notes == (
        "INSPYRENET_REFERENCES_GATE = all has no effect: INSPYRENET_REFERENCES names no directory",
    )
    assert load_settings({}, gate | {"INSPYRENET_REFERENCES": str(tmp_path)})[1] == ()


def test_settings_that_the_chosen_engine_does_not_use_are_remarked_upon() -> None:
    given = {"INSPYRENET_WEIGHTS": "/w.pth", "INSPYRENET_MODE": "base", "INSPYRENET_PORT": "1"}
    _, notes = load_settings({"precision": "bf16"}, given | {"INSPYRENET_ENGINE": "u2netp"})
    assert notes == ("the engine u2netp does not use INSPYRENET_MODE, INSPYRENET_WEIGHTS, --precision",)
    for engine in ("inspyrenet", "auto"):
        assert load_settings({"engine": engine}, given)[1] == ()


def outcome(**environ: str) -> tuple[Settings | None, tuple[str, ...]]:
    try:
        return load_settings({}, environ)
    except SettingsError as error:
        return None, error.problems


@given(
    name=st.sampled_from(sorted(map(variable, Settings.model_fields))),
    value=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=200),
)
def test_any_value_is_taken_or_refused_in_one_line(name: str, value: str) -> None:
    settings, lines = outcome(**{name: value})
    if settings is None:
        [line] = lines
        assert line.startswith(f"{name}: ")
        assert line.isprintable()
        assert len(line) < 300


@given(st.text(string.ascii_uppercase + string.digits + "_", min_size=1, max_size=20))
def test_every_variable_of_the_namespace_is_read_or_refused(suffix: str) -> None:
    settings, lines = outcome(**{f"INSPYRENET_{suffix}": "\x01"})
    assert settings != Settings() or any(f"INSPYRENET_{suffix}" in line for line in lines)

"""Each setting: its default, the values that it takes, and what is said of any other value."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from service.environment_variables import SettingsError
from service.settings import Settings, variable
from service.settings_reader import load_settings
from tests.support.programs import ROOT

DEFAULTS = {
    "INSPYRENET_ENGINE": "inspyrenet",
    "INSPYRENET_MODE": "base",
    "INSPYRENET_RESIZE": "dynamic",
    "INSPYRENET_WEIGHTS": "official",
    "INSPYRENET_DEVICE": "auto",
    "INSPYRENET_PRECISION": "auto",
    "INSPYRENET_HOST": "0.0.0.0",
    "INSPYRENET_PORT": 8080,
    "INSPYRENET_PLATFORM": "auto",
    "INSPYRENET_WARMUP_INTERVAL": 60,
    "INSPYRENET_WARMUP_TIMEOUT": 120,
    "INSPYRENET_WARMUP_SIZE": 64,
    "INSPYRENET_QUEUE_SIZE": 16,
    "INSPYRENET_REQUEST_TIMEOUT": 60,
    "INSPYRENET_READ_TIMEOUT": 30,
    "INSPYRENET_LOAD_TIMEOUT": 600,
    "INSPYRENET_HANG_TIMEOUT": 300,
    "INSPYRENET_DRAIN_TIMEOUT": 8,
    "INSPYRENET_MAX_UPLOAD_BYTES": 26_214_400,
    "INSPYRENET_MAX_PIXELS": 50_000_000,
    "INSPYRENET_MAX_MODEL_PIXELS": 4_194_304,
    "INSPYRENET_API_KEYS": (),
    "INSPYRENET_API_KEYS_FILE": None,
    "INSPYRENET_CORS_ORIGINS": (),
    "INSPYRENET_URL_HOSTS": (),
    "INSPYRENET_MALLOC_TUNING": "on",
    "INSPYRENET_REFERENCES": None,
    "INSPYRENET_REFERENCES_GATE": "first",
    "INSPYRENET_LOG_FORMAT": "auto",
}


def load(**environ: str) -> Settings:
    return load_settings({}, environ)[0]


def problems(**environ: str) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        load_settings({}, environ)
    return caught.value.problems


def test_the_defaults_are_the_documented_ones() -> None:
    settings, notes = load_settings({}, {})
    assert {variable(field): value for field, value in settings} == DEFAULTS
    assert notes == ()


def test_every_setting_is_documented() -> None:
    assert set(re.findall(r"`(INSPYRENET_\w+)`", (ROOT / "docs" / "settings.md").read_text())) == set(
        DEFAULTS
    )


def test_the_constructor_never_reads_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INSPYRENET_MODE", "fast")
    monkeypatch.setenv("INSPYRENET_NONSENSE", "1")
    monkeypatch.setenv("PORT", "99")
    assert Settings() == Settings(mode="base", port=8080)


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().port = 1  # type: ignore[misc]  # what the test is about


def test_a_misspelt_field_of_the_constructor_is_refused() -> None:
    with pytest.raises(ValidationError):
        Settings(prot=1)  # type: ignore[call-arg]  # what the test is about


def test_every_variable_is_read() -> None:
    given_text = {
        "INSPYRENET_ENGINE": ("auto", "auto"),
        "INSPYRENET_MODE": ("base-nightly", "base-nightly"),
        "INSPYRENET_RESIZE": ("static", "static"),
        "INSPYRENET_WEIGHTS": ("/models/a.pth", "/models/a.pth"),
        "INSPYRENET_DEVICE": ("cuda:1", "cuda:1"),
        "INSPYRENET_PRECISION": ("bf16", "bf16"),
        "INSPYRENET_HOST": ("::", "::"),
        "INSPYRENET_PORT": ("0", 0),
        "INSPYRENET_PLATFORM": ("runpod", "runpod"),
        "INSPYRENET_WARMUP_INTERVAL": ("0.5", 0.5),
        "INSPYRENET_WARMUP_TIMEOUT": ("1e1", 10.0),
        "INSPYRENET_WARMUP_SIZE": ("16", 16),
        "INSPYRENET_QUEUE_SIZE": ("1", 1),
        "INSPYRENET_REQUEST_TIMEOUT": (" 5 ", 5.0),
        "INSPYRENET_READ_TIMEOUT": ("6", 6.0),
        "INSPYRENET_LOAD_TIMEOUT": ("7", 7.0),
        "INSPYRENET_HANG_TIMEOUT": ("80", 80.0),
        "INSPYRENET_DRAIN_TIMEOUT": ("9", 9.0),
        "INSPYRENET_MAX_UPLOAD_BYTES": ("1000", 1000),
        "INSPYRENET_MAX_PIXELS": ("10000", 10_000),
        "INSPYRENET_MAX_MODEL_PIXELS": ("1048576", 1_048_576),
        "INSPYRENET_CORS_ORIGINS": ("*", ("*",)),
        "INSPYRENET_URL_HOSTS": ("a.example,B.example", ("a.example", "b.example")),
        "INSPYRENET_MALLOC_TUNING": ("off", "off"),
        "INSPYRENET_REFERENCES_GATE": ("all", "all"),
        "INSPYRENET_LOG_FORMAT": ("json", "json"),
    }
    settings = load(**{name: text for name, (text, _) in given_text.items()})
    read = {variable(field): value for field, value in settings}
    assert {name: read[name] for name in given_text} == {
        name: value for name, (_, value) in given_text.items()
    }
    assert DEFAULTS.keys() - given_text.keys() == {
        "INSPYRENET_API_KEYS",
        "INSPYRENET_API_KEYS_FILE",
        "INSPYRENET_REFERENCES",
    }


@pytest.mark.parametrize(
    ("name", "value", "takes"),
    [
        ("INSPYRENET_ENGINE", "grab", "inspyrenet, u2netp or auto"),
        ("INSPYRENET_MODE", " ", "base, fast or base-nightly"),
        ("INSPYRENET_DEVICE", "gpu", "auto, cpu, cuda or cuda:N"),
        ("INSPYRENET_DEVICE", "cuda:x", "auto, cpu, cuda or cuda:N"),
        ("INSPYRENET_WEIGHTS", "  ", "official, dummy, or the path of a checkpoint"),
        *(
            ("INSPYRENET_HOST", value, "an address or host name")
            for value in (
                " ",
                "localhost:8080",
                "[::1]:8080",
                "[localhost]",
                "http://localhost",
                "a b",
                "unix:relative.sock",
                "unix:/" + 40 * "\u00e9\u00e9",
            )
        ),
        ("INSPYRENET_PORT", "65536", "a whole number from 0 to 65535"),
        ("INSPYRENET_WARMUP_INTERVAL", "0", "a number of seconds above 0"),
        ("INSPYRENET_WARMUP_INTERVAL", "-1", "a number of seconds above 0"),
        ("INSPYRENET_WARMUP_TIMEOUT", "nan", "a number of seconds above 0"),
        ("INSPYRENET_REQUEST_TIMEOUT", "inf", "a number of seconds above 0"),
        ("INSPYRENET_READ_TIMEOUT", "30s", "a number of seconds above 0"),
        ("INSPYRENET_WARMUP_SIZE", "0", "a whole number from 1"),
        ("INSPYRENET_QUEUE_SIZE", "1.5", "a whole number of at least 1"),
        ("INSPYRENET_MAX_MODEL_PIXELS", "1023", "a whole number of at least 1024"),
        ("INSPYRENET_API_KEYS_FILE", "/nowhere/keys", "the path of a file that can be read"),
        ("INSPYRENET_CORS_ORIGINS", "shop.example", "* or comma-separated origins"),
        ("INSPYRENET_CORS_ORIGINS", "https://shop.example/path", "* or comma-separated origins"),
        ("INSPYRENET_CORS_ORIGINS", "https://*.shop.example", "* or comma-separated origins"),
        ("INSPYRENET_CORS_ORIGINS", "*,https://shop.example", "* or comma-separated origins"),
        *(
            ("INSPYRENET_URL_HOSTS", value, "comma-separated host names such as")
            for value in (
                "localhost",
                "*",
                "*.example.com",
                "https://a.example",
                "a.example:8080",
                "a.example/path",
                "a.example.",
                "127.0.0.1",
                "127.1",
                "0x7f.1",
                "2130706433",
                "[::1]",
                "::1",
                "a..example",
                "u@a.example",
                "a.example,*",
            )
        ),
        ("INSPYRENET_MALLOC_TUNING", "no", "on or off"),
        ("INSPYRENET_REFERENCES", "/nowhere/references", "the path of a directory that can be read"),
        ("INSPYRENET_REFERENCES", "x" * 90 + "/" + "\ud800", "the path of a directory that can be read"),
        ("INSPYRENET_REFERENCES_GATE", "some", "none, first or all"),
        ("INSPYRENET_LOG_FORMAT", "xml", "auto, json or console"),
        ("PORT", "http", "a whole number from 0 to 65535"),
    ],
)
def test_a_bad_value_is_one_line_that_names_the_variable_what_it_got_and_what_it_takes(
    name: str, value: str, takes: str
) -> None:
    [line] = problems(**{name: value})
    assert line.startswith(f"{name}: got {value!r}; takes {takes}")
    assert "\n" not in line


def test_keys_are_split_and_never_shown() -> None:
    settings = load(INSPYRENET_API_KEYS=" open-sesame , ,other-key")
    assert [key.get_secret_value() for key in settings.api_keys] == ["open-sesame", "other-key"]
    for shown in (repr(settings), str(settings), settings.model_dump_json()):
        assert "sesame" not in shown
        assert "other" not in shown


@pytest.mark.parametrize("keys", [",", "open sesame", "sésame", "sesame,tab\tkey"])
def test_keys_that_no_header_could_carry_are_refused_without_being_shown(keys: str) -> None:
    assert problems(INSPYRENET_API_KEYS=keys) == (
        "INSPYRENET_API_KEYS: got a value not shown here; "
        "takes comma-separated keys of visible ASCII characters, at least one",
    )


@pytest.mark.parametrize("name", [*DEFAULTS, "PORT"])
def test_an_empty_variable_is_as_if_unset(name: str) -> None:
    assert load(**{name: ""}) == Settings()


def test_all_variables_may_be_empty_at_once() -> None:
    assert load(**dict.fromkeys([*DEFAULTS, "PORT"], "")) == Settings()


def test_a_list_of_nothing_but_space_is_empty() -> None:
    assert load(INSPYRENET_CORS_ORIGINS=" ") == Settings()


def test_a_directory_of_references_must_be_there(tmp_path: Path) -> None:
    assert load(INSPYRENET_REFERENCES=str(tmp_path)).references == tmp_path
    file = tmp_path / "references.json"
    file.write_text("{}")
    assert problems(INSPYRENET_REFERENCES=str(file))  # a file
    assert problems(INSPYRENET_REFERENCES=str(tmp_path / "missing"))


def test_a_file_of_keys_must_be_there(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    assert problems(INSPYRENET_API_KEYS_FILE=str(file))
    file.write_text("open-sesame\n")
    assert load(INSPYRENET_API_KEYS_FILE=str(file)).api_keys_file == file
    assert problems(INSPYRENET_API_KEYS_FILE=str(tmp_path))  # a directory


@pytest.mark.parametrize("name", ["INSPYRENET_REFERENCES", "INSPYRENET_API_KEYS_FILE"])
def test_a_path_that_no_file_system_can_have_is_refused_in_words(name: str) -> None:
    [line] = problems(**{name: "x" * 5000})
    assert line.startswith(f"{name}: got ")
    assert "takes the path of a" in line


def test_a_checkpoint_may_appear_later() -> None:
    assert load(INSPYRENET_WEIGHTS="/not/yet/there.pth").weights_kind == "file"


def test_origins_are_compared_as_browsers_send_them() -> None:
    settings = load(INSPYRENET_CORS_ORIGINS="https://Shop.example, http://localhost:3000")
    assert settings.cors_origins == ("https://shop.example", "http://localhost:3000")


def test_a_canary_over_the_pixel_limit_is_refused() -> None:
    [line] = problems(INSPYRENET_WARMUP_SIZE="200", INSPYRENET_MAX_PIXELS="10000")
    assert line.startswith("INSPYRENET_WARMUP_SIZE: got 200")
    assert "INSPYRENET_MAX_PIXELS = 10000" in line


@pytest.mark.parametrize(
    ("given", "used"),
    [("[::1]", "::1"), ("::1", "::1"), (" localhost ", "localhost"), ("unix:/a b", "unix:/a b")],
)
def test_a_host_may_be_written_as_in_a_url_and_may_be_a_socket(given: str, used: str) -> None:
    assert load(INSPYRENET_HOST=given).host == used

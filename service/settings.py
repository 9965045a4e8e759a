"""Settings: read once, frozen, checked together; whatever is wrong is said in one line each.

``Settings(...)`` is pure: it never looks at the process's environment. ``load_settings`` reads the flags and
environment variables handed to it.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from service.environment import PREFIX, find_port, is_injected


@dataclass(frozen=True, slots=True)
class Takes:
    """What a field accepts, for people: the placeholder in the help text, and the words of an error."""

    metavar: str
    words: str


LONGEST_SECONDS = 86_400  # a day: beyond it a timeout is a slip of the keyboard

Seconds = Annotated[
    float,
    Field(gt=0, le=LONGEST_SECONDS, allow_inf_nan=False),
    Takes("SECONDS", f"a number of seconds above 0 and at most {LONGEST_SECONDS}"),
]
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


def _whole(metavar: str, *, ge: int, le: int | None = None) -> tuple[Any, Takes]:
    words = f"a whole number of at least {ge}" if le is None else f"a whole number from {ge} to {le}"
    return Field(ge=ge, le=le), Takes(metavar, words)


class Settings(BaseSettings):
    """Everything that can be set. Durations are seconds, sizes pixels or bytes as the field says.

    Raises:
        pydantic.ValidationError: a value that cannot be, or two that cannot be together.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What the constructor is given and nothing else: ``load_settings`` hands it the environment.

        The library's own source would pass over an unknown variable, and take a platform's for the user's.
        """
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)

    engine: Literal["inspyrenet", "grabcut", "u2netp", "auto"] = Field(
        "inspyrenet",
        description="what makes the masks; auto = InSPyReNet if its weights are or can be had, else grabcut, "
        "announced everywhere; not the default, since production never falls back silently",
    )
    mode: Literal["base", "fast", "base-nightly"] = Field(
        "base", description="which InSPyReNet network, as in transparent-background"
    )
    resize: Literal["static", "dynamic"] = Field(
        "dynamic",
        description="how an image becomes the model's input: static = one fixed square; dynamic = its own "
        "ratio, sides rounded to multiples of 32, which keeps detail",
    )
    weights: Annotated[Text, Takes("WEIGHTS", "official, dummy, or the path of a checkpoint")] = Field(
        "official",
        description="official (downloaded once, verified, cached), dummy (seeded random weights, for tests), or the "
        "path of a checkpoint, which may appear later",
    )
    device: Annotated[
        str,
        StringConstraints(strip_whitespace=True, pattern=r"^(auto|cpu|cuda|cuda:\d{1,3})$"),
        Takes("DEVICE", "auto, cpu, cuda or cuda:N"),
    ] = Field(
        "auto",
        description="where the model runs; a named device that is missing ends start-up, auto never does",
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto",
        description="arithmetic of the model; auto = bf16 only if a self-check at load, on these weights, stays "
        "inside the tolerance",
    )

    host: Annotated[Text, Takes("ADDRESS", "an address or host name to listen on")] = Field(
        "0.0.0.0",  # noqa: S104 - a container is reached from outside it
        description="address to listen on; the default is every IPv4 address, as a container needs",
    )
    port: Annotated[int, *_whole("PORT", ge=0, le=65_535)] = Field(
        8080,
        description="TCP port to listen on; 0 = any free one. PORT is honoured too, as Cloud Run sets it",
    )

    warmup_interval: Seconds = Field(
        60,
        description="time between probes while they pass; once a minute is fresh enough to act on and cheap",
    )
    warmup_timeout: Seconds = Field(
        120,
        description="running time, not waiting time, after which a probe has failed; roomy, since the first "
        "pass on a device is by far the slowest",
    )
    warmup_size: Annotated[int, *_whole("PIXELS", ge=1, le=4096)] = Field(
        64,
        description="side of the square canary a probe sends; small is enough to prove the path. An unsafe side "
        "is raised to a safe one, with a warning",
    )

    queue_size: Annotated[int, *_whole("REQUESTS", ge=1)] = Field(
        16,
        description="requests that may wait for the worker; one more gets 429 at once. It bounds memory too",
    )
    request_timeout: Seconds = Field(
        60, description="a request's whole deadline once its body is in: waiting, running, encoding"
    )
    read_timeout: Seconds = Field(
        30, description="time for a request's body to arrive; slow uploads hold no turn"
    )
    load_timeout: Seconds = Field(
        600,
        description="time for imports, reading weights and setting the device up; a download has a stall "
        "timeout of its own",
    )
    hang_timeout: Seconds = Field(
        300,
        description="a job running longer means a stuck thread, which only a new process mends: /livez answers "
        "503 for 10 s, then the process ends",
    )
    drain_timeout: Seconds = Field(
        8, description="grace for requests under way after SIGTERM; Cloud Run kills after 10"
    )

    max_upload_bytes: Annotated[int, *_whole("BYTES", ge=1)] = Field(
        26_214_400, description="largest body accepted; the default is 25 MiB"
    )
    max_pixels: Annotated[int, *_whole("PIXELS", ge=1)] = Field(
        50_000_000,
        description="most pixels (width x height, first frame) accepted, read from the header before "
        "anything is decoded",
    )
    max_model_pixels: Annotated[int, *_whole("PIXELS", ge=32 * 32)] = Field(
        4_194_304,
        description="most pixels ever fed to the model; larger images are scaled down to it, which bounds "
        "device memory. The default is 2048 x 2048",
    )

    api_keys: Annotated[
        tuple[SecretStr, ...], Takes("KEYS", "comma-separated keys of visible ASCII characters, at least one")
    ] = Field((), description="comma-separated keys, any of which opens /process; none = open to all")
    api_keys_file: Annotated[Path | None, Takes("FILE", "the path of a file that can be read")] = Field(
        None, description="file with one key a line, read again whenever it changes; none = no file"
    )
    cors_origins: Annotated[
        tuple[str, ...],
        Takes("ORIGINS", "* or comma-separated origins such as https://shop.example, without a path"),
    ] = Field(
        (),
        description="comma-separated origins whose pages may call the service, or * for all; none = same "
        "origin only",
    )
    log_format: Literal["auto", "json", "console"] = Field(
        "auto",
        description="json = one object a line, with Cloud Logging's keys; auto = console on a terminal, else "
        "json",
    )

    @field_validator("api_keys", "cors_origins", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if not isinstance(value, str) or not value.strip():
            return () if isinstance(value, str) else value
        parts = tuple(part.strip() for part in value.split(",") if part.strip())
        if not parts:  # "," is a slip, and must not open the service to everyone
            raise ValueError("names nothing")
        return parts

    @field_validator("api_keys")
    @classmethod
    def _keys_fit_a_header(cls, keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if not all(re.fullmatch(r"[!-~]+", key.get_secret_value()) for key in keys):
            raise ValueError("a key that no header could carry")
        return keys

    @field_validator("api_keys_file", mode="before")
    @classmethod
    def _empty_is_no_file(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator("api_keys_file")
    @classmethod
    def _file_can_be_read(cls, path: Path | None) -> Path | None:
        # A missing file must not mean "no keys, open to all".
        if path is not None and (path.is_dir() or not os.access(path, os.R_OK)):
            raise ValueError("cannot be read")
        return path

    @field_validator("cors_origins")
    @classmethod
    def _origins_as_browsers_send_them(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        if "*" in origins and len(origins) > 1:
            raise ValueError("* stands alone")
        if not all(
            origin == "*" or re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#*\s]+", origin)
            for origin in origins
        ):
            raise ValueError("not an origin")
        return tuple(origin.lower() for origin in origins)

    @model_validator(mode="after")
    def _canary_fits(self) -> Self:
        if self.warmup_size**2 > self.max_pixels:
            raise ValueError(
                f"{variable('warmup_size')}: got {self.warmup_size}, whose canary of {self.warmup_size**2} pixels "
                f"is over {variable('max_pixels')} = {self.max_pixels}; takes a side that fits"
            )
        return self

    @property
    def weights_kind(self) -> str:
        """``official``, ``dummy``, or ``file`` if ``weights`` is a path."""
        return self.weights if self.weights in ("official", "dummy") else "file"


class SettingsError(ValueError):
    """Settings that cannot be used.

    Args:
        problems: one line each, naming the variable or flag, what it got and what it takes; never a secret.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


def variable(field: str) -> str:
    """The environment variable of a field: ``warmup_size`` -> ``INSPYRENET_WARMUP_SIZE``."""
    return f"{Settings.model_config['env_prefix']}{field.upper()}"


def flag(field: str) -> str:
    """The command-line flag of a field: ``warmup_size`` -> ``--warmup-size``."""
    return "--" + field.replace("_", "-")


def takes(field: str) -> Takes:
    """What a field accepts, in words; the choices of a ``Literal`` speak for themselves."""
    info = Settings.model_fields[field]
    for item in info.metadata:
        if isinstance(item, Takes):
            return item
    choices = get_args(info.annotation)
    return Takes("{" + ",".join(choices) + "}", f"{', '.join(choices[:-1])} or {choices[-1]}")


def load_settings(
    argv_overrides: Mapping[str, str], environ: Mapping[str, str]
) -> tuple[Settings, tuple[str, ...]]:
    """Settings from flags and environment: a flag beats ``INSPYRENET_*``, which beats ``PORT``.

    Args:
        argv_overrides: field name -> text, as given by flags.
        environ: environment variables.

    Returns:
        The settings, and notes: lines to log at start.

    Raises:
        SettingsError: every problem found, one line each.
    """
    values: dict[str, str] = {}
    sources: dict[str, str] = {}
    notes: list[str] = []
    problems: list[str] = []

    mine = {name: value for name, value in environ.items() if name.upper().startswith(PREFIX)}
    if injected := sorted(name for name, value in mine.items() if is_injected(name, value)):
        notes.append(f"ignoring what Kubernetes injects for a Service: {', '.join(injected)}")
    known = {variable(field): field for field in Settings.model_fields}
    for name in sorted(mine.keys() - set(injected)):
        if field := known.get(name):
            values[field], sources[field] = mine[name], name
        else:
            problems.append(_unknown(name, known))
    if port := find_port(environ):
        sources["port"], values["port"] = port
    for field, value in argv_overrides.items():
        values[field], sources[field] = value, flag(field)

    try:
        settings = Settings(**values)  # type: ignore[arg-type]  # text, for the model to read
    except ValidationError as error:
        raise SettingsError(
            [*problems, *_explain(error, values, sources)]
        ) from None  # its cause holds raw values
    if problems:
        raise SettingsError(problems)
    return settings, (*notes, *_remarks(settings))


def _unknown(name: str, known: Mapping[str, str]) -> str:
    fields = {field.upper(): known_name for known_name, field in known.items()}
    close = difflib.get_close_matches(name.upper().removeprefix(PREFIX), fields, n=1)
    hint = f"did you mean {fields[close[0]]}?" if close else "python -m service serve --help lists them all"
    return f"{name}: no such setting; {hint}"  # the value stays unsaid: it may be a key under a misspelt name


def _explain(error: ValidationError, values: Mapping[str, str], sources: Mapping[str, str]) -> list[str]:
    lines: dict[str, str] = {}  # one line a field, however many of its items are wrong
    for detail in error.errors(include_url=False):
        if not detail["loc"]:  # a check over several fields has written its own line
            lines[detail["msg"]] = str(detail["ctx"]["error"])
            continue
        field = str(detail["loc"][0])
        got = "a value not shown here" if field == "api_keys" else _shorten(repr(values[field]))
        lines[field] = f"{sources[field]}: got {got}; takes {takes(field).words}"
    return list(lines.values())


def _shorten(text: str) -> str:
    return text if len(text) <= 100 else f"{text[:90]}... ({len(text)} characters)"


def _remarks(settings: Settings) -> list[str]:
    """Combinations that work, but perhaps not as meant."""
    limits = {"request_timeout": settings.request_timeout, "warmup_timeout": settings.warmup_timeout}
    return [
        f"{variable('hang_timeout')} = {settings.hang_timeout:g} is below {variable(field)} = {limit:g}: "
        "a job that slow ends the process first"
        for field, limit in limits.items()
        if settings.hang_timeout < limit
    ]

"""The settings: their names, types, defaults and limits, and the words that describe them to people.

``Settings(...)`` never reads the process's environment; ``service.settings_reader`` reads flags and variables. The
command line makes its flags and its help from this model. So every description must be one plain sentence without
square brackets.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from ipaddress import IPv6Address
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    field_validator,
    model_validator,
)

from service.environment_variables import PREFIX, UNIX_SOCKET


@dataclass(frozen=True, slots=True)
class Takes:
    """What a field accepts: the placeholder in the help, and the words of an error message."""

    metavar: str
    words: str


LONGEST_SOCKET_PATH = 107
"""Bytes that the system takes as the path of a UNIX socket."""

LONGEST_SECONDS = 86_400  # a day; a longer timeout is a typing error

Seconds = Annotated[
    float,
    Field(gt=0, le=LONGEST_SECONDS, allow_inf_nan=False),
    Takes("SECONDS", f"a number of seconds above 0 and at most {LONGEST_SECONDS}"),
]
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


def _whole(metavar: str, *, ge: int, le: int | None = None) -> tuple[Any, Takes]:
    words = f"a whole number of at least {ge}" if le is None else f"a whole number from {ge} to {le}"
    return Field(ge=ge, le=le), Takes(metavar, words)


class Settings(BaseModel):
    """Every setting. Durations are seconds; sizes are pixels or bytes, as the field says.

    Raises:
        pydantic.ValidationError: a value is invalid, or two values contradict each other.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True)

    engine: Literal["inspyrenet", "u2netp", "auto"] = Field(
        "inspyrenet",
        description="what makes the masks; auto = InSPyReNet if its weights are there or can be downloaded, else "
        "u2netp, which every answer then says. auto is not the default, so that production never falls back silently",
    )
    mode: Literal["base", "fast", "base-nightly"] = Field(
        "base", description="which InSPyReNet network, as in transparent-background"
    )
    resize: Literal["static", "dynamic"] = Field(
        "dynamic",
        description="how a picture is resized for the model: static = to one fixed square; dynamic = with its own "
        "aspect ratio and sides rounded to multiples of 32, which keeps detail",
    )
    weights: Annotated[Text, Takes("WEIGHTS", "official, dummy, or the path of a checkpoint")] = Field(
        "official",
        description="official (downloaded once, verified, cached), dummy (seeded random weights, for tests), or the "
        "path of a checkpoint; the file may be created after the start",
    )
    device: Annotated[
        str,
        StringConstraints(strip_whitespace=True, pattern=r"^(auto|cpu|cuda|cuda:\d{1,3})$"),
        Takes("DEVICE", "auto, cpu, cuda or cuda:N"),
    ] = Field(
        "auto",
        description="where the model runs; if a named device is missing, the service does not start; auto takes a "
        "GPU if there is one",
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto",
        description="arithmetic of the model; auto = bf16 if a self-check with the loaded weights stays within the "
        "tolerance, else fp32",
    )

    host: Annotated[
        Text,
        Takes(
            "ADDRESS",
            "an address or host name to listen on, without scheme and port, or unix: and the absolute path of a socket "
            f"of at most {LONGEST_SOCKET_PATH} bytes",
        ),
    ] = Field(
        "0.0.0.0",  # noqa: S104 - a container is reached from outside it
        description="address to listen on; the default is every IPv4 address, which a container needs, and :: is "
        "every address; unix:/run/inspyrenet.sock = a UNIX socket instead of a port",
    )
    port: Annotated[int, *_whole("PORT", ge=0, le=65_535)] = Field(
        8080,
        description="TCP port to listen on; 0 = any free port, which the log names. The variable PORT counts too, "
        "which Cloud Run sets, and AIP_HTTP_PORT of Vertex AI",
    )
    platform: Literal["auto", "none", "vertex", "sagemaker", "runpod", "kserve"] = Field(
        "auto",
        description="what runs the container; auto = tell Vertex AI and RunPod by the variables that they set. Vertex "
        "AI names the port and two routes, on RunPod /ping is 204 while the service starts; the rest is the same "
        "everywhere",
    )

    warmup_interval: Seconds = Field(
        60,
        description="time between warmup probes while they pass; once a minute costs little and shows a fault soon",
    )
    warmup_timeout: Seconds = Field(
        120,
        description="running time (not waiting time) after which a probe has failed; generous, because the first "
        "pass on a device is by far the slowest",
    )
    warmup_size: Annotated[int, *_whole("PIXELS", ge=1, le=4096)] = Field(
        64,
        description="side of the square test picture of a probe; a small one is enough to test the whole path. An "
        "unsafe side is raised to a safe one, with a warning",
    )

    references: Annotated[Path | None, Takes("DIRECTORY", "the path of a directory that can be read")] = (
        Field(
            None,
            description="directory of reference pictures, made by ./inspyrenet accept: the service is warm only while "
            "it makes the masks that were accepted for them; none = no references",
        )
    )
    references_gate: Literal["none", "first", "all"] = Field(
        "first",
        description="the references that must pass before the service is ready for the first time after a load; the "
        "others are judged behind it, one a probe",
    )

    queue_size: Annotated[int, *_whole("REQUESTS", ge=1)] = Field(
        16,
        description="requests that may wait for the model; one more is answered 429 at once. This limits memory too",
    )
    request_timeout: Seconds = Field(
        60, description="time for a request once its body has arrived: waiting, running and encoding together"
    )
    read_timeout: Seconds = Field(
        30, description="time for a request's body to arrive; a slow upload does not delay other requests"
    )
    load_timeout: Seconds = Field(
        600,
        description="time for imports, reading the weights and preparing the device; a download has a timeout of "
        "its own, for stalling",
    )
    hang_timeout: Seconds = Field(
        300,
        description="a job that runs longer than this is stuck, and only a new process helps: /livez answers 503 for "
        "10 s, then the process ends",
    )
    drain_timeout: Seconds = Field(
        8,
        description="time for requests that are under way at SIGTERM; Cloud Run kills the process after 10 s",
    )

    max_upload_bytes: Annotated[int, *_whole("BYTES", ge=1)] = Field(
        26_214_400, description="largest request body that is accepted; the default is 25 MiB"
    )
    max_pixels: Annotated[int, *_whole("PIXELS", ge=1)] = Field(
        50_000_000,
        description="most pixels of a picture (width x height of the first frame), read from its header before it is "
        "decoded",
    )
    max_model_pixels: Annotated[int, *_whole("PIXELS", ge=32 * 32)] = Field(
        4_194_304,
        description="most pixels of a model input; larger pictures are scaled down to it, which limits device memory. "
        "The default is 2048 x 2048",
    )

    api_keys: Annotated[
        tuple[SecretStr, ...], Takes("KEYS", "comma-separated keys of visible ASCII characters, at least one")
    ] = Field((), description="comma-separated keys, any of which opens /process; none = open to everyone")
    api_keys_file: Annotated[Path | None, Takes("FILE", "the path of a file that can be read")] = Field(
        None, description="file with one key per line, read again when it changes; none = no file"
    )
    cors_origins: Annotated[
        tuple[str, ...],
        Takes("ORIGINS", "* or comma-separated origins such as https://shop.example, without a path"),
    ] = Field(
        (),
        description="comma-separated origins whose web pages may call the service, or * for all; none = only its own "
        "pages",
    )
    url_hosts: Annotated[
        tuple[str, ...],
        Takes(
            "HOSTS",
            "comma-separated host names such as images.example.com, without scheme, port, path or wildcard",
        ),
    ] = Field(
        (),
        description="comma-separated hosts on which a request may name a picture by its address, which the service "
        "then fetches; none = no address is ever fetched",
    )
    malloc_tuning: Literal["on", "off"] = Field(
        "on",
        description="on = the program starts itself again with variables that make the C library, torch, oneDNN and "
        "NumPy keep memory for the next picture, except where the environment decides already; off = it changes none",
    )
    log_format: Literal["auto", "json", "console"] = Field(
        "auto",
        description="json = one object per line, with Cloud Logging's keys; auto = console on a terminal, else json",
    )

    @field_validator("host")
    @classmethod
    def _host_is_an_address(cls, host: str) -> str:
        if host.startswith(UNIX_SOCKET):
            path = host.removeprefix(UNIX_SOCKET)
            if not path.startswith("/") or len(os.fsencode(path)) > LONGEST_SOCKET_PATH:
                raise ValueError("not the path of a socket")
            return host
        bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host  # as a URL has it
        if ":" in bare:
            IPv6Address(bare)
        elif bare != host or re.search(r"[\s/@]", host):
            raise ValueError("not a host")
        return bare

    @field_validator("api_keys", "cors_origins", "url_hosts", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if not isinstance(value, str) or not value.strip():
            return () if isinstance(value, str) else value
        parts = tuple(part.strip() for part in value.split(",") if part.strip())
        if not parts:  # "," is a typing error, and must not open the service to everyone
            raise ValueError("nothing between the commas")
        return parts

    @field_validator("api_keys")
    @classmethod
    def _keys_fit_a_header(cls, keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if not all(re.fullmatch(r"[!-~]+", key.get_secret_value()) for key in keys):
            raise ValueError("a key that no header can carry")
        return keys

    @field_validator("api_keys_file", "references", mode="before")
    @classmethod
    def _empty_is_no_file(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator("api_keys_file")
    @classmethod
    def _file_can_be_read(cls, path: Path | None) -> Path | None:
        # A missing file must not mean "no keys, open to all".
        if path is not None and (_is_directory(path) or not os.access(path, os.R_OK)):
            raise ValueError("cannot be read")
        return path

    @field_validator("references")
    @classmethod
    def _directory_can_be_read(cls, path: Path | None) -> Path | None:
        # A missing directory must not mean "no references, ready without them".
        if path is not None and not (_is_directory(path) and os.access(path, os.R_OK | os.X_OK)):
            raise ValueError("cannot be read")
        return path

    @field_validator("cors_origins")
    @classmethod
    def _origins_are_in_lower_case(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        if "*" in origins and len(origins) > 1:
            raise ValueError("* cannot be combined with origins")
        if not all(
            origin == "*" or re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#*\s]+", origin)
            for origin in origins
        ):
            raise ValueError("not an origin")
        return tuple(origin.lower() for origin in origins)

    @field_validator("url_hosts")
    @classmethod
    def _hosts_are_names(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        # Names with a dot and letters at their end, so no spelling of an IP address, and no name of this machine.
        if not all(
            re.fullmatch(r"([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z]([a-z0-9-]*[a-z0-9])?", host.lower())
            for host in hosts
        ):
            raise ValueError("not a host name")
        return tuple(host.lower() for host in hosts)

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


def _is_directory(path: Path) -> bool:
    return os.path.isdir(path)  # Path.is_dir raises an error if the path is too long


def variable(field: str) -> str:
    """The environment variable of a field: ``warmup_size`` -> ``INSPYRENET_WARMUP_SIZE``."""
    return f"{PREFIX}{field.upper()}"


def flag(field: str) -> str:
    """The command-line flag of a field: ``warmup_size`` -> ``--warmup-size``."""
    return "--" + field.replace("_", "-")


def takes(field: str) -> Takes:
    """What a field accepts, in words; for a ``Literal``, its choices."""
    info = Settings.model_fields[field]
    for item in info.metadata:
        if isinstance(item, Takes):
            return item
    choices = get_args(info.annotation)
    return Takes("{" + ",".join(choices) + "}", f"{', '.join(choices[:-1])} or {choices[-1]}")

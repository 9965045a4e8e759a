"""Whether the standard ``OTEL_*`` variables ask for traces, and whether they can be had.

``service.cli.serve`` calls ``traces_requested`` before it listens. It must import nothing of OpenTelemetry. Values with
which nothing would be sent, or something else than was asked for, are refused here in one line each. OpenTelemetry
itself would start, and lose every span. What it judges itself is left to it: mostly it warns and goes on with its
default; limits and queue sizes that cannot be end the start, too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from service.environment_variables import SettingsError

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
INSTALL = ".venv/bin/pip install --constraint constraints.txt '.[traces]'"

_EXPORTERS = ("otlp", "none")
_PROTOCOL = "http/protobuf"
_WITHOUT = "OTEL_TRACES_EXPORTER=none starts without traces"
"""Advice where a platform may have set what is wrong."""
_RATIO_SAMPLERS = ("traceidratio", "parentbased_traceidratio")
_SAMPLERS = (
    "always_on",
    "always_off",
    "parentbased_always_on",
    "parentbased_always_off",
    *_RATIO_SAMPLERS,
)
_HEADER = re.compile(r"[\w!#$%&'*+.^`|~-]+[ \t]*=[ \t]*[ !#-+\-./0-:<-\[\]-~]*", re.ASCII)
"""A pair of ``OTEL_EXPORTER_OTLP_HEADERS``; OpenTelemetry's own parser drops whatever does not match."""
_FILES = ("CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY")
_NEEDED = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http")


def traces_requested(environ: Mapping[str, str], *, find: Callable[[str], object | None] = find_spec) -> bool:
    """Whether traces are to be sent.

    ``OTEL_SDK_DISABLED=true`` or ``OTEL_TRACES_EXPORTER=none`` means no; ``OTEL_TRACES_EXPORTER=otlp`` or an endpoint
    means yes. Without any of them it is no, although the standard's own default is to send.

    Args:
        environ: environment variables; an empty one counts as unset.
        find: looks for an installed module.

    Raises:
        SettingsError: they ask for something that cannot be had, or OpenTelemetry is not installed.
    """
    given = {
        name: value.strip() for name, value in environ.items() if name.startswith("OTEL_") and value.strip()
    }
    if given.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    exporter = given.get("OTEL_TRACES_EXPORTER")
    asking = ("OTEL_TRACES_EXPORTER",) if exporter is not None else ENDPOINTS
    by = next((name for name in asking if name in given), None)
    if exporter == "none" or by is None:
        return False
    if problems := _problems(given):
        raise SettingsError(problems)
    if not all(_is_installed(name, find) for name in _NEEDED):
        raise SettingsError(
            [
                f"{by} asks for traces, but OpenTelemetry is not installed: {INSTALL} installs it, and "
                "OTEL_SDK_DISABLED=true does without"
            ]
        )
    return True


def _problems(given: Mapping[str, str]) -> list[str]:
    protocol = _of_exporter(given, "PROTOCOL")
    choices = [
        ("OTEL_TRACES_EXPORTER", _EXPORTERS, " or ".join(_EXPORTERS)),
        ("OTEL_TRACES_SAMPLER", _SAMPLERS, ", ".join(_SAMPLERS)),
        *((name, (_PROTOCOL,), f"{_PROTOCOL}; {_WITHOUT}") for name in protocol),
    ]
    problems = [
        f"{name}: got {given[name]!r}; takes {takes}"
        for name, allowed, takes in choices
        if name in given and given[name] not in allowed
    ]
    ratio = given.get("OTEL_TRACES_SAMPLER_ARG")
    if ratio is not None and given.get("OTEL_TRACES_SAMPLER") in _RATIO_SAMPLERS and not _is_share(ratio):
        problems.append(f"OTEL_TRACES_SAMPLER_ARG: got {ratio!r}; takes a number from 0 to 1")
    wanted = {name.strip() for name in given.get("OTEL_PROPAGATORS", "none").split(",")}
    known = {"none"} | {found.name for found in entry_points(group="opentelemetry_propagator")}
    if unknown := sorted(wanted - known):
        problems.append(
            f"OTEL_PROPAGATORS: {', '.join(unknown)} not installed; takes {', '.join(sorted(known))}"
        )
    return [*problems, *_problems_of_exporter(given)]


def _problems_of_exporter(given: Mapping[str, str]) -> Iterator[str]:
    """What would keep every span from its receiver. Addresses and headers are not repeated: they may hold secrets."""
    for name, value in _of_exporter(given, "ENDPOINT").items():
        if not _is_address(value, base=name == ENDPOINTS[1]):
            yield (
                f"{name}: takes an address that begins with http:// or https:// and has a host, such as "
                "http://collector:4318"
            )
    for name, value in _of_exporter(given, "HEADERS").items():
        if not all(_HEADER.fullmatch(pair.strip()) for pair in value.split(",") if pair.strip()):
            yield f"{name}: takes pairs name=value with commas between them, and the values URL-encoded"
    for name, value in _of_exporter(given, "TIMEOUT").items():
        if _is_number(value) and not float(value) > 0:
            yield f"{name}: got {value!r}; takes a number of seconds above 0"
    for what in _FILES:
        for name, value in _of_exporter(given, what).items():
            if not Path(value).is_file():
                yield f"{name}: got {value!r}; takes the path of a file, and there is none"


def _of_exporter(given: Mapping[str, str], what: str) -> dict[str, str]:
    """The variable that counts for traces, with its value: their own, else the one for all signals, else none."""
    names = (f"OTEL_EXPORTER_OTLP_TRACES_{what}", f"OTEL_EXPORTER_OTLP_{what}")
    return next(({name: given[name]} for name in names if name in given), {})


def _is_address(text: str, *, base: bool) -> bool:
    """Whether it can be the address of a receiver; a base address gets a path behind it, so it may have no query."""
    try:
        url = urlsplit(text)
        _ = url.port  # raises if it is none
    except ValueError:
        return False
    return (
        url.scheme in ("http", "https")
        and bool(url.hostname)
        and not re.search(r"\s", text)
        and not (base and (url.query or url.fragment))
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_share(text: str) -> bool:
    return _is_number(text) and 0 <= float(text) <= 1


def _is_installed(module: str, find: Callable[[str], object | None]) -> bool:
    try:
        return find(module) is not None
    except ModuleNotFoundError:  # of a package that it would be in
        return False

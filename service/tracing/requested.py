"""Whether the standard ``OTEL_*`` variables ask for traces, and whether they can be had.

``service.cli.serve`` calls ``traces_requested`` before it listens. It must import nothing of OpenTelemetry. Values that
OpenTelemetry itself would replace by others after a warning are refused here, as those of our own variables are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec

from service.environment_variables import SettingsError

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
INSTALL = ".venv/bin/pip install --constraint constraints.txt '.[traces]'"

_EXPORTERS = ("otlp", "none")
_PROTOCOL = "http/protobuf"
_RATIO_SAMPLERS = ("traceidratio", "parentbased_traceidratio")
_SAMPLERS = (
    "always_on",
    "always_off",
    "parentbased_always_on",
    "parentbased_always_off",
    *_RATIO_SAMPLERS,
)
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
    problems = [
        f"{name}: got {given[name]!r}; takes {takes}"
        for name, allowed, takes in (
            ("OTEL_TRACES_EXPORTER", _EXPORTERS, " or ".join(_EXPORTERS)),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", (_PROTOCOL,), _PROTOCOL),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", (_PROTOCOL,), _PROTOCOL),
            ("OTEL_TRACES_SAMPLER", _SAMPLERS, ", ".join(_SAMPLERS)),
        )
        if name in given and given[name] not in allowed
    ]
    if (
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL" in given
    ):  # it beats the general one, which may be for other signals
        problems = [problem for problem in problems if not problem.startswith("OTEL_EXPORTER_OTLP_PROTOCOL:")]
    problems += [
        f"{name}: takes an address that begins with http:// or https://"  # not what it got, which may hold a password
        for name in ENDPOINTS
        if name in given and not given[name].startswith(("http://", "https://"))
    ]
    ratio = given.get("OTEL_TRACES_SAMPLER_ARG")
    if ratio is not None and given.get("OTEL_TRACES_SAMPLER") in _RATIO_SAMPLERS and not _is_share(ratio):
        problems.append(f"OTEL_TRACES_SAMPLER_ARG: got {ratio!r}; takes a number from 0 to 1")
    return problems


def _is_share(text: str) -> bool:
    try:
        return 0 <= float(text) <= 1
    except ValueError:
        return False


def _is_installed(module: str, find: Callable[[str], object | None]) -> bool:
    try:
        return find(module) is not None
    except ModuleNotFoundError:  # of a package that it would be in
        return False

"""Reads the settings from flags and environment variables, and explains each error in one line.

The commands ``serve`` and ``weights`` call :func:`load_settings`. A variable whose name starts with ``INSPYRENET_``
must never be ignored silently unless it is empty, which counts as unset. No line may show an API key.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from pydantic import ValidationError

from service.environment_variables import PREFIX, UNIX_SOCKET, SettingsError, find_port, is_injected
from service.settings import Settings, flag, takes, variable

ONLY_INSPYRENET = ("mode", "resize", "weights", "precision", "max_model_pixels")
"""Settings that the engine u2netp does not use."""


def load_settings(
    argv_overrides: Mapping[str, str], environ: Mapping[str, str]
) -> tuple[Settings, tuple[str, ...]]:
    """Settings from flags and environment: a flag beats ``INSPYRENET_*``, which beats ``PORT``.

    An empty variable counts as unset, because templates of deployments cannot leave a variable out.

    Args:
        argv_overrides: field name -> text, as given by flags; an empty text is a value.
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

    ours = {name: value for name, value in environ.items() if value and name.upper().startswith(PREFIX)}
    if injected := sorted(name for name, value in ours.items() if is_injected(name, value)):
        notes.append(f"ignoring what Kubernetes injects for a Service: {', '.join(injected)}")
    known = {variable(field): field for field in Settings.model_fields}
    for name in sorted(ours.keys() - set(injected)):
        if field := known.get(name):
            values[field], sources[field] = ours[name], name
        else:
            problems.append(_unknown(name, known))
    if port := find_port(environ, argv_overrides.get("platform")):
        sources["port"], values["port"] = port
    for field, value in argv_overrides.items():
        values[field], sources[field] = value, flag(field)

    try:
        settings = Settings(**values)  # text, which the model converts
    except ValidationError as error:
        raise SettingsError(
            [*problems, *_explain(error, values, sources)]
        ) from None  # the cause holds raw values, keys among them
    if problems:
        raise SettingsError(problems)
    return settings, (*notes, *_remarks(settings), *_unused(settings, sources))


def _unknown(name: str, known: Mapping[str, str]) -> str:
    fields = {field.upper(): known_name for known_name, field in known.items()}
    close = difflib.get_close_matches(name.upper().removeprefix(PREFIX), fields, n=1)
    hint = f"did you mean {fields[close[0]]}?" if close else "./inspyrenet serve --help lists all settings"
    return f"{name}: no such setting; {hint}"  # without the value, which may be a key under a misspelt name


def _explain(error: ValidationError, values: Mapping[str, str], sources: Mapping[str, str]) -> list[str]:
    lines: dict[str, str] = {}  # one line a field, however many of its items are wrong
    for detail in error.errors(include_url=False):
        if not detail["loc"]:  # a check of several fields together, which has written its own line
            lines[detail["msg"]] = str(detail["ctx"]["error"])
            continue
        field = str(detail["loc"][0])
        got = "a value not shown here" if field == "api_keys" else _shorten(repr(values[field]))
        lines[field] = f"{sources[field]}: got {got}; takes {takes(field).words}"
    return list(lines.values())


def _shorten(text: str) -> str:
    return text if len(text) <= 100 else f"{text[:90]}... ({len(text)} characters)"


def _remarks(settings: Settings) -> list[str]:
    """Combinations that work, but may not do what the operator wants."""
    limits = {"request_timeout": settings.request_timeout, "warmup_timeout": settings.warmup_timeout}
    remarks = [
        f"{variable('hang_timeout')} = {settings.hang_timeout:g} is below {variable(field)} = {limit:g}: "
        "a job that slow ends the process first"
        for field, limit in limits.items()
        if settings.hang_timeout < limit
    ]
    if settings.references is None and settings.references_gate == "all":
        remarks.append(
            f"{variable('references_gate')} = all has no effect: {variable('references')} names no directory"
        )
    return remarks


def _unused(settings: Settings, sources: Mapping[str, str]) -> list[str]:
    """What was set and has no effect, so that nobody believes it to be in force."""
    notes = []
    names = [sources[field] for field in ONLY_INSPYRENET if field in sources]
    if settings.engine == "u2netp" and names:
        notes.append(f"the engine u2netp does not use {', '.join(names)}")
    if settings.host.startswith(UNIX_SOCKET) and "port" in sources:
        notes.append(f"{sources['port']} has no effect: {variable('host')} names a UNIX socket")
    return notes

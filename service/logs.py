"""Logging: one pipeline for structlog and the standard library, as JSON lines or for people on a terminal.

Log with ``structlog.get_logger()`` and keyword arguments, or with ``logging``; both come out alike. What is bound
with ``structlog.contextvars.bind_contextvars`` (``request_id``, ``trace_id``) is on every line. Never log what a
client sent: bytes are written as their length.
"""

from __future__ import annotations

import logging
import math
import re
import sys
from collections.abc import Mapping
from itertools import islice
from typing import Literal, TextIO

import structlog
from structlog.types import EventDict, Processor, WrappedLogger

LogFormat = Literal["auto", "json", "console"]

_LONGEST = 4_000  # characters of one value; an entry of a log store holds little more than a few of these
_MOST = 100  # items of one collection
_DEEPEST = 4  # collections within collections
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all but tab and newline
_SEVERITIES = frozenset({"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"})
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_CLOUD_TRACE = re.compile(r"([0-9a-f]{32})(?:/.*)?")


def configure(
    log_format: LogFormat = "auto",
    *,
    stream: TextIO | None = None,
    project: str | None = None,
    level: int = logging.INFO,
) -> None:
    """Send every log line of the process, warnings too, to one stream in one format. May be called again.

    Args:
        log_format: ``json``, ``console``, or ``auto``: console if ``stream`` is a terminal.
        stream: where to; standard error by default, so that standard output holds only what a command answers.
        project: Google Cloud's project, which makes a bound ``trace_id`` a link to the trace.
        level: least level written.
    """
    stream = sys.stderr if stream is None else stream
    terminal = stream.isatty()
    as_json = log_format == "json" or (log_format == "auto" and not terminal)

    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp"),
    ]
    render: list[Processor] = (
        [_CloudLogging(project), structlog.processors.JSONRenderer(sort_keys=False)]
        if as_json
        else [
            # Never the rich tracebacks it would choose by itself: they show local variables, a request's among them.
            structlog.dev.ConsoleRenderer(
                colors=terminal, exception_formatter=structlog.dev.plain_traceback, timestamp_key="timestamp"
            )
        ]
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                _make_plain,
                *render,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.captureWarnings(capture=True)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
    )


def find_trace_id(headers: Mapping[str, str]) -> str | None:
    """The trace a request belongs to, 32 hex digits, from ``traceparent`` or ``X-Cloud-Trace-Context``; else None."""
    for name, pattern in (("traceparent", _TRACEPARENT), ("X-Cloud-Trace-Context", _CLOUD_TRACE)):
        if match := pattern.fullmatch(headers.get(name, "").strip().lower()):
            return match[1]
    return None


class _CloudLogging:
    """Renames and orders the keys as Cloud Logging reads them; a caller's key of the same name gets an underscore."""

    def __init__(self, project: str | None) -> None:
        self._project = project

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        severity = str(event.pop("level", "info")).upper()
        line: EventDict = {
            "severity": severity if severity in _SEVERITIES else "DEFAULT",
            "message": event.pop("event", ""),
            "time": event.pop("timestamp", None),
        }
        if self._project and (trace_id := event.pop("trace_id", None)):
            line["logging.googleapis.com/trace"] = f"projects/{self._project}/traces/{trace_id}"
        for key, value in event.items():
            line[f"{key}_" if key in line else key] = value
        return line


def _make_plain(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Turn every value into text, a number, or a few of these, so that no value can break a line or its reader."""
    return {
        str(key): _clean(str(value)) if key in ("exception", "stack") else _plain(value)
        for key, value in event.items()
    }


def _plain(value: object, depth: int = 0) -> object:
    try:
        return _convert(value, depth)
    except Exception as error:  # noqa: BLE001 - somebody else's __str__ may raise anything, and logging must not
        return f"<{type(value).__name__} that cannot be shown: {type(error).__name__}>"


def _convert(value: object, depth: int) -> object:
    nested = depth < _DEEPEST
    plain: object
    match value:
        case None | bool():
            plain = value
        case int() if abs(value) < 2**63:
            plain = int(value)
        case float() if math.isfinite(value):  # JSON has no NaN and no infinity
            plain = float(value)
        case bytes() | bytearray() | memoryview():
            plain = f"<{len(value)} bytes>"
        case Mapping() if nested:
            plain = {_text(key): _plain(item, depth + 1) for key, item in islice(value.items(), _MOST)}
        case list() | tuple() | set() | frozenset() if nested:
            plain = [_plain(item, depth + 1) for item in islice(value, _MOST)]
        case _:
            plain = _text(value)
    return plain


def _text(value: object) -> str:
    text = str(value)
    return _clean(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}...")


def _clean(text: str) -> str:
    """Escape what would rewrite the terminal, and halves of surrogate pairs, which UTF-8 cannot hold."""
    return (
        _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text).encode(errors="backslashreplace").decode()
    )

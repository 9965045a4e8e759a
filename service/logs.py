"""Logging: one pipeline for structlog and the standard library, as JSON lines or as text for a terminal.

The commands call :func:`configure`. Log with ``structlog.get_logger()`` and keyword arguments, or with ``logging``;
both make the same lines. Values that are bound with ``structlog.contextvars.bind_contextvars`` (``request_id``,
``trace_id``, ``span_id``) are on every line. Never log what a client sent. Values in a log call must be text, numbers
or lists of these.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping
from typing import Literal, TextIO

import structlog
from structlog.types import EventDict, Processor, WrappedLogger

LogFormat = Literal["auto", "json", "console"]

_MAX_CHARACTERS = 4_000  # of one value; a log store accepts only a few times as much in one entry
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all but tab and newline
_SEVERITIES = frozenset({"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"})
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_CLOUD_TRACE = re.compile(r"([0-9a-f]{32})(?:/.*)?")


def configure(
    log_format: LogFormat = "auto",
    *,
    stream: TextIO | None = None,
    project: str | None = None,
) -> None:
    """Send every log line of the process, warnings too, to one stream in one format. It may be called again.

    Args:
        log_format: ``json``, ``console``, or ``auto``: console if ``stream`` is a terminal.
        stream: standard error by default, so that standard output holds only the result of a command.
        project: Google Cloud's project; with it, a bound ``trace_id`` and ``span_id`` become a link to the trace.
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
            # Not the rich tracebacks of the default: they show local variables, which can hold a client's data.
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
                _make_printable,
                *render,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    logging.captureWarnings(capture=True)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    )


def find_trace_id(headers: Mapping[str, str]) -> str | None:
    """The trace that a request belongs to: 32 hex digits from ``traceparent`` or ``X-Cloud-Trace-Context``, or None."""
    for name, pattern in (("traceparent", _TRACEPARENT), ("X-Cloud-Trace-Context", _CLOUD_TRACE)):
        if match := pattern.fullmatch(headers.get(name, "").strip().lower()):
            return match[1]
    return None


class _CloudLogging:
    """Renames and orders the keys for Cloud Logging; a caller's key with one of its names gets an underscore."""

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
            if span_id := event.pop("span_id", None):
                line["logging.googleapis.com/spanId"] = span_id
        for key, value in event.items():
            line[f"{key}_" if key in line else key] = value
        return line


def _make_printable(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Make every text safe to write, and cut long ones.

    Texts can come from outside, inside the message of an exception or in a library's log line. A control character
    would change what a terminal shows, half of a surrogate pair cannot be written as UTF-8, and a log store drops an
    entry that is too long. Tracebacks are not cut. All other values are made by this program and need no care.
    """
    return {
        key: _escape(value if key in ("exception", "stack") else _cut(value))
        if isinstance(value, str)
        else value
        for key, value in event.items()
    }


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_CHARACTERS else f"{text[:_MAX_CHARACTERS]}..."


def _escape(text: str) -> str:
    return (
        _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text).encode(errors="backslashreplace").decode()
    )

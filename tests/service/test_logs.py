"""Logging: one line per record, the keys that a log store reads, and no text that can break a line."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from service import logs


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@contextmanager
def logging_to(
    stream: io.StringIO, log_format: logs.LogFormat = "json", project: str | None = None
) -> Iterator[None]:
    """Configure logging as the service does, and restore it afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    logs.configure(log_format, stream=stream, project=project)
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        logging.captureWarnings(capture=False)
        structlog.reset_defaults()
        structlog.contextvars.clear_contextvars()


def lines_of(stream: io.StringIO) -> list[dict[str, Any]]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return [json.loads(line, parse_constant=refuse) for line in stream.getvalue().splitlines()]


def one_line(**values: Any) -> dict[str, Any]:
    stream = io.StringIO()
    with logging_to(stream):
        structlog.get_logger("test").info("hello", **values)
    [line] = lines_of(stream)
    return line


def test_a_line_has_the_keys_that_cloud_logging_reads() -> None:
    line = one_line(width=640)
    assert list(line)[:3] == ["severity", "message", "time"]
    assert (line["severity"], line["message"], line["logger"], line["width"]) == (
        "INFO",
        "hello",
        "test",
        640,
    )
    assert datetime.fromisoformat(line["time"]).utcoffset() == timedelta(0)


def test_severities_are_those_of_cloud_logging() -> None:
    stream = io.StringIO()
    with logging_to(stream):
        log = structlog.get_logger()
        log.debug("unseen")
        log.warning("a")
        log.error("b")
        log.critical("c")
        logging.getLogger("x").log(25, "d")
    assert [line["severity"] for line in lines_of(stream)] == ["WARNING", "ERROR", "CRITICAL", "DEFAULT"]


def test_values_bound_to_the_request_are_on_every_line_of_ours_and_of_libraries() -> None:
    stream = io.StringIO()
    with logging_to(stream):
        structlog.contextvars.bind_contextvars(request_id="r-1")
        structlog.get_logger().info("ours")
        logging.getLogger("aiohttp.server").warning("theirs %d", 7)
    ours, theirs = lines_of(stream)
    assert ours["request_id"] == theirs["request_id"] == "r-1"
    assert (theirs["message"], theirs["logger"]) == ("theirs 7", "aiohttp.server")


@pytest.mark.parametrize(
    ("project", "key", "value"),
    [
        ("shop", "logging.googleapis.com/trace", "projects/shop/traces/" + "a" * 32),
        (None, "trace_id", "a" * 32),
    ],
)
def test_a_trace_is_a_link_if_the_project_is_known(project: str | None, key: str, value: str) -> None:
    stream = io.StringIO()
    with logging_to(stream, project=project):
        structlog.contextvars.bind_contextvars(trace_id="a" * 32)
        structlog.get_logger().info("hello")
    [line] = lines_of(stream)
    assert line[key] == value


def test_an_exception_is_text_within_its_line_without_variables() -> None:
    def fail(secret: str) -> None:
        raise ValueError("broken")

    for log_format in ("json", "console"):
        stream = io.StringIO()
        with logging_to(stream, log_format):
            try:
                fail("pixels of a client")
            except ValueError:
                structlog.get_logger().exception("ours")
                logging.getLogger().exception("theirs")
        assert stream.getvalue().count("ValueError: broken") == 2
        assert "pixels of a client" not in stream.getvalue().replace(
            'fail("pixels of a client")', ""
        ).replace('fail(\\"pixels of a client\\")', "")
        if log_format == "json":
            assert all("Traceback" in line["exception"] for line in lines_of(stream))


def test_warnings_are_log_lines() -> None:
    stream = io.StringIO()
    with logging_to(stream), warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=False)
        logging.captureWarnings(capture=True)  # again, since catch_warnings has put the original back
        warnings.warn("careful", stacklevel=1)
    [line] = lines_of(stream)
    assert line["severity"] == "WARNING"
    assert "careful" in line["message"]


def test_a_key_of_ours_is_not_overwritten_by_a_callers() -> None:
    line = one_line(message="mine", severity="mine")
    assert (line["message"], line["severity"]) == ("hello", "INFO")
    assert (line["message_"], line["severity_"]) == ("mine", "mine")


def test_control_characters_cannot_rewrite_a_terminal() -> None:
    stream = Terminal()
    with logging_to(stream, "console"):
        structlog.get_logger().info("hello", name="a\x1b[2Jb")
    assert "\x1b[2J" not in stream.getvalue()
    assert r"a\x1b[2Jb" in stream.getvalue()


def test_half_of_a_surrogate_pair_is_escaped() -> None:
    """A header or a file name with bytes that are not UTF-8 holds such characters."""
    for log_format in ("json", "console"):
        stream = io.StringIO()
        with logging_to(stream, log_format):
            structlog.get_logger().info("hello", error="no such file: \udcff")
        assert r"\udcff" in stream.getvalue()
        stream.getvalue().encode()


def test_a_long_text_is_cut() -> None:
    line = one_line(text="x" * 100_000)
    assert len(json.dumps(line)) < 5_000


def test_a_traceback_is_not_cut_but_its_control_characters_are_escaped() -> None:
    stream = io.StringIO()
    with logging_to(stream):
        structlog.get_logger().error("failed", exc_info=ValueError("\x1b[2J" + "x" * 10_000))
    [line] = lines_of(stream)
    assert r"\x1b[2J" + "x" * 10_000 in line["exception"]


@given(event=st.text(), text=st.text(), log_format=st.sampled_from(["json", "console"]))
def test_any_text_makes_lines_that_can_be_read(event: str, text: str, log_format: logs.LogFormat) -> None:
    stream = io.StringIO()
    with logging_to(stream, log_format):
        structlog.get_logger("test").info(event, text=text)
        logging.getLogger("theirs").warning("%s", text)
    if log_format == "json":
        ours, theirs = lines_of(stream)
        assert (ours["severity"], theirs["severity"]) == ("INFO", "WARNING")
        assert "text" in ours
    stream.getvalue().encode()


@pytest.mark.parametrize(("stream", "as_json"), [(io.StringIO(), True), (Terminal(), False)])
def test_auto_is_console_on_a_terminal_only(stream: io.StringIO, as_json: bool) -> None:
    with logging_to(stream, "auto"):
        structlog.get_logger().info("hello")
    assert stream.getvalue().startswith("{") is as_json
    assert stream.getvalue().count("\n") == 1


def test_a_second_configuration_replaces_the_first() -> None:
    first, second = io.StringIO(), io.StringIO()
    with logging_to(first):
        logs.configure("json", stream=second)
        structlog.get_logger().info("hello")
    assert first.getvalue() == ""
    assert len(lines_of(second)) == 1


@pytest.mark.parametrize(
    ("headers", "trace_id"),
    [
        ({"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"}, "ab" * 16),
        ({"traceparent": f"00-{'AB' * 16}-{'cd' * 8}-01"}, "ab" * 16),
        ({"X-Cloud-Trace-Context": f"{'12' * 16}/123;o=1"}, "12" * 16),
        ({"X-Cloud-Trace-Context": "12" * 16}, "12" * 16),
        ({"traceparent": "garbage", "X-Cloud-Trace-Context": "12" * 16}, "12" * 16),
        ({"traceparent": f"00-{'ab' * 16}"}, None),
        ({}, None),
    ],
)
def test_a_trace_is_found_in_either_header(headers: dict[str, str], trace_id: str | None) -> None:
    assert logs.find_trace_id(headers) == trace_id

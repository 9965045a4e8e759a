"""What aiohttp may log of a connection, without a server."""

from __future__ import annotations

import logging

import pytest
from aiohttp.http_exceptions import BadHttpMessage

from service.http import connection


def log_an_error(error: Exception) -> None:
    """Log an error of a connection, as aiohttp does."""
    connection.OPTIONS["logger"].error("Error handling request", exc_info=error)


def test_malformed_http_is_one_line_without_its_content(caplog: pytest.LogCaptureFixture) -> None:
    connection.configure_logging()
    with caplog.at_level(logging.DEBUG):
        log_an_error(BadHttpMessage("secret-4711"))
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("INFO", "malformed HTTP: refused with 400")
    ]
    assert "4711" not in caplog.text


def test_another_error_keeps_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    connection.configure_logging()
    log_an_error(ValueError("boom"))
    [record] = caplog.records
    assert record.levelname == "ERROR"
    assert "ValueError: boom" in caplog.text

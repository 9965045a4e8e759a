"""The probe from outside: what it posts, what it concludes, and what it prints."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.cli.commands import main
from service.cli.probe import CANNOT_TELL, FAILING, OK, Answer, judge_cut_out, judge_warmup
from tests.support import photos
from tests.support.http_server import QuietServer
from tests.support.ports import free_port
from tests.support.programs import ROOT


class Server(QuietServer):
    """Answers every POST as the test says, and records the requests."""

    daemon_threads = False  # closing waits for every answer, so that none disturbs a later test

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status, self.body, self.headers = 200, b"", {}
        self.delay = 0.0
        self.ends = threading.Event()
        self.knows: object = None
        """The body of a GET with status 500; None: a GET says 200."""
        self.received: list[tuple[str, str, bytes, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def says(self, status: int, body: object, **headers: str) -> None:
        self.status, self.headers = status, headers
        self.body = body if isinstance(body, bytes) else json.dumps(body).encode()


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append(("POST", self.path, body, self.headers.get("X-Api-Key")))
        self.server.ends.wait(self.server.delay)
        self.send_response(self.server.status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def do_GET(self) -> None:
        self.server.received.append(("GET", self.path, b"", None))
        body = b"" if self.server.knows is None else json.dumps(self.server.knows).encode()
        self.send_response(500 if body else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.ends.set()
            server.shutdown()
            thread.join()


def png() -> bytes:
    return photos.encoded(30, 20, mode="RGBA")


def printed_line(capsys: pytest.CaptureFixture[str]) -> str:
    [line] = capsys.readouterr().out.splitlines()
    return line


def test_a_warm_service_gives_exit_code_0_and_one_line(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    server.says(200, {"status": "success", "message": "Warmup completed successfully"})
    assert main(["probe", server.url + "/"], {}) == OK
    assert server.received == [("POST", "/warmup", b"", None)]
    line = printed_line(capsys)
    assert line.startswith(f"OK: {server.url}/warmup: Warmup completed successfully | time=")
    assert line.endswith("s")


def test_a_probe_without_an_answer_fails_if_the_service_knows_why(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    server.delay = 5.0
    message = "Warmup failed: a job has been running for 90 s"
    server.knows = {"status": "error", "message": message, "reason_code": "job_hung"}
    assert main(["probe", server.url, "--timeout", "0.2"], {}) == FAILING
    assert f"no answer in 0.2 s; GET /warmup: {message} |" in printed_line(capsys)


def test_a_probe_without_an_answer_cannot_tell_if_the_service_knows_nothing_bad(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    server.delay = 5.0
    assert main(["probe", server.url, "--timeout", "0.2"], {}) == CANNOT_TELL
    assert "no answer in 0.2 s |" in printed_line(capsys)


def test_a_picture_goes_through_process_with_its_key(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture, key = tmp_path / "photo.jpg", tmp_path / "key"
    picture.write_bytes(b"a picture")
    key.write_text("secret\nolder secret\n")
    server.says(200, png())
    assert main(["probe", server.url, "--image", str(picture), "--key-file", str(key)], {}) == OK
    assert server.received == [("POST", "/process", b"a picture", "secret")]
    assert "a cut-out of 30x20 pixels" in printed_line(capsys)


def test_a_fallback_is_named(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    server.says(200, {"status": "success", "message": "Warm", "fallback": True, "engine": "u2netp"})
    assert main(["probe", server.url], {}) == OK
    assert "Warm; u2netp stands in" in printed_line(capsys)


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (500, {"status": "error", "message": "Warmup failed: height and width must be > 0"}, FAILING),
        (500, b"<html>", FAILING),
        (503, {"status": "error", "outcome": "weights_unavailable", "message": "Not warm"}, FAILING),
        (503, {"status": "error", "outcome": "success", "message": "the last success is too old"}, FAILING),
        (503, {"status": "pending", "outcome": None, "message": "the model is loading"}, CANNOT_TELL),
        (503, {"status": "error", "outcome": "skipped", "state": "draining"}, CANNOT_TELL),
        # A dead supervisor: what it knew is still fresh, and no longer.
        (503, {"status": "error", "outcome": "skipped", "state": "ready"}, CANNOT_TELL),
        (503, {"status": "error", "outcome": "skipped", "state": "failing"}, FAILING),
        (503, b"upstream connect error", CANNOT_TELL),
        (502, b"Bad Gateway", CANNOT_TELL),
        (404, b"", CANNOT_TELL),
        (200, b"<html>It works!</html>", CANNOT_TELL),
        (200, ["success"], CANNOT_TELL),
        (200, {"status": "error", "message": "height and width must be > 0"}, FAILING),  # the incident itself
    ],
)
def test_an_answer_to_warmup_is_judged_by_status_and_body(status: int, body: object, code: int) -> None:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    assert judge_warmup(Answer(status, raw)).code == code


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (200, png(), OK),
        (200, png()[:-5], FAILING),
        (200, b"", FAILING),
        (200, b'{"error": "swallowed"}', FAILING),
        (500, {"error": {"code": "internal", "message": "x"}}, FAILING),
        (503, {"error": {"code": "unavailable", "message": "x"}}, FAILING),
        (504, {"error": {"code": "deadline_exceeded", "message": "x"}}, FAILING),
        (503, {"error": {"code": "draining", "message": "x"}}, CANNOT_TELL),
        (503, b"no healthy upstream", CANNOT_TELL),
        (429, {"error": {"code": "queue_full", "message": "x"}}, CANNOT_TELL),
        (401, {"error": {"code": "unauthorized", "message": "x"}}, CANNOT_TELL),
        (415, {"error": "not an object"}, CANNOT_TELL),
    ],
)
def test_an_answer_to_process_is_judged_by_status_and_body(status: int, body: object, code: int) -> None:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    assert judge_cut_out(Answer(status, raw)).code == code


@given(status=st.integers(100, 599), body=st.binary(max_size=200))
def test_any_answer_is_judged_in_one_printable_line(status: int, body: bytes) -> None:
    for verdict in (judge_warmup(Answer(status, body)), judge_cut_out(Answer(status, body))):
        assert verdict.code in (FAILING, CANNOT_TELL)
        assert verdict.reason.isprintable()
        assert "|" not in verdict.reason


def test_a_redirect_is_not_followed(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    server.says(302, b"", Location=server.url + "/login")
    assert main(["probe", server.url], {}) == CANNOT_TELL
    assert [method for method, *_ in server.received] == ["POST"]
    assert "it answered 302" in printed_line(capsys)


def test_a_refused_connection_gives_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["probe", f"http://127.0.0.1:{free_port()}"], {}) == CANNOT_TELL
    assert "no answer: " in printed_line(capsys)


def test_a_timeout_gives_exit_code_2(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    server.delay = 1.0
    server.says(200, {"status": "success"})
    assert main(["probe", server.url, "--timeout", "0.1"], {}) == CANNOT_TELL
    assert "no answer in 0.1 s" in printed_line(capsys)


@pytest.mark.parametrize(
    "arguments", [["ftp://host"], ["host:8080"], ["http://"], ["http://x", "--image", "/does/not/exist"]]
)
def test_a_request_that_cannot_be_made_gives_exit_code_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["probe", *arguments], {}) == CANNOT_TELL
    assert printed_line(capsys).startswith("CANNOT TELL: ")


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "1e300", "soon"])
def test_an_invalid_timeout_gives_exit_code_2(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["probe", "http://127.0.0.1:9", "--timeout", seconds], {})
    assert ended.value.code == CANNOT_TELL
    assert f"invalid number of seconds above 0 value: '{seconds}'" in capsys.readouterr().err


def test_an_error_of_the_probe_itself_gives_exit_code_2(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    server.says(200, b"[" * 100_000)  # deeper than the parser of JSON can follow
    assert main(["probe", server.url], {}) == CANNOT_TELL
    assert "recursion" in printed_line(capsys)


def test_an_unknown_flag_gives_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["probe", "--no-such-flag"], {})
    assert ended.value.code == CANNOT_TELL


def test_the_probe_runs_on_the_standard_library_alone(server: Server) -> None:
    server.says(500, {"status": "error", "message": "Warmup failed: out of memory"})
    # -S leaves out site-packages: any import from there would fail.
    ran: subprocess.CompletedProcess[Any] = subprocess.run(
        [sys.executable, "-S", "-m", "service", "probe", server.url],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == FAILING, ran.stderr
    assert "FAILING: " in ran.stdout
    assert "Warmup failed: out of memory" in ran.stdout

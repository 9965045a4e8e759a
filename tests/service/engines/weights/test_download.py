"""Downloads from a real HTTP server on this machine: the target is a whole, verified file or nothing."""

from __future__ import annotations

import errno
import os
import socket
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from service.engines.protocol import ReportLine, WeightsUnavailable
from service.engines.weights.download import Limits, download
from tests.service.engines.weights.file_server import GOOD, MD5, FileServer, whole

IMPATIENT = Limits(stall_timeout=0.3, retry_pause=0.0)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "ckpt.pth"


def get(
    url: str,
    target: Path,
    *,
    md5: str | None = MD5,
    limits: Limits = IMPATIENT,
    report: ReportLine = lambda _: None,
    progress: bool = False,
) -> None:
    download(url, target, md5=md5, progress=progress, report=report, limits=limits)


def assert_nothing_left(target: Path) -> None:
    assert list(target.parent.iterdir()) == []


def test_a_file_is_downloaded_verified_and_placed(server: FileServer, target: Path) -> None:
    get(server.url, target)
    assert target.read_bytes() == GOOD
    assert list(target.parent.iterdir()) == [target]


def test_a_download_with_a_wrong_hash_is_thrown_away(server: FileServer, target: Path) -> None:
    server.answers = [whole(b"PK something else")]
    with pytest.raises(WeightsUnavailable, match=f"upstream publishes {MD5}"):
        get(server.url, target)
    assert_nothing_left(target)


@pytest.mark.parametrize("md5", [MD5, None])
def test_an_error_page_is_not_taken_for_a_checkpoint(
    server: FileServer, target: Path, md5: str | None
) -> None:
    server.answers = [whole(b"\n<!DOCTYPE html><html>Sign in to the network</html>")]
    with pytest.raises(WeightsUnavailable, match="web page"):
        get(server.url, target, md5=md5)
    assert_nothing_left(target)


def test_a_truncated_body_is_downloaded_again(server: FileServer, target: Path) -> None:
    server.answers = [whole(GOOD[:5000], length=len(GOOD)), whole(GOOD)]
    get(server.url, target)
    assert target.read_bytes() == GOOD
    assert server.requests == 2


def test_a_download_without_a_published_hash_is_not_placed_truncated(
    server: FileServer, target: Path
) -> None:
    server.answers = [whole(GOOD[:5000], length=len(GOOD))]
    with pytest.raises(WeightsUnavailable, match=r"broke.*3 times in a row"):
        get(server.url, target, md5=None)
    assert server.requests == 3
    assert_nothing_left(target)


def test_a_server_error_is_retried_twice(server: FileServer, target: Path) -> None:
    server.answers = [whole(b"", status=503)]
    with pytest.raises(WeightsUnavailable, match="503"):
        get(server.url, target)
    assert server.requests == 3


def test_a_file_that_the_server_does_not_have_is_requested_once(server: FileServer, target: Path) -> None:
    server.answers = [whole(b"", status=404)]
    with pytest.raises(WeightsUnavailable, match="404"):
        get(server.url, target)
    assert server.requests == 1


def test_the_pause_before_a_retry_is_reported_and_grows(server: FileServer, target: Path) -> None:
    server.answers = [whole(b"", status=503)]
    lines: list[str] = []
    with pytest.raises(WeightsUnavailable):
        get(server.url, target, limits=Limits(retry_pause=0.01), report=lines.append)
    pauses = [line.rpartition("; ")[2] for line in lines if "trying again" in line]
    assert pauses == ["trying again in 0.01 s", "trying again in 0.02 s"]


def test_a_server_that_falls_silent_is_given_up(server: FileServer, target: Path) -> None:
    def silent(request: BaseHTTPRequestHandler) -> None:
        whole(GOOD[:5000], length=len(GOOD))(request)
        request.wfile.flush()
        server.stopping.wait(30)

    server.answers = [silent]
    began = time.monotonic()
    with pytest.raises(WeightsUnavailable, match="3 times in a row"):
        get(server.url, target)
    assert time.monotonic() - began < 20
    assert_nothing_left(target)


def test_a_server_that_is_too_slow_is_given_up(server: FileServer, target: Path) -> None:
    def trickle(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(GOOD)))
        request.end_headers()
        for start in range(0, len(GOOD), 2048):  # never silent for long, but 100 times too slow
            if server.stopping.wait(0.02):
                return
            try:
                request.wfile.write(GOOD[start : start + 2048])
            except OSError:
                return

    server.answers = [trickle]
    with pytest.raises(WeightsUnavailable, match=r"only \d+ bytes arrived"):
        get(server.url, target, limits=replace(IMPATIENT, min_rate=10_000_000))


def test_a_server_that_does_not_listen_is_reported_at_once(target: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/ckpt.pth"
        began = time.monotonic()
        with pytest.raises(WeightsUnavailable, match=r"127\.0\.0\.1 cannot be reached: .*refused"):
            get(url, target, limits=Limits())
    assert time.monotonic() - began < 5


def test_a_resolver_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, target: Path) -> None:
    released = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: released.wait(30))
    with pytest.raises(WeightsUnavailable, match="cannot be looked up"):
        get("http://weights.invalid/x", target, limits=Limits(connect_timeout=0.05))
    released.set()


def test_the_progress_of_a_download_is_reported(server: FileServer, target: Path) -> None:
    lines: list[str] = []
    get(server.url, target, limits=Limits(report_interval=-1.0), report=lines.append)
    assert lines[0] == f"downloading {server.url}"
    assert any("of 0 MB" in line for line in lines[1:])


def test_a_bar_is_drawn_for_a_person(
    server: FileServer, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    get(server.url, target, progress=True)
    assert "100%" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("number", "advice"), [(errno.ENOSPC, "Make room"), (errno.EACCES, "TRANSPARENT_BACKGROUND_FILE_PATH")]
)
def test_a_disk_that_cannot_be_written_is_explained(
    server: FileServer, target: Path, monkeypatch: pytest.MonkeyPatch, number: int, advice: str
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(WeightsUnavailable, match=advice):
        get(server.url, target)
    assert_nothing_left(target)


def test_a_directory_that_cannot_be_created_is_explained(server: FileServer, target: Path) -> None:
    target.parent.write_text("a file where the directory should be")
    with pytest.raises(WeightsUnavailable, match=rf"cannot write {target}.*Check that directory"):
        get(server.url, target)

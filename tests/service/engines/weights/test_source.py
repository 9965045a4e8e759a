"""Finding, downloading and verifying checkpoints, against a real HTTP server on this machine."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from service.cli.commands import run
from service.engines.package_config import ModeConfig, mode_config
from service.engines.protocol import WeightsUnavailable
from service.engines.weights import download as downloads
from service.engines.weights import source as weights
from service.engines.weights.source import Weights, describe, fetch, file_hash, official_path

GOOD = b"PK\x03\x04" + bytes(range(256)) * 400
MD5 = hashlib.md5(GOOD).hexdigest()

Answer = Callable[[BaseHTTPRequestHandler], None]


class Server:
    """Answers each request with the next of its answers, and the last one for ever."""

    def __init__(self) -> None:
        self.answers: list[Answer] = [whole(GOOD)]
        self.requests = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answer = outer.answers[min(outer.requests, len(outer.answers) - 1)]
                outer.requests += 1
                answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/ckpt.pth"
        self.stopping = threading.Event()


def whole(body: bytes, *, status: int = 200, length: int | None = None) -> Answer:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        request.send_header("Content-Length", str(len(body) if length is None else length))
        request.end_headers()
        request.wfile.write(body)

    return answer


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    thread = threading.Thread(target=running.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield running
    running.stopping.set()
    running.http.shutdown()
    running.http.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package's cache directory, and an upstream whose checkpoint is :data:`GOOD`; retries do not wait."""
    monkeypatch.setenv("TRANSPARENT_BACKGROUND_FILE_PATH", str(tmp_path))
    monkeypatch.setattr(downloads, "RETRY_PAUSE", 0.0)
    monkeypatch.setattr(downloads.time, "sleep", lambda _: None)
    real = mode_config

    def config(mode: str) -> ModeConfig:
        return replace(real(mode), md5=MD5 if mode != "base-nightly" else None)

    monkeypatch.setattr(weights, "mode_config", config)
    return tmp_path


def get(server: Server, mode: str = "base") -> weights.Checkpoint:
    return fetch(mode, progress=False, say=lambda _: None, url=server.url)


def put(body: bytes, mode: str = "base") -> Path:
    path = official_path(mode)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)
    return path


def leftovers(path: Path) -> list[str]:
    return [entry.name for entry in path.parent.iterdir() if "part" in entry.name]


def test_the_official_file_lies_where_the_package_keeps_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert official_path("fast") == tmp_path / ".transparent-background" / "ckpt_fast.pth"
    monkeypatch.delenv("TRANSPARENT_BACKGROUND_FILE_PATH")
    assert official_path("base") == Path.home() / ".transparent-background" / "ckpt_base.pth"


def test_a_missing_checkpoint_is_downloaded_verified_and_placed(server: Server) -> None:
    checkpoint = get(server)
    assert checkpoint.path == official_path("base")
    assert official_path("base").read_bytes() == GOOD
    assert (checkpoint.kind, checkpoint.hash, checkpoint.note) == ("official", f"md5:{MD5}", "verified")
    assert leftovers(official_path("base")) == []


def test_a_good_cached_checkpoint_is_used_without_asking_anyone(server: Server) -> None:
    put(GOOD)
    assert get(server).note == "verified"
    assert server.requests == 0


def test_a_checkpoint_without_a_published_hash_is_loudly_unverified(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint = get(server, "base-nightly")
    assert checkpoint.note.startswith("unverified")
    assert checkpoint.hash == f"sha256:{hashlib.sha256(GOOD).hexdigest()}"
    assert any(
        "unverified" in record.message for record in caplog.records if record.levelno >= logging.WARNING
    )


def test_a_damaged_cached_checkpoint_is_replaced_by_a_verified_download(server: Server) -> None:
    path = put(b"PK damaged")
    assert get(server).hash == f"md5:{MD5}"
    assert path.read_bytes() == GOOD


def test_a_damaged_checkpoint_is_never_used_when_nothing_better_can_be_had(server: Server) -> None:
    path = put(b"PK damaged")
    server.answers = [whole(b"", status=404)]
    with pytest.raises(WeightsUnavailable) as told:
        get(server)
    assert path.read_bytes() == b"PK damaged"
    for word in (MD5, hashlib.md5(b"PK damaged").hexdigest(), "404"):
        assert word in str(told.value)


def test_only_a_service_is_told_to_run_the_command_that_fetches(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answers = [whole(b"", status=404)]
    advice = "./inspyrenet weights"
    with pytest.raises(WeightsUnavailable, match=f"404.*{advice}.*INSPYRENET_WEIGHTS"):
        Weights("official", "base", url=server.url).obtain(lambda _: None)
    monkeypatch.setattr(weights, "fetch", partial(fetch, url=server.url, progress=False))
    monkeypatch.setattr("service.logs.configure", lambda *_: None)
    assert run(["weights"], {}) == 1
    told = capsys.readouterr().err
    assert "404" in told
    assert advice not in told


def test_a_download_with_a_wrong_hash_is_thrown_away(server: Server) -> None:
    server.answers = [whole(b"PK something else")]
    with pytest.raises(WeightsUnavailable, match=f"upstream publishes {MD5}"):
        get(server)
    assert not official_path("base").exists()
    assert leftovers(official_path("base")) == []


@pytest.mark.parametrize("mode", ["base", "base-nightly"])
def test_an_error_page_is_not_taken_for_a_checkpoint(server: Server, mode: str) -> None:
    server.answers = [whole(b"\n<!DOCTYPE html><html>Sign in to the network</html>")]
    with pytest.raises(WeightsUnavailable, match="web page"):
        get(server, mode)
    assert not official_path(mode).exists()


def test_a_truncated_body_is_asked_for_again(server: Server) -> None:
    server.answers = [whole(GOOD[:5000], length=len(GOOD)), whole(GOOD)]
    assert get(server).note == "verified"
    assert server.requests == 2


def test_an_unverified_download_is_not_placed_truncated(server: Server) -> None:
    server.answers = [whole(GOOD[:5000], length=len(GOOD))]
    with pytest.raises(WeightsUnavailable, match=r"broke.*3 times in a row"):
        get(server, "base-nightly")
    assert server.requests == 3
    assert not official_path("base-nightly").exists()


def test_a_server_error_is_tried_again_but_not_for_ever(server: Server) -> None:
    server.answers = [whole(b"", status=503)]
    with pytest.raises(WeightsUnavailable, match="503"):
        get(server)
    assert server.requests == 3


def test_a_file_that_is_not_there_is_asked_for_once(server: Server) -> None:
    server.answers = [whole(b"", status=404)]
    with pytest.raises(WeightsUnavailable, match="404"):
        get(server)
    assert server.requests == 1


def direct(server: Server, path: Path, *, stall_timeout: float = 0.3) -> None:
    downloads.download(
        server.url, path, md5=None, progress=False, say=lambda _: None, stall_timeout=stall_timeout
    )


def test_a_server_that_falls_silent_is_given_up(server: Server, tmp_path: Path) -> None:
    def silent(request: BaseHTTPRequestHandler) -> None:
        whole(GOOD[:5000], length=len(GOOD))(request)
        request.wfile.flush()
        server.stopping.wait(30)

    server.answers = [silent]
    began = time.monotonic()
    with pytest.raises(WeightsUnavailable, match="3 times in a row"):
        direct(server, tmp_path / "file")
    assert time.monotonic() - began < 20
    assert not (tmp_path / "file").exists()


def test_a_server_that_trickles_is_given_up(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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

    monkeypatch.setattr(downloads, "LEAST_RATE", 10_000_000)
    server.answers = [trickle]
    with pytest.raises(WeightsUnavailable, match="too little arrived"):
        direct(server, tmp_path / "file")


def test_nobody_listening_is_told_at_once() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/ckpt.pth"
        began = time.monotonic()
        with pytest.raises(WeightsUnavailable, match=r"127\.0\.0\.1 cannot be reached: .*refused"):
            fetch("base", progress=False, say=lambda _: None, url=url)
    assert time.monotonic() - began < 5


def test_a_resolver_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    released = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: released.wait(30))
    with pytest.raises(WeightsUnavailable, match="cannot be looked up"):
        downloads.download(
            "http://weights.invalid/x",
            tmp_path / "x",
            md5=None,
            progress=False,
            say=lambda _: None,
            connect_timeout=0.05,
        )
    released.set()


def test_how_far_a_download_has_come_is_reported(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "REPORT_INTERVAL", -1.0)
    lines: list[str] = []
    fetch("base", progress=False, say=lines.append, url=server.url)
    assert lines[0] == f"downloading {server.url}"
    assert any("of 0 MB" in line for line in lines[1:])


def test_a_bar_is_drawn_for_a_person(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    fetch("base", progress=True, url=server.url)
    assert "100%" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("number", "cure"), [(errno.ENOSPC, "Make room"), (errno.EACCES, "TRANSPARENT_BACKGROUND_FILE_PATH")]
)
def test_a_disk_that_takes_nothing_is_explained(
    server: Server, monkeypatch: pytest.MonkeyPatch, number: int, cure: str
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(downloads.os, "replace", refuse)
    with pytest.raises(WeightsUnavailable, match=cure):
        get(server)
    assert leftovers(official_path("base")) == []


def test_a_hash_is_taken_once_and_remembered(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    put(GOOD)
    get(server)

    def forbidden(*_: object) -> None:
        raise AssertionError("the file was read again")

    monkeypatch.setattr(hashlib, "new", forbidden)
    assert get(server).hash == f"md5:{MD5}"


def test_a_remembered_hash_travels_with_the_file(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    get(server)
    shutil.copytree(official_path("base").parent, tmp_path / "image" / ".transparent-background")
    monkeypatch.setenv("TRANSPARENT_BACKGROUND_FILE_PATH", str(tmp_path / "image"))

    def forbidden(*_: object) -> None:
        raise AssertionError("the file was read again")

    monkeypatch.setattr(hashlib, "new", forbidden)
    checkpoint = get(server)
    assert (checkpoint.path, checkpoint.hash) == (official_path("base"), f"md5:{MD5}")


def test_a_remembered_hash_is_void_once_the_file_changes(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    path.write_bytes(b"one")
    first, _ = file_hash(path, "md5")
    path.write_bytes(b"two")  # as long as before
    os.utime(path, ns=(1, 1))
    second, _ = file_hash(path, "md5")
    assert (first, second) == (hashlib.md5(b"one").hexdigest(), hashlib.md5(b"two").hexdigest())


@pytest.mark.parametrize("text", ["", "[]", "null", '{"md5": 5}', "{"])
def test_a_spoilt_memory_of_a_hash_is_ignored(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.pth"
    path.write_bytes(b"one")
    path.with_name("x.pth.md5.json").write_text(text)
    assert file_hash(path, "md5")[0] == hashlib.md5(b"one").hexdigest()
    assert json.loads(path.with_name("x.pth.md5.json").read_text())["md5"] == hashlib.md5(b"one").hexdigest()


def test_a_file_that_changes_after_its_verification_is_not_loaded(tmp_path: Path) -> None:
    path = tmp_path / "mine.pth"
    path.write_bytes(GOOD)
    checkpoint = Weights(str(path), "base").obtain(lambda _: None)
    checkpoint.check_unchanged()
    path.write_bytes(GOOD[::-1] + b"!")
    with pytest.raises(WeightsUnavailable, match="changed after"):
        checkpoint.check_unchanged()


def test_a_given_file_is_used_as_it_is_and_called_unverified(tmp_path: Path) -> None:
    path = tmp_path / "mine.pth"
    path.write_bytes(GOOD)
    checkpoint = Weights(str(path), "base").obtain(lambda _: None)
    assert (checkpoint.kind, checkpoint.path) == ("file", path)
    assert checkpoint.note.startswith("unverified")
    assert checkpoint.hash == f"sha256:{hashlib.sha256(GOOD).hexdigest()}"


@pytest.mark.parametrize(("name", "found"), [("absent.pth", "nothing"), ("", "a directory")])
def test_a_path_without_a_file_names_the_setting(tmp_path: Path, name: str, found: str) -> None:
    with pytest.raises(WeightsUnavailable, match=rf"INSPYRENET_WEIGHTS=.*{found}"):
        Weights(str(tmp_path / name), "base").obtain(lambda _: None)


def test_dummy_weights_are_never_silent(caplog: pytest.LogCaptureFixture) -> None:
    checkpoint = Weights("dummy", "base").obtain(lambda _: None)
    assert checkpoint.note.startswith("dummy weights")
    assert any("dummy" in record.message for record in caplog.records if record.levelno >= logging.WARNING)


def test_describe_says_what_is_there_and_fetches_nothing() -> None:
    assert describe("base").state == "missing"
    put(b"PK damaged")
    assert "is not loaded" in describe("base").state
    put(GOOD)
    os.utime(official_path("base"), ns=(1, 1))
    assert describe("base").state == "verified"
    assert describe("base-nightly").published_md5 is None


def test_the_settings_are_the_packages_own() -> None:
    base, nightly = mode_config("base"), mode_config("base-nightly")
    assert base.base_size == (1024, 1024)
    assert mode_config("fast").base_size == (384, 384)
    assert base.md5 is not None
    assert nightly.md5 is None
    assert base.url.endswith(base.ckpt_name)

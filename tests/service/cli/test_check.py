"""The health check: what it asks, how it ends, and what it needs to start."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

import pytest

from service.cli import check
from service.cli.commands import main
from service.settings import Settings
from tests.support.http_server import QuietServer
from tests.support.programs import ROOT


@contextmanager
def a_service(*, live: int = 200, ready: int = 200, body: bytes = b'{"state":\n "ready"}') -> Iterator[int]:
    """Serve these answers on this machine; yield the port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response({"/livez": live, "/readyz": ready}.get(self.path, 404))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    with QuietServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def test_a_live_service_gives_exit_code_0_and_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with a_service(live=200, ready=503) as port:
        assert main(["check", "--port", str(port)], {}) == 0
    [line] = capsys.readouterr().out.splitlines()
    assert line.startswith(f"http://127.0.0.1:{port}/livez: 200 in ")
    assert line.endswith('{"state": "ready"}')


def test_a_service_that_is_not_ready_gives_exit_code_1_and_its_reason(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with a_service(live=200, ready=503, body=b'{"state": "warming"}') as port:
        assert main(["check", "--ready", "--port", str(port)], {}) == 1
    out = capsys.readouterr().out
    assert "/readyz: 503 in " in out
    assert "warming" in out


@pytest.mark.parametrize(
    "environ",
    [
        {"INSPYRENET_PORT": "{port}"},
        {"PORT": "{port}"},
        {"INSPYRENET_PORT": "{port}", "PORT": "1"},
        {"INSPYRENET_PORT": "tcp://10.0.0.7:80", "PORT": "{port}"},
        {"INSPYRENET_PORT": "{port}", "INSPYRENET_HOST": "127.0.0.1"},
        {"INSPYRENET_PORT": "{port}", "INSPYRENET_HOST": "0.0.0.0"},
        {"INSPYRENET_PORT": "{port}", "INSPYRENET_HOST": "localhost"},
    ],
)
def test_the_check_asks_where_the_service_listens(environ: dict[str, str]) -> None:
    with a_service() as port:
        assert main(["check"], {name: value.format(port=port) for name, value in environ.items()}) == 0


def test_a_url_may_name_any_service() -> None:
    with a_service() as port:
        assert main(["check", "--url", f"http://localhost:{port}/"], {"PORT": "1"}) == 0


def test_a_proxy_in_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with a_service() as port:
        assert main(["check", "--port", str(port)], {}) == 0


@pytest.mark.parametrize(
    "argv", [["--port", "1"], ["--port", "x y"], ["--url", "nowhere"], ["--url", "http://["], ["--port", ""]]
)
def test_a_missing_answer_gives_exit_code_1_and_one_line(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", *argv, "--timeout", "0.5"], {}) == 1
    [line] = capsys.readouterr().out.splitlines()
    assert "no answer: " in line


def test_an_ipv6_host_is_bracketed(capsys: pytest.CaptureFixture[str]) -> None:
    main(["check", "--port", "1"], {"INSPYRENET_HOST": "::"})
    assert capsys.readouterr().out.startswith("http://[::1]:1/livez: ")


def test_the_default_port_is_that_of_the_setting() -> None:
    assert int(check.DEFAULT_PORT) == Settings().port


def test_the_check_runs_on_the_standard_library_alone() -> None:
    with a_service() as port:
        # -S leaves out site-packages: any import from there would fail.
        done = subprocess.run(
            [sys.executable, "-S", "-m", "service", "check", "--port", str(port)],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": ""},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, "")
    assert "200" in done.stdout

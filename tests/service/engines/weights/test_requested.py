"""``INSPYRENET_WEIGHTS``: what each of its values gives, and what is said if there is nothing."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import replace
from pathlib import Path

import pytest

from service.engines.package_config import mode_config
from service.engines.protocol import WeightsUnavailable
from service.engines.weights.official import official_path
from service.engines.weights.requested import Weights
from tests.service.engines.weights.file_server import GOOD, MD5, FileServer, whole

BASE = mode_config("base")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No official checkpoint is there."""
    monkeypatch.setenv("TRANSPARENT_BACKGROUND_FILE_PATH", str(tmp_path / "home"))


def test_the_official_checkpoint_is_downloaded(server: FileServer) -> None:
    weights = Weights("official", replace(BASE, url=server.url, md5=MD5))
    assert not weights.on_disk()
    assert weights.obtain(lambda _: None).path == official_path(BASE)
    assert weights.on_disk()


def test_a_failed_download_advises_the_command_that_downloads_and_the_setting(server: FileServer) -> None:
    server.answers = [whole(b"", status=404)]
    weights = Weights("official", replace(BASE, url=server.url))
    with pytest.raises(WeightsUnavailable, match=r"404.*Run `.* weights`.*INSPYRENET_WEIGHTS"):
        weights.obtain(lambda _: None)


def test_a_file_of_the_operator_is_used_unchanged_and_called_unverified(tmp_path: Path) -> None:
    path = tmp_path / "mine.pth"
    path.write_bytes(GOOD)
    weights = Weights(str(path), BASE)
    checkpoint = weights.obtain(lambda _: None)
    assert weights.on_disk()
    assert (checkpoint.kind, checkpoint.path) == ("file", path)
    assert checkpoint.note.startswith("unverified")
    assert checkpoint.hash == f"sha256:{hashlib.sha256(GOOD).hexdigest()}"


@pytest.mark.parametrize(("name", "found"), [("absent.pth", "nothing"), ("", "a directory")])
def test_a_path_without_a_file_names_the_setting(tmp_path: Path, name: str, found: str) -> None:
    weights = Weights(str(tmp_path / name), BASE)
    assert not weights.on_disk()
    with pytest.raises(WeightsUnavailable, match=rf"INSPYRENET_WEIGHTS=.*{found}"):
        weights.obtain(lambda _: None)


def test_dummy_weights_are_announced_in_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    weights = Weights("dummy", BASE)
    assert weights.on_disk()
    assert weights.obtain(lambda _: None).note.startswith("dummy weights")
    assert any("dummy" in record.message for record in caplog.records if record.levelno >= logging.WARNING)

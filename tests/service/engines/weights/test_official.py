"""The official checkpoints: found, verified, and downloaded from a real HTTP server on this machine if necessary."""

from __future__ import annotations

import hashlib
import logging
import os
from dataclasses import replace
from pathlib import Path

import pytest

from service.engines.package_config import ModeConfig, mode_config
from service.engines.protocol import WeightsUnavailable
from service.engines.weights.checkpoint_file import Checkpoint
from service.engines.weights.official import describe, fetch, official_path
from tests.service.engines.weights.file_server import GOOD, MD5, SHA256, FileServer, whole


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory in which the package keeps its checkpoints."""
    monkeypatch.setenv("TRANSPARENT_BACKGROUND_FILE_PATH", str(tmp_path))
    return tmp_path


@pytest.fixture
def base(server: FileServer) -> ModeConfig:
    """A mode whose checkpoint is the server's, with a published hash."""
    return replace(mode_config("base"), url=server.url, md5=MD5)


@pytest.fixture
def nightly(server: FileServer) -> ModeConfig:
    """A mode whose checkpoint is the server's, without a published hash."""
    return replace(mode_config("base-nightly"), url=server.url)


def get(config: ModeConfig) -> Checkpoint:
    return fetch(config, report=lambda _: None, progress=False)


def put(body: bytes, config: ModeConfig) -> Path:
    path = official_path(config)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)
    return path


def test_the_official_file_is_where_the_package_keeps_it(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    assert official_path(mode_config("fast")) == home / ".transparent-background" / "ckpt_fast.pth"
    monkeypatch.delenv("TRANSPARENT_BACKGROUND_FILE_PATH")
    assert official_path(mode_config("base")) == Path.home() / ".transparent-background" / "ckpt_base.pth"


def test_a_missing_checkpoint_is_downloaded_verified_and_placed(base: ModeConfig) -> None:
    checkpoint = get(base)
    assert checkpoint.path == official_path(base)
    assert official_path(base).read_bytes() == GOOD
    assert (checkpoint.kind, checkpoint.hash, checkpoint.note) == ("official", f"sha256:{SHA256}", "verified")


def test_a_good_cached_checkpoint_is_used_without_a_request(server: FileServer, base: ModeConfig) -> None:
    put(GOOD, base)
    assert get(base).note == "verified"
    assert server.requests == 0


def test_a_checkpoint_without_a_published_hash_is_called_unverified_in_a_warning(
    nightly: ModeConfig, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint = get(nightly)
    assert checkpoint.note.startswith("unverified")
    assert checkpoint.hash == f"sha256:{SHA256}"
    assert any(
        "unverified" in record.message for record in caplog.records if record.levelno >= logging.WARNING
    )


def test_a_damaged_cached_checkpoint_is_replaced_by_a_verified_download(base: ModeConfig) -> None:
    path = put(b"PK damaged", base)
    assert get(base).hash == f"sha256:{SHA256}"
    assert path.read_bytes() == GOOD


def test_a_damaged_checkpoint_is_never_used_if_the_download_fails(
    server: FileServer, base: ModeConfig
) -> None:
    path = put(b"PK damaged", base)
    server.answers = [whole(b"", status=404)]
    with pytest.raises(WeightsUnavailable) as raised:
        get(base)
    assert path.read_bytes() == b"PK damaged"
    for word in (MD5, hashlib.md5(b"PK damaged").hexdigest(), "404"):
        assert word in str(raised.value)
    assert "INSPYRENET_WEIGHTS" not in str(raised.value), "only a service can use that advice"


def test_a_verified_file_that_changed_behind_its_time_is_not_called_verified_again(
    server: FileServer, base: ModeConfig
) -> None:
    """Same size, same time, and whatever an earlier start may have written beside it."""
    get(base)
    path = official_path(base)
    state = path.stat()
    path.write_bytes(GOOD[::-1])
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert "is not loaded" in describe(base).state
    server.answers = [whole(b"", status=404)]
    with pytest.raises(WeightsUnavailable, match=MD5):
        get(base)


def test_a_description_says_what_is_there_and_downloads_nothing(server: FileServer, base: ModeConfig) -> None:
    assert (describe(base).state, describe(base).present) == ("missing", False)
    put(b"PK damaged", base)
    assert "is not loaded" in describe(base).state
    put(GOOD, base)
    os.utime(official_path(base), ns=(1, 1))
    assert (describe(base).state, describe(base).present) == ("verified", True)
    assert server.requests == 0

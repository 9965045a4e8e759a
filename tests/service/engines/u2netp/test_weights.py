"""Nothing but the published file reaches the network's parser, and a missing one says what to do."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest

from service.engines.protocol import WeightsUnavailable
from service.engines.u2netp import weights
from service.engines.u2netp.engine import U2netpEngine


def test_the_file_belongs_to_the_python_environment() -> None:
    assert weights.installed_path().is_relative_to(sys.prefix)


def test_the_installed_file_is_the_published_one() -> None:
    content = weights.read_verified(weights.installed_path())
    assert hashlib.sha256(content).hexdigest() == weights.SHA256


@pytest.mark.parametrize("what", ["missing", "a directory", "empty", "truncated", "changed"])
def test_a_missing_or_damaged_file_is_unavailable_and_says_what_to_do(tmp_path: Path, what: str) -> None:
    path = tmp_path / "u2netp.onnx"
    match what:
        case "a directory":
            path.mkdir()
        case "empty":
            path.touch()
        case "truncated":
            path.write_bytes(weights.installed_path().read_bytes()[:-1])
        case "changed":
            content = bytearray(weights.installed_path().read_bytes())
            content[1000] ^= 1
            path.write_bytes(content)
    with pytest.raises(WeightsUnavailable) as failed:
        U2netpEngine(path=path).prepare(lambda *_: None)
    for words in (str(path), "make setup", weights.SHA256):
        assert words in str(failed.value)


def test_a_file_that_appears_later_is_found_by_the_next_attempt(tmp_path: Path) -> None:
    path = tmp_path / "u2netp.onnx"
    engine = U2netpEngine(path=path)
    with pytest.raises(WeightsUnavailable):
        engine.prepare(lambda *_: None)
    path.symlink_to(weights.installed_path())
    engine.prepare(lambda *_: None)
    assert engine.info is None
    assert engine.load(lambda *_: None).weights_hash == f"sha256:{weights.SHA256}"
    assert engine.info is not None
    assert engine.info.weights_id == weights.SHA256[:12]

"""axe-core, which finds what a page does wrong for people with disabilities. It comes from npm, in a pinned version.

It is licensed under the MPL 2.0, is used by tests only, and is not part of this repository.
"""

from __future__ import annotations

import hashlib
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.support.programs import missing, program

VERSION = "4.14.1"
SHA256 = "e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745"


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The script that defines ``axe``. Without npm or its registry, the test is skipped or fails."""
    folder = tmp_path_factory.mktemp("axe")
    command = [program("npm"), "pack", f"axe-core@{VERSION}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100, check=False)
    if done.returncode != 0:
        raise missing(f"npm could not fetch axe-core: {done.stderr.strip()[-300:]}")
    package = folder / f"axe-core-{VERSION}.tgz"
    assert hashlib.sha256(package.read_bytes()).hexdigest() == SHA256
    return _script(package)


def _script(package: Path) -> str:
    with tarfile.open(package) as archive:
        file = archive.extractfile("package/axe.min.js")
        assert file is not None
        return file.read().decode()

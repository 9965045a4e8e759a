"""The library that an installation compiles: its files, and what happens without a compiler."""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.programs import ROOT

SOURCES = sorted(str(file.relative_to(ROOT)) for file in (ROOT / "service" / "native").glob("*.[ch]"))


def compiled(folder: Path, **environment: str) -> tuple[list[Path], str]:
    """What ``setup.py`` makes in a folder with nothing but itself and its sources, and what it says."""
    for name in ("setup.py", *SOURCES):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    done = subprocess.run(
        [sys.executable, "setup.py", "build_ext", "--build-lib", "library"],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return list(folder.glob("library/inspyrenet_native.*")), done.stdout + done.stderr


def test_make_compiles_the_library_anew_when_a_file_changes_or_is_removed() -> None:
    [requirements] = re.findall(r"^\$\(NATIVE\): (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert requirements == "$(STAMP) setup.py service/native $(wildcard service/native/*.[ch])"


def test_the_library_is_compiled_from_every_file(tmp_path: Path) -> None:
    made, _ = compiled(tmp_path)
    hashed = ctypes.CDLL(str(made[0])).source_hash
    hashed.restype = ctypes.c_char_p
    content = b"".join((ROOT / source).read_bytes() for source in SOURCES)
    assert hashed().decode() == hashlib.sha256(content).hexdigest()


def test_in_another_folder_nothing_is_compiled_rather_than_an_empty_library(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "setup.py"), "build_ext", "--build-lib", "library"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "run setup.py in the folder" in done.stderr
    assert not list(tmp_path.iterdir())


def test_the_installation_goes_on_without_a_compiler_and_says_so(tmp_path: Path) -> None:
    made, said = compiled(tmp_path, CC="/nonexistent/compiler")
    assert made == []
    assert 'building extension "inspyrenet_native" failed' in said


def test_the_library_needs_no_headers_of_python() -> None:
    included = {
        name for source in SOURCES for name in re.findall(r"#include\s*(\S+)", (ROOT / source).read_text())
    }
    assert included <= {"<math.h>", "<stdint.h>", "<string.h>", '"common.h"'}

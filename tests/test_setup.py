"""The library that an installation compiles: its files, and what happens without a compiler."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.programs import ROOT

SETUP = (ROOT / "setup.py").read_text()
SOURCES = re.findall(r'"([\w/]+\.[ch])"', SETUP)


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


def test_every_source_of_the_library_exists_and_make_compiles_it_anew_when_one_changes() -> None:
    assert SOURCES
    [requirements] = re.findall(r"^\$\(NATIVE\): (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert requirements.split() == ["$(STAMP)", "setup.py", *SOURCES]
    assert all((ROOT / source).is_file() for source in SOURCES)


def test_the_installation_goes_on_without_a_compiler_and_says_so(tmp_path: Path) -> None:
    made, said = compiled(tmp_path, CC="/nonexistent/compiler")
    assert made == []
    assert 'building extension "inspyrenet_native" failed' in said


def test_the_library_needs_no_headers_of_python() -> None:
    included = {
        name for source in SOURCES for name in re.findall(r"#include\s*(\S+)", (ROOT / source).read_text())
    }
    assert included <= {"<math.h>", "<stdint.h>", "<string.h>"}

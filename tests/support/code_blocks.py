"""The programs in a document: blocks of code that have a file name, as in three back quotes, ``python client.py``.

Tests write them into a folder and run them, so that no reader is the first one who does. In every program the address
of the service under test takes the place of ``ADDRESS``; nothing else may be changed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.support.programs import ROOT, program

ADDRESS = "http://localhost:8080"
KEY = "my-key"
"""The API key in the documents; the service under test must take it."""

_BLOCK = re.compile(r"^```\w+ ([\w.-]+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def named_blocks(document: str) -> dict[str, str]:
    """File name -> content, in the order of the document.

    Args:
        document: its path from the root of the repository.
    """
    return dict(_BLOCK.findall((ROOT / document).read_text()))


def write_blocks(blocks: dict[str, str], names: Iterable[str], folder: Path, address: str) -> None:
    """Write some of the blocks into a folder."""
    for name in names:
        (folder / name).write_text(blocks[name].replace(ADDRESS, address))


def run(command: Sequence[str], folder: Path, *, seconds: float = 100, code: int = 0) -> str:
    """Run a program in a folder, to its end; what it printed, if it ended with this exit code.

    The programs of this interpreter's environment come first in the path.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    done = subprocess.run(
        [sys.executable if command[0] == "python" else program(command[0]), *command[1:]],
        cwd=folder,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == code, f"{command}:\n{done.stdout}{done.stderr}"
    return done.stdout

"""The clients of remove.bg that people use, unmodified but for the address.

``tests/behaviour/test_removebg_clients.py`` runs them. Python clients come from PyPI with the development dependencies;
those from npm are installed from ``npm_clients``, whose lock file names every package and its hash. A client's code is
copied, and the address in the copy is replaced: nothing else may be changed.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.programs import program

THEIR_ADDRESS = "https://api.remove.bg"
PYTHON_PACKAGES = ("removebg", "remove_bg_api", "rembgpy", "removebgplus")
NPM_PACKAGES = ("remove.bg", "removebg-wrapper")

_LOCK = Path(__file__).parent / "npm_clients"


def python_clients(target: Path, address: str) -> Path:
    """Copy the Python clients into ``target``, with this address."""
    for name in PYTHON_PACKAGES:
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.submodule_search_locations is not None
        shutil.copytree(spec.submodule_search_locations[0], target / name)
        _replace_address(target / name, "*.py", address)
    return target


def install_npm_clients(target: Path) -> None:
    """Install the clients and what they need into ``target``, exactly as the lock file says."""
    target.mkdir(exist_ok=True)
    for file in ("package.json", "package-lock.json"):
        shutil.copy(_LOCK / file, target)
    command = [program("npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(command, cwd=target, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr


def npm_clients(installed: Path, target: Path, address: str) -> Path:
    """Copy what ``install_npm_clients`` installed into ``target``, with this address."""
    shutil.copytree(installed / "node_modules", target / "node_modules", symlinks=True)
    for name in NPM_PACKAGES:
        _replace_address(target / "node_modules" / name, "*.js", address)
    return target


def run_python(code: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run code in a new interpreter that imports from ``cwd``."""
    return _run([sys.executable, "-c", code], cwd)


def run_node(code: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run code in Node that requires from ``cwd``."""
    return _run([program("node"), "--no-deprecation", "-e", code], cwd)


def _run(command: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)


def _replace_address(folder: Path, pattern: str, address: str) -> None:
    replaced = 0
    for file in folder.rglob(pattern):
        code = file.read_text()
        if THEIR_ADDRESS in code and "node_modules" not in file.relative_to(folder).parts:
            file.write_text(code.replace(THEIR_ADDRESS, address))
            replaced += 1
    assert replaced, f"{folder.name} has no address to replace"

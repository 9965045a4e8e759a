"""Which modules are imported from where, and which modules an import brings with it."""

from __future__ import annotations

import ast
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.programs import ROOT

PACKAGES = ("service", "supervisor", "metrics")
SOURCES = sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))

HEAVY = (
    "torch",
    "torchvision",
    "cv2",
    "transparent_background",
    "timm",
    "kornia",
    "albumentations",
    "pymatting",
    "numba",
)


def imported_by(statement: str, *, prefix: str = "") -> set[str]:
    """The modules that a fresh interpreter holds after the statement: top-level ones, or those below a prefix."""
    done = subprocess.run(
        [sys.executable, "-c", f"{statement}\nimport sys; print('modules:', *sys.modules)"],
        cwd=ROOT,
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    names = done.stdout.rpartition("modules:")[2].split()
    if prefix:
        return {name for name in names if name.startswith(prefix)}
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("package", PACKAGES)
def test_each_package_is_imported_from_this_repository(package: str) -> None:
    found = importlib.import_module(package).__file__
    assert found is not None
    assert Path(found).resolve() == ROOT / package / "__init__.py"


def test_the_application_is_imported_without_torch_opencv_and_similar_libraries() -> None:
    assert imported_by("import service.app, service.server") & set(HEAVY) == set()


@pytest.mark.parametrize(
    "argv", [["check", "--port", "1"], ["probe", "http://127.0.0.1:1"], ["--help"], ["nonsense"]]
)
def test_a_command_that_must_start_at_once_imports_the_standard_library_only(argv: list[str]) -> None:
    run = f"""
from contextlib import suppress
from service.__main__ import main
with suppress(SystemExit):
    main({argv}, {{}})
"""
    others = imported_by(run) - sys.stdlib_module_names
    assert {name for name in others if not name.startswith("_")} <= {
        "service",
        "sitecustomize",
        "usercustomize",
    }


def test_commands_are_imported_only_when_asked_for() -> None:
    imported = imported_by(
        "from service.cli.commands import main; main(['check', '--port', '1'], {})", prefix="service.cli."
    )
    assert imported == {"service.cli.commands", "service.cli.printing", "service.cli.check"}


@pytest.mark.parametrize("source", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_module_says_what_it_is_for(source: Path) -> None:
    assert ast.get_docstring(ast.parse(source.read_text()))

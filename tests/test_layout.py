"""What is imported from where, and what importing costs."""

from __future__ import annotations

import ast
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
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


def imported_by(statement: str) -> set[str]:
    """The top-level modules that a fresh interpreter holds after the statement."""
    done = subprocess.run(
        [sys.executable, "-c", f"{statement}; import sys; print(*sys.modules)"],
        cwd=ROOT,
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return {name.partition(".")[0] for name in done.stdout.split()}


@pytest.mark.parametrize("package", PACKAGES)
def test_each_package_is_this_repositorys_and_not_a_namesake(package: str) -> None:
    found = importlib.import_module(package).__file__
    assert found is not None
    assert Path(found).resolve() == ROOT / package / "__init__.py"


def test_the_application_is_imported_without_torch_opencv_and_their_kin() -> None:
    assert imported_by("import service.app, service.server") & set(HEAVY) == set()


def test_the_health_check_imports_the_standard_library_only() -> None:
    others = imported_by("import service.__main__, service.cli.check") - sys.stdlib_module_names
    assert {name for name in others if not name.startswith("_")} <= {
        "service",
        "sitecustomize",
        "usercustomize",
    }


@pytest.mark.parametrize("source", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_module_says_what_it_is_for(source: Path) -> None:
    assert ast.get_docstring(ast.parse(source.read_text()))

"""The layout of the code: imports, docstrings, lengths of functions, and where the tests of a module are."""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.conftest import SLOW
from tests.support.programs import ROOT

TESTS = ROOT / "tests"
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


MAX_FUNCTION_LINES = 60
LONG_FUNCTIONS: dict[str, str] = {}
"""A function that may be longer, as ``path:name`` -> the reason."""

TESTS_OF_NO_MODULE = {
    "tests/service/engines/inspyrenet/test_parity.py": "the whole engine against the unmodified package",
}
"""A test file that mirrors no module -> what it tests."""

TESTED_ELSEWHERE = {
    "service/__main__.py": "six lines that call service.cli; tests/test_launcher.py runs them",
    "service/app.py": "puts all parts together; every test in tests/behaviour/ runs it",
    "service/batch/cutter.py": "tests/service/cli/test_cut.py",
    "service/batch/survey.py": "tests/service/cli/test_cut.py",
    "service/cli/asking.py": "tests/behaviour/test_addresses.py, tests/service/cli/test_probe.py",
    "service/cli/cut_report.py": "tests/service/cli/test_cut_run.py",
    "service/cli/offline.py": "tests/service/cli/test_accept.py and tests/service/cli/test_cut.py",
    "service/cli/printing.py": "two calls of print; the tests of every command read what they print",
    "service/errors.py": "data only; tests/behaviour/test_status_codes.py",
    "service/http/header_watch.py": "tests/service/http/test_body.py, tests/behaviour/test_sizes_at_the_door.py",
    "service/http/health.py": "tests/behaviour/test_warmup_over_http.py and tests/behaviour/test_stuck.py",
    "service/http/listening_socket.py": "tests/behaviour/test_addresses.py",
    "service/http/json_answer.py": "one response; tests/behaviour/test_warmup_over_http.py",
    "service/http/multipart.py": "tests/service/http/test_body.py, tests/behaviour/test_hostile_requests.py",
    "service/http/openapi_components.py": "data only; tests/service/http/test_openapi.py",
    "service/http/openapi_contracts.py": "data only; tests/service/http/test_openapi.py",
    "service/http/picture_request.py": "tests/behaviour/test_clients_that_leave.py, tests/behaviour/test_stuck.py",
    "service/http/platforms.py": "tests/behaviour/test_platforms.py",
    "service/http/process.py": "tests/behaviour/test_status_codes.py",
    "service/http/removebg/errors.py": "tests/behaviour/test_removebg.py",
    "service/http/warmup_body.py": "tests/service/http/test_warmup_answer.py, tests/service/http/test_openapi.py",
    "service/native/arrays.py": "tests/service/native/test_loops.py compares it with the C functions",
    "service/native/coding_arrays.py": "tests/service/native/test_coding.py compares it with the C functions",
    "service/native/checks.py": "the tests of loops and coding give it what does not fit",
    "service/server.py": "tests/behaviour/test_signals.py, tests/service/cli/test_serve.py",
    "service/startup.py": "tests/behaviour/test_signals.py, tests/service/host/test_allocator.py",
    "service/tracing/spans.py": "does nothing; tests/behaviour/test_traces.py proves that, and what replaces it",
    "service/version.py": "data only",
}
"""A module of the service without a test file of its own -> why, and which files test it.

The engines are not listed: their tests are beside the part that a caller uses.
"""


def name_of(file: Path) -> str:
    return str(file.relative_to(ROOT))


SERVICE = [file for file in SOURCES if name_of(file).startswith("service/")]
SERVICE_PACKAGES = [file for file in SERVICE if file.name == "__init__.py"]
MODULES = [
    file
    for file in SERVICE
    if file not in SERVICE_PACKAGES and not name_of(file).startswith("service/engines/")
]


@cache
def docstring_and_lengths(source: Path) -> tuple[str | None, dict[str, int]]:
    """A module's docstring, and how many lines its functions have. The tree is not kept: it would slow down the garbage
    collector for the tests that follow."""
    tree = ast.parse(source.read_text())
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return ast.get_docstring(tree), {
        node.name: (node.end_lineno or 0) - node.lineno + 1
        for node in sorted(functions, key=lambda node: (node.end_lineno or 0) - node.lineno)
    }


def own_tests(module: Path) -> Iterator[Path]:
    """The test files of a module: those that its path gives, with any suffix."""
    folder = TESTS / module.parent.relative_to(ROOT)
    for test in folder.glob(f"test_{module.stem}*.py"):
        if test.stem == f"test_{module.stem}" or test.stem.startswith(f"test_{module.stem}_"):
            yield test


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


def test_the_marks_of_slow_tests_are_the_same_wherever_they_are_listed() -> None:
    pytest_options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    [in_makefile] = re.findall("^SLOW := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {line.partition(":")[0] for line in pytest_options["markers"]} == SLOW
    assert set(in_makefile.split(" or ")) == SLOW


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
    assert imported == {
        "service.cli.commands",
        "service.cli.printing",
        "service.cli.check",
        "service.cli.asking",
    }


@pytest.mark.parametrize("source", SOURCES, ids=name_of)
def test_every_module_says_what_it_is_for(source: Path) -> None:
    assert docstring_and_lengths(source)[0]


@pytest.mark.parametrize("package", SERVICE_PACKAGES, ids=name_of)
def test_a_package_of_the_service_says_what_it_is_for_and_imports_nothing(package: Path) -> None:
    tree = ast.parse(package.read_text())
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    sentences = re.findall(r"\.(?:\s|$)", ast.get_docstring(tree) or "")
    assert len(sentences) >= 2, "its docstring needs two sentences: what belongs here, and what does not"


@pytest.mark.parametrize("source", SOURCES, ids=name_of)
def test_a_function_has_at_most_60_lines(source: Path) -> None:
    _, lengths = docstring_and_lengths(source)
    too_long = {f"{name_of(source)}:{name}" for name, lines in lengths.items() if lines > MAX_FUNCTION_LINES}
    assert too_long <= LONG_FUNCTIONS.keys()


@pytest.mark.parametrize("test", sorted((TESTS / "service").rglob("test_*.py")), ids=name_of)
def test_a_test_file_begins_with_the_name_of_a_module_or_package_beside_its_path(test: Path) -> None:
    room = ROOT / test.parent.relative_to(TESTS)
    modules = [entry.stem for entry in room.iterdir() if entry.suffix in {"", ".py"}]
    assert name_of(test) in TESTS_OF_NO_MODULE or any(
        test.stem == f"test_{module}" or test.stem.startswith(f"test_{module}_") for module in modules
    )


def test_every_module_of_the_service_has_a_test_file_or_a_reason_why_not() -> None:
    untested = {name_of(module) for module in MODULES if not list(own_tests(module))}
    assert untested == TESTED_ELSEWHERE.keys()


@pytest.mark.parametrize(("module", "where"), TESTED_ELSEWHERE.items())
def test_the_reason_why_a_module_has_no_test_file_names_files_that_exist(module: str, where: str) -> None:
    assert all((ROOT / file).exists() for file in re.findall(r"tests/[\w/]+\.py", where))

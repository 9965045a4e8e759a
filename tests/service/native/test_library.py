"""The compiled library: what is said where it is missing or unfit, and what it shares with the modules beside it."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from service.native import coding, library, loops

FOLDER = Path(library.__file__).parent


def specification(origin: str | None) -> ModuleSpec:
    return ModuleSpec("inspyrenet_native", None, origin=origin)


def test_what_computes_is_said() -> None:
    assert re.fullmatch(r"C \((AVX-512|AVX2|baseline)\)", library.in_use())
    assert library.WHY_MISSING == ""


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (None, "no C compiler; run make setup"),
        (specification(None), "no C compiler; run make setup"),
        (specification("/nowhere/inspyrenet_native.so"), "cannot open shared object file.*install.*again"),
        (specification(__file__), "install the dependencies again"),
    ],
    ids=["not installed", "an empty folder", "no file", "no library"],
)
def test_why_a_library_is_missing_is_said(
    monkeypatch: pytest.MonkeyPatch, found: ModuleSpec | None, why: str
) -> None:
    monkeypatch.setattr(library, "find_spec", lambda _: found)
    loaded, said = library._load()
    assert loaded is None
    assert re.search(why, said)


def test_a_library_without_a_function_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(library._FUNCTIONS, "no_such_function", (None, []))
    loaded, said = library._load()
    assert loaded is None
    assert "no_such_function" in said


def test_an_editors_own_files_beside_the_sources_do_not_count(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for source in FOLDER.glob("[a-z]*.[ch]"):
        (tmp_path / source.name).write_bytes(source.read_bytes())
    (tmp_path / ".#webp.c").symlink_to("nowhere")
    monkeypatch.setattr(library, "_FOLDER", tmp_path)
    assert library._load()[0] is not None


@pytest.mark.parametrize("changed", ["relax.c", "common.h"])
def test_a_library_that_was_compiled_from_another_source_is_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, changed: str
) -> None:
    for source in (*FOLDER.glob("*.c"), *FOLDER.glob("*.h")):
        (tmp_path / source.name).write_bytes(source.read_bytes())
    monkeypatch.setattr(library, "_FOLDER", tmp_path)
    assert library._load()[0] is not None
    with (tmp_path / changed).open("a") as file:
        file.write("\n")
    loaded, said = library._load()
    assert loaded is None
    assert "other files" in said


def test_both_sides_have_the_same_numbers_and_functions() -> None:
    source = "\n".join(file.read_text() for file in FOLDER.glob("*.c"))
    numbers = {name: int(value) for name, value in re.findall(r"\b([A-Z_]+) = (\d+)[, ]", source)}
    assert numbers["ALIGNED"] == loops._ALIGNED
    assert (numbers["TILE_PLANES"], numbers["TILE_ROWS"], numbers["TILE_COLUMNS"]) == (
        loops._TILE_PLANES,
        loops._TILE_ROWS,
        loops._TILE_COLUMNS,
    )
    assert numbers["BLOCK"] == coding.WEBP_BLOCK
    functions = re.findall(
        r"^(?:CLONES )?(?:const )?(?:void|char|int32_t|int64_t) \*?(\w+)\((.*?)\)\n?[ {]",
        source,
        re.DOTALL | re.MULTILINE,
    )
    arguments = {name: 0 if given == "void" else given.count(",") + 1 for name, given in functions}
    assert arguments == {name: len(wanted) for name, (_, wanted) in library._FUNCTIONS.items()}


def test_without_the_library_numpy_is_said_to_compute() -> None:
    program = """
import sys
from importlib import util
util.find_spec = lambda name: None
from service.native import library
print(library.in_use())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "NumPy"

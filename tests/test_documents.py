"""Every path, link and module that a Markdown document names exists in this repository."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from tests.metrics.sources import ROOT, documents

FILE = re.compile(
    r"(?<![\w./-])(?:\.ci|benchmarks|deploy|docs|metrics|service|supervisor|tests)/[\w./-]*\w/?"
)
NAME = re.compile(r"`([\w-]+\.(?:js|json|md|py|toml|yaml|yml))`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
MODULE = re.compile(r"\b(?:benchmarks|metrics|service|supervisor|tests)\.[a-z_]+(?:\.[a-z_]+)*\b(?!\()")
SUFFIXES = {"json", "md", "py", "toml", "yaml", "yml"}
"""A name that ends in one of these is a file and not a module."""

WRITTEN = {"references.json"}
"""Files that the program writes, which documents name as well."""


def anchors(path: Path) -> set[str]:
    """The anchors of the headings of a document, as GitHub writes them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@cache
def names_of_files() -> set[str]:
    folders = ("benchmarks", "deploy", "docs", "metrics", "service", "supervisor", "tests")
    files = [*ROOT.glob("*.*"), *(file for folder in folders for file in (ROOT / folder).rglob("*.*"))]
    return {file.name for file in files}


def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or path.is_dir()


pytestmark = pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(ROOT)))


def test_every_file_that_a_document_names_exists(document: Path) -> None:
    named = set(FILE.findall(document.read_text()))
    assert {name for name in named if not (ROOT / name).exists()} == set()


def test_every_file_name_without_a_folder_belongs_to_a_file_of_the_repository(document: Path) -> None:
    assert set(NAME.findall(document.read_text())) - names_of_files() - WRITTEN == set()


def test_every_link_in_a_document_leads_to_a_file_and_a_heading(document: Path) -> None:
    broken = set()
    for link in LINK.findall(document.read_text()):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        name, _, anchor = link.partition("#")
        target = document.parent / name if name else document
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.add(link)
    assert broken == set()


def test_every_module_that_a_document_names_exists(document: Path) -> None:
    named = {name for name in MODULE.findall(document.read_text()) if name.rpartition(".")[2] not in SUFFIXES}
    assert {name for name in named if not is_module(name)} == set()

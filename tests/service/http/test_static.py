"""The files of the pages: they need no other host, fit a strict Content-Security-Policy, and are accessible."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

import service
from service.imaging.options import IMAGE_FORMATS, Output

STATIC = Path(service.__file__).parent / "http" / "static"
PAGES = ["index.html", "docs.html"]
SCRIPTS = sorted(path.name for path in STATIC.glob("*.js"))


class Page(HTMLParser):
    """The elements of a page in order, and the text of each kind of element."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, str] = {}
        self._open: list[str] = []
        self.feed((STATIC / name).read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._open.append(tag)

    def handle_data(self, data: str) -> None:
        if self._open:
            self.text[self._open[-1]] = self.text.get(self._open[-1], "") + data

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def every(self, *tags: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag in tags]

    @property
    def ids(self) -> list[str]:
        return [value for _, attributes in self.elements if (value := attributes.get("id"))]


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_no_inline_script_and_no_inline_style(name: str) -> None:
    page = Page(name)
    assert all(script.get("src") for script in page.every("script"))
    assert not page.text.get("script", "").strip()
    assert not page.every("style")
    for _, attributes in page.elements:
        assert not [key for key in attributes if key == "style" or key.startswith("on")]


@pytest.mark.parametrize("path", sorted(STATIC.iterdir()), ids=lambda path: path.name)
def test_pages_fetch_nothing_from_another_host(path: Path) -> None:
    addresses = set(re.findall(r"""(?:https?:)?//[\w.-]+\.[a-z]{2,}[^\s"'`)]*""", path.read_text()))
    assert addresses <= {"http://www.w3.org/2000/svg"}


@pytest.mark.parametrize("name", PAGES)
def test_every_file_that_a_page_uses_exists_and_has_a_relative_address(name: str) -> None:
    page = Page(name)
    named = [a["src"] for a in page.every("script", "img") if a.get("src")]
    named += [a["href"] for a in page.every("link")]
    assert named
    for address in named:
        assert address is not None
        assert (STATIC / address.removeprefix("static/")).is_file()
        assert address.startswith("static/")


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_module_that_a_script_imports_exists(name: str) -> None:
    for module in re.findall(r"""from "(.+?)";""", (STATIC / name).read_text()):
        assert (STATIC / module).is_file()


@pytest.mark.parametrize(("page", "script"), [("index.html", "app.js"), ("docs.html", "docs.js")])
def test_a_script_uses_only_elements_that_its_page_has(page: str, script: str) -> None:
    ids = Page(page).ids
    assert len(ids) == len(set(ids))
    used = set(re.findall(r'(?:byId|showImage)\("([\w-]+)"', (STATIC / script).read_text()))
    assert used
    assert used <= set(ids)


@pytest.mark.parametrize("name", PAGES)
def test_every_element_has_a_name_for_screen_readers(name: str) -> None:
    page = Page(name)
    labelled = {label["for"] for label in page.every("label")}
    for field in page.every("input", "select"):
        assert field.get("aria-label") or field["id"] in labelled
    assert labelled <= set(page.ids)
    assert all("alt" in image for image in page.every("img"))
    assert page.every("html")[0]["lang"] == "en"
    assert page.text["title"].strip()
    assert len(page.every("main")) == len(page.every("h1")) == 1


def test_changes_are_announced_to_screen_readers() -> None:
    roles = {attributes.get("id"): attributes.get("role") for _, attributes in Page("index.html").elements}
    assert (roles["status"], roles["banners"], roles["announcements"]) == ("status", "status", "log")
    assert roles["refused"] == "alert"


def choices(select: str) -> set[str | None]:
    found: dict[str, set[str | None]] = {}
    current = ""
    for tag, attributes in Page("index.html").elements:
        if tag == "select":
            current = attributes["id"] or ""
        elif tag == "option":
            found.setdefault(current, set()).add(attributes["value"])
    return found[select]


def test_the_page_asks_for_outputs_and_formats_that_the_service_makes() -> None:
    assert choices("format") == {format.value for format in IMAGE_FORMATS} - {"avif"}, (
        "no browser writes AVIF"
    )
    asked_for = re.findall(r'output: "(\w+)"', (STATIC / "queue.js").read_text())
    assert [Output(output) for output in asked_for] == [Output.RGBA]


def test_the_page_composes_every_background_that_it_offers() -> None:
    cases = set(re.findall(r'case "(\w+)":', (STATIC / "compose.js").read_text()))
    assert choices("background") == cases | {"transparent"}


def test_the_script_for_shops_needs_nothing_and_is_smaller_than_2_kb() -> None:
    script = (STATIC / "warm.js").read_text()
    assert len(script.encode()) < 2000
    assert not re.search(r"^import ", script, re.MULTILINE)


def test_the_key_is_neither_stored_nor_completed_by_the_browser() -> None:
    field = next(a for a in Page("index.html").every("input") if a["id"] == "key")
    assert (field["type"], field["autocomplete"]) == ("password", "off")
    for name in SCRIPTS:
        stores = re.search(r"localStorage|sessionStorage|cookie|indexedDB", (STATIC / name).read_text())
        assert not stores or name == "warm.js", "which remembers that it has warmed, and knows no key"


def test_colours_of_text_have_the_contrast_that_wcag_aa_asks_for() -> None:
    style = (STATIC / "style.css").read_text()
    light, dark = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    for block in (light, dark):
        colour = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block))
        for text, ground in [
            *((text, ground) for text in ("text", "quiet", "accent") for ground in ("ground", "surface")),
            ("on-accent", "accent"),
            ("text", "warn-ground"),
            ("text", "bad-ground"),
            ("quiet", "bad-ground"),
        ]:
            assert contrast(colour[text], colour[ground]) >= 4.5, (text, ground)


def contrast(first: str, second: str) -> float:
    """WCAG 2's contrast ratio of two ``#rrggbb`` colours."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)

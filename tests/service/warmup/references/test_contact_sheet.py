"""The contact sheet: it shows every reference, escapes every name, and asks nobody for anything."""

from __future__ import annotations

import subprocess
from functools import cache
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from service.warmup.references.contact_sheet import Thumbnails, is_one, render, thumbnail
from service.warmup.references.manifest import Manifest, Reference
from tests.support import photos
from tests.support.programs import program
from tests.support.reference_sets import WEIGHTS

RED, GREEN, BLUE = (230, 20, 20), (20, 200, 20), (20, 20, 230)


class Page(HTMLParser):
    """What a browser makes of a page: its tags, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def reference(file: str = "photo.jpg", *, max_error: float = 0.01, given: bool = False) -> Reference:
    return Reference(
        file=file,
        sha256="0" * 64,
        size=(400, 300),
        mask=f"accepted-x/{file}.png",
        mask_sha256="1" * 64,
        mask_from="given" if given else "engine",
        engine="inspyrenet",
        weights=WEIGHTS,
        measured=0.0021,
        max_error=max_error,
    )


@cache
def plain(colour: tuple[int, int, int]) -> bytes:
    return thumbnail(Image.new("RGB", (300, 200), colour))


def page_of(*references: Reference) -> str:
    made = Manifest(accepted_at="2026-01-01T00:00:00+00:00", references=references)
    return render(made, {each.file: Thumbnails(plain(RED), plain(GREEN), plain(BLUE)) for each in references})


def test_it_shows_three_pictures_the_name_the_figures_the_engine_and_the_time() -> None:
    page = Page(page_of(reference(), reference("second.jpg", given=True)))
    assert len(page.all("img")) == 6
    for words in (
        "photo.jpg",
        "fp32 and bf16 differ by 0.0021 (0.5/255)",
        "The engine's mask differs from the given one by 0.0021",
        "A mask agrees up to an error of 0.0100 (2.6/255)",
        "made by the engine",
        f"inspyrenet (weights {WEIGHTS})",
        "2026-01-01T00:00:00+00:00",
        "400 x 300 pixels",
    ):
        assert words in page.text


def test_a_reference_that_proves_little_is_marked() -> None:
    assert 'class="loose"' in page_of(reference(max_error=0.2))
    assert 'class="loose"' not in page_of(reference())


@cache
def ordinary_tags() -> list[str]:
    return [tag for tag, _ in Page(page_of(reference("photo.jpg"))).tags]


@settings(deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1))
def test_no_name_becomes_markup_and_every_link_leads_to_its_file(name: str) -> None:
    page = Page(page_of(reference(name)))
    assert [tag for tag, _ in page.tags] == ordinary_tags()
    picture, mask = (link["href"] or "" for link in page.all("a"))
    assert unquote(picture) == f"./{name}"
    assert unquote(mask) == f"./accepted-x/{name}.png"
    assert picture.isascii()


@pytest.mark.parametrize("name", ["<script>alert(1)</script>.jpg", '"onload=x.jpg', "{braces}.jpg", "data:x"])
def test_names_that_look_like_code_are_shown_as_they_are(name: str) -> None:
    assert name in Page(page_of(reference(name))).text


def test_the_page_asks_nobody_for_anything() -> None:
    page = Page(page_of(reference()))
    assert all((image["src"] or "").startswith("data:image/webp;base64,") for image in page.all("img"))
    assert not page.all("script")
    assert not page.all("link")
    policies = [meta["content"] for meta in page.all("meta") if meta.get("http-equiv")]
    assert policies == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_a_thumbnail_is_small_and_keeps_ratio_and_transparency(mode: str) -> None:
    image = Image.fromarray(photos.photograph(1000, 400)).convert(mode)
    if mode == "RGBA":
        image.putalpha(100)
    with Image.open(BytesIO(thumbnail(image))) as small:
        assert small.size == (360, 144)
        assert small.mode == ("RGBA" if mode == "RGBA" else "RGB")


def test_a_contact_sheet_is_known_as_one(tmp_path: Path) -> None:
    sheet, other = tmp_path / "sheet.html", tmp_path / "other.html"
    sheet.write_text(page_of(reference()))
    other.write_text("<html></html>")
    assert (is_one(sheet), is_one(other)) == (True, False)


@pytest.mark.e2e
def test_a_browser_shows_the_pictures_from_the_disk(tmp_path: Path) -> None:
    sheet, shot = tmp_path / "index.html", tmp_path / "shot.png"
    sheet.write_text(page_of(reference("<b>&'#%?.jpg")))
    command = [program("chromium"), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    command += ["--window-size=1250,700", f"--user-data-dir={tmp_path / 'profile'}", f"--screenshot={shot}"]
    subprocess.run([*command, sheet.as_uri()], check=True, capture_output=True, timeout=90)
    with Image.open(shot) as image:
        shown = np.asarray(image.convert("RGB")).astype(int)
    for colour in (RED, GREEN, BLUE):
        near = (np.abs(shown - np.array(colour)).max(axis=2) < 12).sum()
        assert near > 0.9 * 300 * 200

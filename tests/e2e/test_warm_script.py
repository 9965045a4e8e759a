"""``warm.js`` on a shop's page, in a real Chromium: when it warms, how often, and what it tells."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.support.chromium import Browser, Page, browser
from tests.support.code_blocks import named_blocks, write_blocks
from tests.support.photos import encoded
from tests.support.scripted_page import ScriptedPage, error
from tests.support.service_process import live

__all__ = ["browser"]

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(200)]

LISTEN = "globalThis.told = []; document.addEventListener('warmup', ({detail}) => told.push(detail.state));"
OK = error(200, "", "")


def shop(query: str) -> str:
    return (
        f"<!doctype html><title>Shop</title><script>{LISTEN}</script>"
        f'<script type="module" src="../static/warm.js{query}"></script>'
        "<p id=text>Text</p><button class=cut>Cut out</button>"
    )


@pytest.fixture
async def scripted() -> AsyncIterator[ScriptedPage]:
    scripted = ScriptedPage()
    scripted.html = {
        "load": shop("?on=load"),
        "hover": shop("?on=hover&at=.cut"),
        "intent": shop("?on=intent&at=.cut"),
        "none": shop(""),
    }
    await scripted.server.start_server()
    yield scripted
    await scripted.server.close()


@pytest.fixture
async def page(browser: Browser) -> AsyncIterator[Page]:
    async with browser.page() as page:
        yield page


async def test_a_session_warms_once(scripted: ScriptedPage, page: Page) -> None:
    await page.open(f"{scripted.url}shop/load")
    await page.until("told.join() === 'warming,ready'")
    await page.open(f"{scripted.url}shop/load?again")
    await page.until("told.join() === 'skipped'")
    assert scripted.seen["/warmup"] == 1


async def test_a_cold_service_is_asked_again_when_it_says(scripted: ScriptedPage, page: Page) -> None:
    scripted.warmup[:] = [error(503, "", "", Retry_After="1"), OK]
    await page.open(f"{scripted.url}shop/load")
    await page.until("told.join() === 'warming,waiting,ready'")
    assert scripted.seen["/warmup"] == 2


async def test_a_failure_is_told_and_the_next_page_tries_again(scripted: ScriptedPage, page: Page) -> None:
    scripted.warmup[:] = [error(500, "", ""), OK]
    await page.open(f"{scripted.url}shop/load")
    await page.until("told.join() === 'warming,failed'")
    assert scripted.seen["/warmup"] == 1
    await page.open(f"{scripted.url}shop/load?again")
    await page.until("told.join() === 'warming,ready'")


@pytest.mark.parametrize(("kind", "sign"), [("hover", "pointerover"), ("intent", "pointerdown")])
async def test_it_waits_for_a_sign_at_the_right_element(
    scripted: ScriptedPage, page: Page, kind: str, sign: str
) -> None:
    await page.open(f"{scripted.url}shop/{kind}")
    fire = f".dispatchEvent(new PointerEvent('{sign}', {{bubbles: true}}))"
    await page.run(f"document.querySelector('#text'){fire}")
    assert await page.run("told.length") == 0
    await page.run(f"document.querySelector('.cut'){fire}")
    await page.until("told.join() === 'warming,ready'")
    assert scripted.seen["/warmup"] == 1


async def test_a_metered_connection_is_left_alone(scripted: ScriptedPage, page: Page) -> None:
    script = "Object.defineProperty(navigator, 'connection', {value: {saveData: true}})"
    await page.call("Page.addScriptToEvaluateOnNewDocument", source=script)
    await page.open(f"{scripted.url}shop/load")
    await page.until("told.join() === 'skipped'")
    assert scripted.seen["/warmup"] == 0


async def test_a_hidden_page_warms_when_it_is_shown(scripted: ScriptedPage, page: Page) -> None:
    script = "globalThis.away = true; Object.defineProperty(document, 'hidden', {get: () => away})"
    await page.call("Page.addScriptToEvaluateOnNewDocument", source=script)
    await page.open(f"{scripted.url}shop/load")
    assert await page.run("new Promise(done => setTimeout(() => done(told.length), 200))") == 0
    await page.run("away = false; document.dispatchEvent(new Event('visibilitychange'))")
    await page.until("told.join() === 'warming,ready'")


async def test_nothing_happens_by_itself_without_a_wish(scripted: ScriptedPage, page: Page) -> None:
    await page.open(f"{scripted.url}shop/none")
    assert await page.run("told.length") == 0
    await page.run("import('../static/warm.js').then(({warm}) => (told.push('imported'), warm()))")
    await page.until("told.join() === 'imported,warming,ready'")


async def test_the_shop_of_the_recipes_cuts_out_the_photo_of_a_visitor(
    browser: Browser, aiohttp_server: Callable[..., Awaitable[TestServer]], tmp_path: Path
) -> None:
    app = web.Application()
    app.router.add_static("/", tmp_path)
    server = await aiohttp_server(app)
    shop = str(server.make_url("/"))
    with live(tmp_path, cors_origins=shop.rstrip("/")) as service:
        write_blocks(named_blocks("docs/recipes.md"), ["shop.html", "cutout.mjs"], tmp_path, service.url)
        (tmp_path / "photo.png").write_bytes(encoded(60, 40))
        async with browser.page() as page:
            await page.open(f"{shop}shop.html")
            await page.run(
                "document.getElementById('photo').focus()"
            )  # a sign of intent: the service is warmed
            await page.choose("#photo", tmp_path / "photo.png")
            await page.until("state.textContent === 'Done.' && cutout.naturalWidth === 60")
            assert sorted(request for request in page.requests if request[0] == "POST") == [
                ("POST", f"{service.url}/process"),
                ("POST", f"{service.url}/warmup"),
            ]
            assert [text for text in page.errors if "favicon" not in text and "404" not in text] == []

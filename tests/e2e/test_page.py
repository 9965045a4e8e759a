"""The page in a real Chromium: before a real service during a cold start, and before every kind of trouble."""

from __future__ import annotations

import random
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from io import BytesIO
from pathlib import Path

import pytest
from aiohttp import web
from PIL import Image, ImageDraw

from tests.support.axe import axe
from tests.support.chromium import Browser, Page, browser
from tests.support.code_blocks import run
from tests.support.scripted_page import ScriptedPage, error, never, picture
from tests.support.service_process import Live, live
from tests.support.waiting import until

__all__ = ["axe", "browser"]

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

PAPER, DISC = (250, 250, 250), (180, 20, 20)
STATES = "[...document.querySelectorAll('.picture')].map(row => row.dataset.state).join()"
PROBLEMS = "[...document.querySelectorAll('.picture .problem')].map(it => it.textContent).join('|')"


def photo(folder: Path, name: str, size: tuple[int, int] = (400, 300)) -> Path:
    """A dark disc on paper; the scripted engine finds the disc."""
    image = Image.new("RGB", size, PAPER)
    width, height = size
    ImageDraw.Draw(image).ellipse((width // 4, height // 4, width * 3 // 4, height * 3 // 4), fill=DISC)
    image.save(folder / name)
    return folder / name


def colour_at(x: float, y: float) -> str:
    """A script: the colour of the result at these shares of its width and height."""
    return (
        f"[...after.getContext('2d').getImageData(after.width * {x}, after.height * {y}, 1, 1).data].join()"
    )


def choose(field: str, value: str) -> str:
    return f"{field}.value = '{value}'; {field}.dispatchEvent(new Event('input', {{bubbles: true}}))"


async def nothing_is_wrong_for_anyone(page: Page, axe: str) -> None:
    """In light and dark, wide and narrow, and at 200 %: axe finds nothing and nothing is cut off."""
    looks = [{"prefers_color_scheme": "light"}, {"prefers_color_scheme": "dark"}, {"forced_colors": "active"}]
    for width, zoom in ((1280, 1.0), (320, 1.0), (1280, 2.0)):
        for look in looks if width == 1280 else looks[:1]:
            await page.look(width=width, zoom=zoom, **look)
            assert await page.violations(axe) == [], (width, zoom, look)
            assert await page.run("document.documentElement.scrollWidth <= innerWidth")
    await page.look()


@pytest.fixture
def cold(tmp_path: Path) -> object:
    """A real service whose model does not get loaded until the faults are taken away."""
    with live(tmp_path, ready=False, faults={"load": "hang"}) as service:
        service.until(lambda: service.status("/livez") == 200)
        yield service


async def test_pictures_chosen_during_a_cold_start_are_sent_once_when_the_service_is_ready(
    cold: Live, browser: Browser, axe: str, tmp_path: Path
) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"this is not a picture")
    async with browser.page(downloads=tmp_path) as page:
        await page.look()
        await page.open(f"{cold.url}/")
        await page.until("!start.hidden")
        assert await page.run("document.getElementById('status').textContent") == "Starting"
        assert "expected (estimated)" in await page.run("document.getElementById('start-time').textContent")
        assert (
            await page.run("document.getElementById('start-text').textContent") == "Preparing the processor"
        )
        await page.drop(photo(tmp_path, "one.png"), tmp_path / "broken.jpg", photo(tmp_path, "two.png"))
        await page.until(f"{STATES} === 'waiting,waiting,waiting'")
        await page.until("document.body.innerText.includes('Waits for the service to start')")
        await nothing_is_wrong_for_anyone(page, axe)
        assert not sent(page)
        cold.set_faults()
        await page.until(f"{STATES} === 'done,failed,done'")
        assert len(sent(page)) == 3
        assert "not a picture that the service can read" in await page.run(PROBLEMS)
        await page.until("start.hidden && document.getElementById('status').textContent === 'Ready'")
        assert "inspyrenet" in await page.run("document.getElementById('status').title")

        await page.until(f"{colour_at(0.02, 0.02)}.endsWith(',0')")
        assert (await page.run(colour_at(0.5, 0.5))).endswith(",255")
        await page.run(choose("background", "colour") + ";" + choose("colour", "#00ff00"))
        await page.until(f"{colour_at(0.02, 0.02)} === '0,255,0,255'")
        await nothing_is_wrong_for_anyone(page, axe)

        await page.run(choose("format", "png"))
        await page.press("#download-all")
        await until((tmp_path / "cut-outs.zip").exists)
        assert len(sent(page)) == 3, "the composition and the download need no request"
        warmups = [request for request in page.requests if request == ("POST", f"{cold.url}/warmup")]
        assert len(warmups) == 1
        assert [text for text in page.errors if "415" not in text] == []
    with zipfile.ZipFile(tmp_path / "cut-outs.zip") as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["one-on-colour.png", "two-on-colour.png"]
        for name in archive.namelist():
            result = Image.open(BytesIO(archive.read(name))).convert("RGB")
            assert (result.size, result.getpixel((4, 4))) == ((400, 300), (0, 255, 0))


def sent(page: Page) -> list[str]:
    return [url for method, url in page.requests if method == "POST" and "/process" in url]


@pytest.fixture
async def scripted(
    aiohttp_server: Callable[..., Awaitable[object]],
) -> AsyncIterator[ScriptedPage]:
    scripted = ScriptedPage()
    await scripted.server.start_server()
    yield scripted
    await scripted.server.close()


@pytest.fixture
async def page(scripted: ScriptedPage, browser: Browser, tmp_path: Path) -> AsyncIterator[Page]:
    """The page before a scripted service, open and with a known state."""
    async with browser.page(downloads=tmp_path) as page:
        await page.look()
        await page.open(scripted.url)
        await page.until("document.getElementById('status').dataset.state !== 'unknown'")
        yield page


@pytest.fixture
def with_key(tmp_path: Path) -> Iterator[Live]:
    """A real service that takes the key ``sesame``."""
    with live(tmp_path, api_keys="sesame") as service:
        yield service


async def test_the_documentation_sends_real_requests_and_shows_them_for_a_shell(
    with_key: Live, browser: Browser, axe: str, tmp_path: Path
) -> None:
    process = 'form[aria-label="POST /process"]'
    said = f"document.querySelector('{process} .said').textContent"
    async with browser.page() as page:
        await page.look()
        await page.open(f"{with_key.url}/docs")
        await page.until("document.querySelectorAll('article form').length > 5")
        await page.choose(f"{process} input[type=file]", photo(tmp_path, "it's.png"))
        await page.press(f"{process} summary")
        await page.run(f"document.querySelector('{process} .fields input').focus()")
        await page.type("#00ff00")
        await page.until(f"{said}.startsWith('401 Unauthorized after')")
        assert "key" in await page.run(f"document.querySelector('{process} .said + div p').textContent")

        await page.run("document.getElementById('key').focus()")
        await page.type("sesame")
        await page.press(f"{process} button")
        await page.until(
            f"{said}.startsWith('200 OK after') && document.querySelector('{process} img')?.complete"
        )
        shown = await page.run(
            f"(async () => {{ const image = document.querySelector('{process} img'); await image.decode();"
            " const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight).getContext('2d');"
            " canvas.drawImage(image, 0, 0);"
            " return [image.naturalWidth, image.naturalHeight, ...canvas.getImageData(4, 4, 1, 1).data]; })()"
        )
        assert shown == [400, 300, 0, 255, 0, 255]
        assert await page.violations(axe) == []
        await page.look(width=320, prefers_color_scheme="dark")
        assert await page.violations(axe) == []
        assert await page.run("document.documentElement.scrollWidth <= innerWidth")
        assert [method for method, url in page.requests if url == f"{with_key.url}/process"] == [
            "POST",
            "POST",
        ]
        assert [text for text in page.errors if "401" not in text] == []
        shell = await page.run(f"document.querySelector('{process} pre').textContent")
        assert "sesame" not in shell
    run(["sh", "-e", "-c", shell.replace("X-Api-Key: ...", "X-Api-Key: sesame")], tmp_path)
    assert Image.open(tmp_path / "answer").getpixel((4, 4)) == (0, 255, 0)


async def test_a_form_of_the_documentation_shows_what_is_wrong_how_long_it_takes_and_what_came(
    scripted: ScriptedPage, page: Page, tmp_path: Path
) -> None:
    async def bare(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(body=b"?", headers={"Content-Type": ""})

    scripted.process = [never, bare]
    form = 'form[aria-label="POST /process"]'
    await page.open(f"{scripted.url}docs")
    await page.until(f"document.querySelector('{form}')")
    assert await page.run(f"document.querySelector('{form} label span').textContent") == "image (required)"
    await page.run(f"window.fold = document.querySelector('{form} details'); fold.open = true")
    await page.run(
        "window.quality = fold.querySelector('[max=\"100\"]'); quality.value = 500; fold.open = false"
    )
    await page.choose(f"{form} input[type=file]", photo(tmp_path, "photo.png"))
    await page.press(f"{form} button")
    await page.until("fold.open && document.activeElement === quality")
    assert scripted.seen["/process"] == 0
    await page.run("quality.value = 90")
    await page.press(f"{form} button")
    await page.until(f"document.querySelector('{form} .buttons .quiet').textContent === '1 s'")
    await page.press(f"{form} button.plain")
    await page.until(f"document.querySelector('{form} .said').textContent === 'Cancelled.'")
    assert await page.run(f"document.querySelector('{form} .buttons .quiet').textContent") == ""
    await page.press(f"{form} button")
    await page.until(f"document.querySelector('{form} a[download]')?.download === 'answer.bin'")


async def test_the_documentation_says_so_if_it_has_nothing_to_show(
    scripted: ScriptedPage, page: Page
) -> None:
    scripted.lost = {"/openapi.json"}
    await page.open(f"{scripted.url}docs")
    await page.until("document.querySelector('[role=alert]')?.textContent.includes('openapi.json')")


async def test_a_busy_service_is_waited_out_and_no_option_jumps_the_countdown(
    scripted: ScriptedPage, page: Page, tmp_path: Path, axe: str
) -> None:
    scripted.process[:] = [error(429, "queue_full", "The queue is full.", Retry_After="4"), picture]
    await page.drop(photo(tmp_path, "one.png"))
    await page.until("document.body.innerText.includes('Sent again in')")
    await page.run(choose("background", "white"))
    assert scripted.seen["/process"] == 1
    assert "The service is busy." in await page.run(PROBLEMS)
    assert await page.run("document.querySelector('.picture [role=alert], .picture [aria-live]') === null")
    assert await page.violations(axe) == []
    await page.until(f"{STATES} === 'done'")
    assert scripted.seen["/process"] == 2
    assert await page.run(PROBLEMS) == ""


async def test_an_unavailable_service_and_a_late_answer_are_tried_again(
    scripted: ScriptedPage, page: Page, tmp_path: Path
) -> None:
    scripted.process[:] = [
        error(503, "unavailable", "Not now.", Retry_After="1"),
        error(504, "deadline_exceeded", "Too late.", Retry_After="1"),
        picture,
    ]
    await page.drop(photo(tmp_path, "one.png"))
    await page.until(f"{STATES} === 'done'")
    assert scripted.seen["/process"] == 3


async def test_a_missing_key_is_asked_for_and_an_impossible_one_is_not_sent(
    scripted: ScriptedPage, page: Page, tmp_path: Path, axe: str
) -> None:
    scripted.process[:] = [error(401, "unauthorized", "No key."), picture]
    await page.drop(photo(tmp_path, "one.png"))
    await page.until(f"{STATES} === 'failed'")
    assert "This service needs an API key." in await page.run(PROBLEMS)
    assert await page.run("document.getElementById('key-details').open")
    assert await page.violations(axe) == []
    await page.run("key.value = 'schlüssel'; options.requestSubmit()")
    await page.until(f"{PROBLEMS}.includes('This cannot be an API key')")
    await page.run("key.value = 'sesame'; options.requestSubmit()")
    await page.until(f"{STATES} === 'done'")
    assert scripted.keys == [None, "sesame"]


async def test_what_cannot_be_sent_is_said_without_sending_it(
    scripted: ScriptedPage, page: Page, tmp_path: Path
) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "large.png").write_bytes(b"x" * 1_500_000)
    (tmp_path / "folder").mkdir()
    await page.drop(tmp_path / "empty.png", tmp_path / "large.png")
    await page.until(f"{STATES} === 'failed,failed'")
    assert await page.run(PROBLEMS) == (
        "This file is empty. Choose another picture.|"
        "This file is too large. It has 1.5 MB. The service takes 1.0 MB at most."
    )
    await page.drop(tmp_path / "folder")
    await page.until("refused.textContent.startsWith('A folder cannot be taken.')")
    await page.drop(text="https://example.org/picture.png")
    await page.until("refused.textContent.includes('a link or a text, not a picture')")
    assert scripted.seen["/process"] == 0


async def test_an_answer_that_is_no_picture_is_told_from_one(
    scripted: ScriptedPage, page: Page, tmp_path: Path
) -> None:
    async def portal(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(text="<h1>Sign in</h1>", content_type="text/html")

    scripted.process[:] = [portal, picture]
    await page.drop(photo(tmp_path, "one.png"))
    await page.until(f"{STATES} === 'failed'")
    assert "The answer is not a picture." in await page.run(PROBLEMS)
    await page.run("document.querySelector('[aria-label=\"Try again one.png\"]').focus()")
    await page.run("document.activeElement.click()")
    await page.until(f"{STATES} === 'done'")
    assert await page.run("document.activeElement.className") == "pick", "the focus stays in the row"


async def test_a_picture_can_be_cancelled_tried_again_and_removed(
    scripted: ScriptedPage, page: Page, tmp_path: Path, axe: str
) -> None:
    scripted.process[:] = [never, picture]
    await page.drop(photo(tmp_path, "one.png"), photo(tmp_path, "two.png"))
    await page.until(f"{STATES} === 'working,waiting'")
    assert await page.violations(axe) == []
    await page.press("[aria-label='Cancel one.png']")
    await page.until(f"{STATES} === 'cancelled,done'")
    await page.press("[aria-label='Try again one.png']")
    await page.until(f"{STATES} === 'done,done'")
    await page.press("[aria-label='Remove one.png']")
    assert await page.run(STATES) == "done"
    assert "two.png" in await page.run("document.activeElement.textContent")


async def test_a_service_that_cannot_start_says_so_and_keeps_the_details_folded(
    scripted: ScriptedPage, page: Page, tmp_path: Path, axe: str
) -> None:
    scripted.status.update(state="load_failed", status="error", message="Not warm: no weights in `X`")
    await page.drop(photo(tmp_path, "one.png"))
    await page.until("document.getElementById('status').textContent === 'Cannot start at the moment'")
    visible = await page.run("banners.innerText")
    assert "The service cannot start at the moment." in visible
    assert "no weights" not in visible
    assert "no weights" in await page.run("banners.textContent")
    assert await page.violations(axe) == []


async def test_a_frozen_service_does_not_stay_green(scripted: ScriptedPage, page: Page, axe: str) -> None:
    assert await page.run("document.getElementById('status').textContent") == "Ready"
    scripted.status_answer = never
    await page.until("document.getElementById('status').textContent === 'The service does not answer'")
    assert await page.violations(axe) == []
    scripted.status_answer = None
    await page.until("document.getElementById('status').textContent === 'Ready'")


async def test_the_divider_is_where_the_pointer_is_and_keys_zoom(
    scripted: ScriptedPage, page: Page, tmp_path: Path
) -> None:
    await page.drop(photo(tmp_path, "one.png", (40, 30)), photo(tmp_path, "two.png", (40, 30)))
    await page.until(f"{STATES} === 'done,done' && !compare.classList.contains('waiting')")
    left, width = await page.run("(({left, width}) => [left, width])(compare.getBoundingClientRect())")
    middle = await page.run("(({top, height}) => top + height / 2)(compare.getBoundingClientRect())")
    await page.run("compare.scrollIntoView({block: 'center'})")
    middle = await page.run("(({top, height}) => top + height / 2)(compare.getBoundingClientRect())")
    x = round(left + width / 3)
    for event in ("mousePressed", "mouseReleased"):
        await page.call("Input.dispatchMouseEvent", type=event, x=x, y=middle, button="left", clickCount=1)
    divider = (
        "(({left, width}) => left + width / 2)(document.querySelector('.divider').getBoundingClientRect())"
    )
    assert abs(await page.run(divider) - x) < 1
    await page.run("slider.focus()")
    for key in ("+", "+"):
        await page.call("Input.dispatchKeyEvent", type="keyDown", key=key, text=key)
    assert await page.run("compare.style.getPropertyValue('--zoom')") == "2.25"
    await page.run("document.querySelectorAll('.pick')[1].click()")
    await page.until("compare.style.getPropertyValue('--split') === '50%'")
    assert await page.run("compare.style.getPropertyValue('--zoom')") == "1"


async def test_the_result_can_be_copied_and_saved_under_the_name_of_what_it_is(
    scripted: ScriptedPage, page: Page, tmp_path: Path
) -> None:
    await page.call("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
    await page.drop(photo(tmp_path, "one.png"))
    await page.until(f"{STATES} === 'done' && !copy.hidden")
    await page.press("#copy")
    await page.until("announcements.textContent.includes('The result was copied.') || !refused.hidden")
    assert await page.run("refused.hidden"), await page.run("refused.textContent")
    await page.run(choose("background", "picture"))
    await page.press("#download")
    await page.until("refused.textContent.includes('Choose a background picture first.')")
    await page.run(choose("background", "mask") + ";" + choose("format", "jpeg"))
    await page.press("#download")
    await until((tmp_path / "one-mask.jpg").exists)


async def test_pictures_wait_while_the_visitor_is_offline(
    scripted: ScriptedPage, page: Page, tmp_path: Path, axe: str
) -> None:
    network = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    await page.call("Network.emulateNetworkConditions", offline=True, **network)
    await page.until("document.getElementById('status').textContent === 'You are offline'")
    await page.drop(photo(tmp_path, "one.png"))
    await page.until("document.body.innerText.includes('Waits until you are online')")
    assert await page.violations(axe) == []
    await page.call("Network.emulateNetworkConditions", offline=False, **network)
    await page.until(f"{STATES} === 'done'")
    assert scripted.seen["/process"] == 1


async def test_the_progress_of_an_upload_is_shown_and_the_end_is_announced(
    scripted: ScriptedPage, page: Page, tmp_path: Path, axe: str
) -> None:
    (tmp_path / "noise.jpg").write_bytes(random.Random(1).randbytes(400_000))
    slow = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": 100_000}
    await page.call("Network.emulateNetworkConditions", offline=False, **slow)
    await page.drop(tmp_path / "noise.jpg")
    await page.until("/Sending, [1-9]\\d? %/.test(document.querySelector('.picture').innerText)")
    assert 0 < await page.run("document.querySelector('.picture progress').value") < 1
    assert await page.violations(axe) == []
    await page.until("announcements.textContent.includes('noise.jpg is done. All pictures are finished.')")
    assert await page.run("compare.classList.contains('single')"), "the original cannot be shown"


async def test_reverse_blurred_and_hard_edges_are_composed_without_a_request(
    scripted: ScriptedPage, page: Page, tmp_path: Path
) -> None:
    await page.drop(photo(tmp_path, "one.png", (40, 30)))
    await page.until(f"{STATES} === 'done' && {colour_at(0.5, 0.5)}.endsWith(',128')")
    await page.run("hard.click(); threshold.value = 0.6; " + choose("background", "white"))
    await page.until(f"{colour_at(0.5, 0.5)} === '255,255,255,255'")
    await page.run("threshold.value = 0.4; " + choose("background", "mask"))
    await page.until(f"{colour_at(0.5, 0.5)} === '255,255,255,255'")
    assert await page.run("after.ariaLabel") == "The mask of the photo"
    await page.run("hard.click(); reverse.click(); " + choose("background", "transparent"))
    await page.until(f"{colour_at(0.5, 0.5)}.endsWith(',127')")
    await page.run("reverse.click(); " + choose("background", "blurred"))
    await page.until(f"{colour_at(0.5, 0.5)}.endsWith(',255')")
    assert scripted.seen["/process"] == 1

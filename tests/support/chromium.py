"""A real Chromium that tests drive, through the DevTools protocol: https://chromedevtools.github.io/devtools-protocol/.

Tests of the page use the fixture ``browser`` and open pages in it. Every page has cookies, cache and storage of its
own, and collects its requests and its errors. The browser must end with its tests.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, ClientWebSocketResponse

from tests.support.programs import Program, program
from tests.support.waiting import wait_until

Json = dict[str, Any]


class Page:
    """One tab. ``requests`` has (method, URL) of every request, ``errors`` what its console says went wrong."""

    def __init__(self, socket: ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = count(1)
        self._answers: dict[int, asyncio.Future[Json]] = {}
        self.session: str | None = None
        self.requests: list[tuple[str, str]] = []
        self.errors: list[str] = []

    async def receive(self) -> None:
        """Read what the browser says, until the connection ends."""
        async for message in self._socket:
            data = json.loads(message.data)
            if (answer := self._answers.pop(data.get("id"), None)) is not None:
                answer.set_result(data)
            else:
                self._note(data.get("method", ""), data.get("params", {}))

    def _note(self, event: str, params: Json) -> None:
        if event == "Network.requestWillBeSent":
            self.requests.append((params["request"]["method"], params["request"]["url"]))
        elif event == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(params["exceptionDetails"]))
        elif event == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.errors.append(params["entry"]["text"])

    async def call(self, method: str, **params: Any) -> Json:
        """Call a method of the protocol.

        Raises:
            RuntimeError: the browser refuses; the text is its own.
        """
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        session = {} if self.session is None else {"sessionId": self.session}
        await self._socket.send_json({"id": number, "method": method, "params": params, **session})
        async with asyncio.timeout(60):
            data = await answer
        if "error" in data:
            raise RuntimeError(f"{method}: {data['error']['message']}")
        result: Json = data["result"]
        return result

    async def run(self, script: str) -> Any:
        """The value of an expression in the page; a promise is waited for.

        Raises:
            AssertionError: it threw.
        """
        result = await self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    async def until(self, script: str, *, seconds: float = 40) -> None:
        """Wait until an expression in the page is true."""
        try:
            async with asyncio.timeout(seconds):
                while not await self.run(script):
                    await asyncio.sleep(0.05)
        except TimeoutError as error:
            error.add_note(
                f"waited for: {script}\n{await self.run('document.body?.innerText')}\n{self.errors}"
            )
            raise

    async def open(self, url: str) -> None:
        """Go to an address, and wait until the page and its modules have run."""
        await self.call("Page.navigate", url=url)
        await self.until(f"document.readyState === 'complete' && location.href.startsWith({json.dumps(url)})")

    async def press(self, selector: str) -> None:
        """Click an element by script."""
        await self.run(f"document.querySelector({json.dumps(selector)}).click()")

    async def choose(self, selector: str, *files: Path) -> None:
        """Choose files in a file input, as a visitor does."""
        script = f"document.querySelector({json.dumps(selector)})"
        found = await self.call("Runtime.evaluate", expression=script)
        names = [str(file) for file in files]
        await self.call("DOM.setFileInputFiles", files=names, objectId=found["result"]["objectId"])

    async def type(self, text: str) -> None:
        """Type into the element that has the focus, and press Enter."""
        await self.call("Input.insertText", text=text)
        for event in ("keyDown", "keyUp"):
            await self.call(
                "Input.dispatchKeyEvent",
                type=event,
                key="Enter",
                code="Enter",
                text="\r",
                windowsVirtualKeyCode=13,
            )

    async def drop(self, *files: Path, text: str = "") -> None:
        """Drop files, folders or a text in the middle of the page, as from another program."""
        items = [{"mimeType": "text/plain", "data": text}] if text else []
        data = {"items": items, "files": [str(file) for file in files], "dragOperationsMask": 1}
        for event in ("dragEnter", "dragOver", "drop"):
            await self.call("Input.dispatchDragEvent", type=event, x=300, y=200, data=data)

    async def look(self, *, width: int = 1280, height: int = 900, zoom: float = 1, **features: str) -> None:
        """Set the window's size, the zoom, and what the visitor prefers (``prefers_color_scheme="dark"``)."""
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=round(width / zoom), height=round(height / zoom), deviceScaleFactor=zoom, mobile=False,
        )  # fmt: skip
        await self.call("Emulation.setScrollbarsHidden", hidden=True)
        wanted = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        await self.call("Emulation.setEmulatedMedia", features=wanted)

    async def screenshot(self, file: Path) -> None:
        """Write the whole page as PNG."""
        shot = await self.call("Page.captureScreenshot", captureBeyondViewport=True)
        await asyncio.to_thread(file.write_bytes, base64.b64decode(shot["data"]))

    async def violations(self, axe: str) -> list[str]:
        """What axe finds wrong for people with disabilities: rule and elements."""
        if not await self.run("'axe' in window"):
            await self.run(f"{axe}; true")
        found = await self.run(
            "axe.run().then(({violations}) => violations.flatMap(({id, nodes}) =>"
            " nodes.map(({target, failureSummary}) => `${id} ${target}: ${failureSummary}`)))"
        )
        assert isinstance(found, list)
        return found


class Browser(Program):
    """A headless Chromium with a profile of its own.

    Args:
        folder: for the profile and the log.
    """

    def __init__(self, folder: Path) -> None:
        self._port_file = folder / "profile" / "DevToolsActivePort"
        flags: Sequence[str] = (
            "--headless=new",
            "--no-sandbox",  # containers run tests as root
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--remote-debugging-port=0",
            f"--user-data-dir={folder / 'profile'}",
        )
        super().__init__([program("chromium"), *flags, "about:blank"], folder / "chromium.log")

    @property
    def address(self) -> str:
        """Of the DevTools protocol; waits until the browser has written it."""
        wait_until(lambda: self._port_file.is_file() and self._port_file.read_text().count("\n"), seconds=60,
                   what="Chromium wrote its port")  # fmt: skip
        port, path = self._port_file.read_text().split()
        return f"ws://127.0.0.1:{port}{path}"

    @asynccontextmanager
    async def page(self, *, downloads: Path | None = None) -> AsyncIterator[Page]:
        """A new tab in a context of its own; it closes with the block.

        Args:
            downloads: the folder for what the page saves.
        """
        address = await asyncio.to_thread(lambda: self.address)
        async with ClientSession() as client, client.ws_connect(address, max_msg_size=0) as socket:
            page = Page(socket)
            receiving = asyncio.create_task(page.receive())
            context = (await page.call("Target.createBrowserContext"))["browserContextId"]
            target = await page.call("Target.createTarget", url="about:blank", browserContextId=context)
            if downloads is not None:
                await page.call("Browser.setDownloadBehavior", behavior="allow", browserContextId=context,
                                downloadPath=str(downloads))  # fmt: skip
            attached = await page.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
            page.session = attached["sessionId"]
            for domain in ("Page", "Runtime", "Network", "Log"):
                await page.call(f"{domain}.enable")
            try:
                yield page
            finally:
                page.session = None
                with suppress(RuntimeError, TimeoutError, ConnectionError):
                    await page.call("Target.disposeBrowserContext", browserContextId=context)
                receiving.cancel()
                await asyncio.gather(receiving, return_exceptions=True)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser for the tests of one module."""
    browser = Browser(tmp_path_factory.mktemp("chromium"))
    browser.start()
    try:
        yield browser
    finally:
        browser.end()

"""The clients that people use for remove.bg, against this service: pictures arrive, and no error is taken for one."""

from __future__ import annotations

import asyncio
import base64
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

import pytest
from PIL import Image

from service.engines.protocol import DeviceError
from service.http.remote_picture import RemotePictures
from tests.conftest import once
from tests.support import removebg_clients
from tests.support.photos import encoded
from tests.support.remote_host import RemoteHost, Resolver
from tests.support.running_service import Service, Start
from tests.support.scripted_engine import Hold, ScriptedEngine

pytestmark = pytest.mark.process

KEY = "k" * 20
ADDRESS = "http://a.example/p.jpg"
PHOTO = encoded(600, 500, "JPEG")
BASE64 = base64.b64encode(PHOTO).decode()

Run = Callable[[str, Path], subprocess.CompletedProcess[str]]


@dataclass(frozen=True)
class Call:
    """One way in which a client is used.

    Attributes:
        code: with ``photo.jpg`` beside it; ``text.txt`` holds it in base64.
        result: the file with the picture that the client writes.
        size: of the picture; by default that of a preview, a quarter of a megapixel. None: it depends on the mask.
    """

    code: str
    result: str
    size: tuple[int, int] | None = (547, 456)


PYTHON = {
    "removebg, file": Call(
        "from removebg import RemoveBg; RemoveBg({key!r}, 'errors.log').remove_background_from_img_file('photo.jpg')",
        "photo.jpg_no_bg.png",
    ),
    "removebg, file, options": Call(
        "from removebg import RemoveBg\n"
        "RemoveBg({key!r}, 'errors.log').remove_background_from_img_file('photo.jpg', size='hd', bg_color='81d4fa')",
        "photo.jpg_no_bg.png",
        (600, 500),
    ),
    "removebg, base64": Call(
        "from removebg import RemoveBg\n"
        "RemoveBg({key!r}, 'errors.log').remove_background_from_base64_img(open('text.txt').read())",
        "no-bg.png",
    ),
    "removebg, address": Call(
        "from removebg import RemoveBg; RemoveBg({key!r}, 'errors.log').remove_background_from_img_url({address!r})",
        "no-bg.png",
    ),
    "remove-bg-api, file": Call(
        "from remove_bg_api import RemoveBg\n"
        "client = RemoveBg({key!r}); before = client.account.balance()\n"
        "assert before > 0 and client.account.free_api_calls() > 0 and client.account.get_balance_dict()['payg'] > 0\n"
        "client.remove_bg_file('photo.jpg', out_path='out.png', raw=False)\n"
        "assert client.account.balance() == before",
        "out.png",
    ),
    "remove-bg-api, bytes": Call(
        "from remove_bg_api import RemoveBg\n"
        "data = RemoveBg({key!r}).remove_bg_bytes(open('photo.jpg', 'rb').read(), size='full')\n"
        "open('out.png', 'wb').write(data)",
        "out.png",
        (600, 500),
    ),
    "remove-bg-api, base64": Call(
        "from remove_bg_api import RemoveBg\n"
        "RemoveBg({key!r}).remove_bg_base64(open('text.txt').read(), out_path='out.png', raw=False)",
        "out.png",
    ),
    "remove-bg-api, address": Call(
        "from remove_bg_api import RemoveBg\n"
        "RemoveBg({key!r}).remove_bg_url({address!r}, out_path='out.png', raw=False)",
        "out.png",
    ),
    "rembgpy, address": Call(
        "from rembgpy.bg import RemBg; RemBg({key!r}, 'errors.log').remove_img({address!r}, nfn='out.png')", "out.png"
    ),
    "rembgpy, address, options": Call(
        "from rembgpy.bg import RemBg\n"
        "RemBg({key!r}, 'errors.log').remove_img({address!r}, size='full', type='person', crop='10%', scale='80%', "
        "position='center', bg='white', bg_type='color', shadow=True, nfn='out.png')",
        "out.png",
        None,
    ),
    "rembgpy, base64": Call(
        "from rembgpy.bg import RemBg\n"
        "RemBg({key!r}, 'errors.log').remove_b64(open('text.txt').read(), size='auto', nfn='out.png')",
        "out.png",
        (600, 500),
    ),
    "removebgplus, file": Call(
        "from removebgplus import RemoveBg; RemoveBg({key!r}).remove_from_file('photo.jpg', 'out.png')",
        "out.png",
        (600, 500),
    ),
}  # fmt: skip

NPM = {
    "remove.bg, file": Call(
        """
        const { removeBackgroundFromImageFile } = require("remove.bg");
        removeBackgroundFromImageFile({ path: "photo.jpg", apiKey: {key!r}, outputFile: "out.png", size: "regular" })
          .then((result) => {
            const { resultWidth, creditsCharged, rateLimit, detectedType } = result;
            if (resultWidth !== "547" || creditsCharged !== "0" || rateLimit !== "17" || detectedType !== "other")
              throw new Error(JSON.stringify(result).slice(0, 500));
          }).catch((error) => { console.error(JSON.stringify(error), error); process.exit(3); });
        """,
        "out.png",
    ),
    "remove.bg, file, options": Call(
        """
        const { removeBackgroundFromImageFile } = require("remove.bg");
        removeBackgroundFromImageFile({ path: "photo.jpg", apiKey: {key!r}, outputFile: "out.png", size: "full",
          type: "person", crop: true, crop_margin: "5%", scale: "50%", position: "center", roi: "0% 0% 100% 100%",
          bg_color: "81d4faff", channels: "rgba", add_shadow: false })
          .catch((error) => { console.error(JSON.stringify(error)); process.exit(3); });
        """,
        "out.png",
        None,
    ),
    "remove.bg, base64": Call(
        """
        const { removeBackgroundFromImageBase64 } = require("remove.bg");
        const base64img = require("fs").readFileSync("text.txt", "utf8");
        removeBackgroundFromImageBase64({ base64img, apiKey: {key!r}, outputFile: "out.png", size: "full" })
          .catch((error) => { console.error(JSON.stringify(error)); process.exit(3); });
        """,
        "out.png",
        (600, 500),
    ),
    "remove.bg, address": Call(
        """
        const { removeBackgroundFromImageUrl } = require("remove.bg");
        removeBackgroundFromImageUrl({ url: {address!r}, apiKey: {key!r}, outputFile: "out.png" })
          .catch((error) => { console.error(JSON.stringify(error)); process.exit(3); });
        """,
        "out.png",
    ),
    "removebg-wrapper, file": Call(
        """require("removebg-wrapper").rbFromImageFile("photo.jpg", {key!r})""", "output.png", (600, 500)
    ),
    "removebg-wrapper, address": Call(
        """require("removebg-wrapper").rbFromImageUrl({address!r}, {key!r})""", "output-2.png", (600, 500)
    ),
}

CALLS: dict[str, tuple[str, Call]] = {
    **{name: ("python", call) for name, call in PYTHON.items()},
    **{name: ("npm", call) for name, call in NPM.items()},
}


@pytest.fixture
def clients(tmp_path: Path, shared_directory: Path) -> Callable[[Service, str], Path]:
    """A function that puts the clients of a kind, which speak to a service, into a directory with a photograph."""

    def clients(service: Service, kind: str) -> Path:
        address = str(service.client.make_url("/")).rstrip("/")
        if kind == "python":
            folder = removebg_clients.python_clients(tmp_path / "python", address)
        else:
            installed = shared_directory / "npm_clients"
            with once(installed) as missing:
                if missing:
                    removebg_clients.install_npm_clients(installed)
            folder = removebg_clients.npm_clients(installed, tmp_path / "npm", address)
        (folder / "photo.jpg").write_bytes(PHOTO)
        (folder / "text.txt").write_text(BASE64)
        return folder

    return clients


async def use(kind: str, call: Call, folder: Path, key: str = KEY) -> subprocess.CompletedProcess[str]:
    """Run a client to its end."""
    run: Run = removebg_clients.run_python if kind == "python" else removebg_clients.run_node
    code = dedent(call.code).replace("{key!r}", repr(key)).replace("{address!r}", repr(ADDRESS))
    return await asyncio.to_thread(run, code, folder)


def damage(folder: Path) -> None:
    """Put something else in the place of the photograph."""
    (folder / "photo.jpg").write_bytes(b"no picture")
    (folder / "text.txt").write_text(base64.b64encode(b"no picture").decode())


def from_host(host: RemoteHost) -> RemotePictures:
    resolver = Resolver()
    resolver.port = host.port
    return RemotePictures(("a.example",), resolver=resolver, allowed=lambda _: True)


@pytest.mark.parametrize(("kind", "call"), CALLS.values(), ids=CALLS)
async def test_a_client_gets_its_picture(
    start: Start, clients: Callable[[Service, str], Path], kind: str, call: Call
) -> None:
    async with RemoteHost({"/p.jpg": PHOTO}) as host:
        service = await start(api_keys=[KEY], remote_pictures=from_host(host))
        folder = await asyncio.to_thread(clients, service, kind)
        done = await use(kind, call, folder)
        assert done.returncode == 0, done.stderr
        assert not done.stderr, done.stderr
    with await asyncio.to_thread(Image.open, folder / call.result) as image:
        assert call.size in (image.size, None)


@pytest.mark.parametrize("status", [400, 403, 429, 503])
@pytest.mark.parametrize("kind", ["python", "npm"])
async def test_no_client_takes_an_error_for_a_picture(
    start: Start, clients: Callable[[Service, str], Path], kind: str, status: int
) -> None:
    engine, hold = ScriptedEngine(), Hold()
    async with RemoteHost({"/p.jpg": b"no picture"}) as host:
        service = await start(engine, api_keys=[KEY], queue_size=1, remote_pictures=from_host(host))
        folder = await asyncio.to_thread(clients, service, kind)
        fail_with(engine, hold, status)
        busy = []
        if status == 400:
            await asyncio.to_thread(damage, folder)
        if status == 429:
            headers = {"Content-Type": "application/octet-stream", "X-Api-Key": KEY}
            busy = [asyncio.create_task(service.post(PHOTO, headers=headers)) for _ in range(2)]
            await service.until(lambda: service.admission.full)
        for name, (of_kind, call) in CALLS.items():
            if of_kind != kind or (status == 503 and "address" in name):
                continue
            done = await use(kind, call, folder, key="wrong" if status == 403 else KEY)
            told = done.stderr + done.stdout
            assert done.returncode != 0 or "Error: " in told, name
            assert not await asyncio.to_thread((folder / call.result).exists), name
        assert (
            service.value("http_requests_total", method="POST", route="/v1.0/removebg", code=str(status)) > 0
        )
        hold.release.set()
        await asyncio.gather(*busy)


def fail_with(engine: ScriptedEngine, hold: Hold, status: int) -> None:
    def fail(_: object) -> None:
        raise DeviceError("lost", sticky=False)

    if status == 429:
        engine.on_infer = hold
    if status == 503:
        engine.on_infer = fail  # type: ignore[assignment]

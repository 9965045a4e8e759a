"""The programs of docs/recipes.md, run as they stand. The first request of each is refused; it must try again."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from service.http.remote_picture import RemotePictures
from tests.support.busy_proxy import busy_proxy
from tests.support.code_blocks import KEY, named_blocks, run, write_blocks
from tests.support.photos import encoded
from tests.support.remote_host import RemoteHost, Resolver
from tests.support.running_service import Start
from tests.support.service_process import Live, live

pytestmark = pytest.mark.process

BLOCKS = named_blocks("docs/recipes.md")
PHOTOS = ("it's one.jpg", 'a "two"\\.jpg', "same.jpg", "same.png", "deeper/same.jpg")
FOLDER = {f"cut-outs/{photo}.png": "PNG RGBA" for photo in PHOTOS}
RESULTS: dict[str, dict[str, str]] = {
    "cutout.sh": {"cutout.png": "PNG RGBA"},
    "product.sh": {"product.jpg": "JPEG RGB"},
    "folder.sh": FOLDER,
    "with_requests.py": {"yellow.webp": "WEBP RGB"},
    "with_httpx.py": FOLDER,
    "with_node.mjs": {"white.jpg": "JPEG RGB"},
    "cutout.php": {"white.jpg": "JPEG RGB"},
    "warm.cron": {},
}
"""Program -> the pictures that it writes, with format and mode."""

ELSEWHERE = {"cutout.mjs", "shop.html", "by_address.sh"}
"""What another program or test uses."""

INTERPRETERS = {"sh": ["sh", "-e"], "py": ["python"], "mjs": ["node"], "php": ["php"], "cron": ["sh", "-e"]}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with live(tmp_path_factory.mktemp("service"), api_keys=KEY) as service:
        yield service


def test_every_program_of_the_page_is_run() -> None:
    assert set(BLOCKS) == RESULTS.keys() | ELSEWHERE


@pytest.mark.parametrize("name", RESULTS)
def test_a_recipe_waits_for_a_busy_service_and_gets_its_pictures(
    service: Live, name: str, tmp_path: Path
) -> None:
    (tmp_path / "photo.jpg").write_bytes(encoded(60, 40, "JPEG"))
    (tmp_path / "photos/deeper").mkdir(parents=True)
    for photo in PHOTOS:
        (tmp_path / "photos" / photo).write_bytes(encoded(60, 40, "JPEG"))
    with busy_proxy(service.port) as proxy:
        write_blocks(BLOCKS, [name, "cutout.mjs"], tmp_path, proxy.url)
        if name.endswith(".cron"):
            *_, command = (tmp_path / name).read_text().split(maxsplit=5)
            (tmp_path / name).write_text(command)
        said = run([*INTERPRETERS[name.rpartition(".")[2]], name], tmp_path)
        assert proxy.requests == 1 + max(1, len(RESULTS[name]))
    assert said == ""
    for result, kind in RESULTS[name].items():
        with Image.open(tmp_path / result) as image:
            assert f"{image.format} {image.mode}" == kind


@pytest.mark.parametrize("name", ["folder.sh", "with_httpx.py"])
def test_a_picture_that_fails_is_named_with_the_reason_and_stops_no_other(
    service: Live, name: str, tmp_path: Path
) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/broken.jpg").write_text("no picture")
    (tmp_path / "photos/good.jpg").write_bytes(encoded(60, 40, "JPEG"))
    write_blocks(BLOCKS, [name], tmp_path, service.url)
    said = run([*INTERPRETERS[name.rpartition(".")[2]], name], tmp_path, code=1)
    assert said.count("\n") == 1
    assert "photos/broken.jpg: " in said
    assert "unsupported_type" in said
    assert [path.name for path in (tmp_path / "cut-outs").iterdir()] == ["good.jpg.png"]


async def test_a_picture_is_named_by_its_address_and_comes_in_base64(start: Start, tmp_path: Path) -> None:
    async with RemoteHost({"/photo.jpg": encoded(60, 40, "JPEG")}) as host:
        resolver = Resolver()
        resolver.port = host.port
        remote = RemotePictures(("images.example.com",), resolver=resolver, allowed=lambda _: True)
        service = await start(api_keys=[KEY], remote_pictures=remote)
        address = str(service.client.make_url("/")).rstrip("/")

        def use() -> bytes:
            write_blocks(BLOCKS, ["by_address.sh"], tmp_path, address)
            run(["sh", "-e", "by_address.sh"], tmp_path)
            return (tmp_path / "answer.json").read_bytes()

        answer = json.loads(await asyncio.to_thread(use))
    picture = Image.open(BytesIO(base64.b64decode(answer["data"]["result_b64"])))
    assert (picture.format, picture.mode, picture.size) == ("PNG", "RGBA", (60, 40))

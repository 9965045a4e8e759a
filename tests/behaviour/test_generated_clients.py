"""Clients that generators make of ``/openapi.json``: docs/generated-clients.md, run as it stands, once a generator."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.support.code_blocks import ADDRESS, KEY, named_blocks, run, write_blocks
from tests.support.photos import encoded
from tests.support.programs import ROOT, program
from tests.support.service_process import Live, live

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]

BLOCKS = named_blocks("docs/generated-clients.md")

EVERY_CONTRACT = """
import sys
from importlib import import_module
from io import BytesIO
from pathlib import Path

for path in sys.argv[1:]:
    import_module(path.removesuffix(".py").replace("/", "."))
print(len(sys.argv) - 1, "modules")

from cutout_client import AuthenticatedClient
from cutout_client.api.pictures import process, rembg, removebg
from cutout_client.models import ProcessFilesBody, RembgFilesBody, RemovebgFilesBody
from cutout_client.types import File

client = AuthenticatedClient(base_url="http://localhost:8080", token="my-key", timeout=90)


def picture():
    return File(BytesIO(Path("photo.jpg").read_bytes()), file_name="photo.jpg")


for called, body in (
    (process, ProcessFilesBody(image=picture(), crop=True, reverse=False)),
    (removebg, RemovebgFilesBody(image_file=picture(), crop=True, semitransparency=False)),
    (rembg, RembgFilesBody(file=picture(), om=True)),
):
    answer = called.sync_detailed(client=client, body=body)
    print(called.__name__.rpartition(".")[2], answer.status_code.value)
"""
"""Imports every module of the generated package, and sends flags to each contract, as Python spells them."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with live(tmp_path_factory.mktemp("service"), api_keys=KEY) as service:
        yield service


def prepare(folder: Path, service: Live, *names: str) -> None:
    write_blocks(BLOCKS, names, folder, service.url)
    (folder / "photo.jpg").write_bytes(encoded(60, 40, "JPEG"))
    (folder / "notes.txt").write_text("no picture")


def check(folder: Path, said: str) -> None:
    assert said == "ready inspyrenet\nphoto.jpg inspyrenet\nnotes.txt 415 unsupported_type\n"
    with Image.open(folder / "yellow.webp") as image:
        assert (image.format, image.mode, image.size) == ("WEBP", "RGB", (60, 40))


def test_a_generated_python_client_gets_pictures_typed_errors_and_the_state(
    service: Live, tmp_path: Path
) -> None:
    prepare(tmp_path, service, "config.yml", "generate-python.sh", "client.py")
    run(["sh", "-e", "generate-python.sh"], tmp_path)
    check(tmp_path, run(["python", "client.py"], tmp_path))
    (tmp_path / "every_contract.py").write_text(EVERY_CONTRACT.replace(ADDRESS, service.url))
    modules = [str(path.relative_to(tmp_path)) for path in tmp_path.glob("cutout_client/api/**/*.py")]
    said = run(["python", "every_contract.py", *modules], tmp_path)
    assert said == f"{len(modules)} modules\nprocess 200\nremovebg 200\nrembg 200\n"


def test_a_generated_typescript_client_gets_pictures_typed_errors_and_the_state(
    service: Live, tmp_path: Path
) -> None:
    program("node")
    prepare(tmp_path, service, "generate.mjs", "client.ts", "generate-typescript.sh")
    for file in ("package.json", "package-lock.json"):
        shutil.copy(ROOT / "tests/support/typescript_client" / file, tmp_path)
    script = tmp_path / "generate-typescript.sh"
    # The lock file names the versions, which npm install would choose anew.
    locked = "npm ci --ignore-scripts --no-audit --no-fund"
    first, *rest = script.read_text().splitlines()
    assert first.startswith("npm install ")
    script.write_text("\n".join([locked, *rest]))
    said = run(["sh", "-e", script.name], tmp_path, seconds=200)
    check(tmp_path, said[said.index("ready") :])

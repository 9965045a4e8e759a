"""``POST /v1.0/removebg``: which picture a request means, and the answer that remove.bg's clients read.

``app`` gives it to a ``PictureHandler``. The picture comes as a file, in base64 or by its address; exactly one of them.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping

from aiohttp import hdrs, web

from service.errors import BadAddress, DownloadFailed
from service.http.picture_request import Asked, PictureRequest, picture_response
from service.http.remote_picture import RemotePictures
from service.http.removebg import fields, reading
from service.http.removebg.errors import RemoveBgError
from service.http.removebg.reading import Received
from service.imaging.header import HEADER_BYTES, Header, read_header
from service.inference.pipeline import CutOut, EncodedPicture

PATH = "/v1.0/removebg"

MAX_PICTURE_BYTES = 22 * 1024 * 1024
"""Of each picture, as there."""

KIND = web.RequestKey("removebg_kind", str)
"""The kind of subject that the client named."""


_ZERO = re.compile(r"q\s*=\s*0(?:\.0{0,3})?")


class RemoveBg:
    """Reads requests to ``/v1.0/removebg`` and makes their answers.

    Args:
        max_upload_bytes: the service's own limit on pictures, which holds if it is lower than theirs.
        remote: fetches pictures by their address.
    """

    def __init__(self, *, max_upload_bytes: int, remote: RemotePictures) -> None:
        self._max_bytes = min(MAX_PICTURE_BYTES, max_upload_bytes)
        self._remote = remote

    def check_head(self, http: web.Request) -> None:
        """Check what needs no body."""
        reading.check_head(http, self._max_bytes)

    async def receive(self, request: PictureRequest) -> Asked:
        """Read the body, and get the pictures that it names."""
        received = await request.upload(
            lambda deadline: reading.read(request, deadline, max_picture_bytes=self._max_bytes)
        )
        given = {name: value.strip() for name, value in received.fields.items()}
        _check_sources(received, given)
        background_address = given.get(reading.BACKGROUND_ADDRESS, "")
        with_background = reading.BACKGROUND in received.pictures or bool(background_address)
        wanted = fields.parse(given, with_background=with_background)
        request.http[KIND] = wanted.kind
        image = await self._picture(request, received, given)
        background = received.pictures.get(reading.BACKGROUND)
        if background_address:
            background = await self._fetch(request, background_address, "bg_")
        return Asked(
            EncodedPicture(image),
            wanted.options,
            EncodedPicture(background) if background is not None else None,
        )

    async def _picture(self, request: PictureRequest, received: Received, given: Mapping[str, str]) -> bytes:
        if reading.PICTURE in received.pictures:
            return received.pictures.pop(reading.PICTURE)
        if not received.base64:
            return await self._fetch(request, given[reading.ADDRESS], "", request.header_read)
        text, received.base64 = received.base64, b""
        image = await request.beside_loop(lambda: reading.decode_base64(text, self._max_bytes))
        if (header := read_header(image[:HEADER_BYTES])) is not None:
            request.header_read(header)
        return image

    async def _fetch(
        self,
        request: PictureRequest,
        address: str,
        kind: str,
        on_header: Callable[[Header], None] = lambda _: None,
    ) -> bytes:
        try:
            return await request.fetch(self._remote, address, max_bytes=self._max_bytes, on_header=on_header)
        except BadAddress as error:
            raise RemoveBgError(f"invalid_{kind}image_url", error.message, reason=error.reason) from error
        except DownloadFailed as error:
            code = f"failed_{kind or 'image_'}download"
            raise RemoveBgError(code, error.message, reason=error.reason) from error

    async def render(self, request: PictureRequest, cut_out: CutOut) -> web.Response:
        """The picture itself, or JSON with the picture in base64 if the client accepts JSON."""
        response = await self._json(request, cut_out) if wants_json(request.http) else None
        if response is None:
            response = await picture_response(request, cut_out)
        width, height = cut_out.size
        response.headers["X-Width"], response.headers["X-Height"] = str(width), str(height)
        response.headers["X-Type"] = request.http[KIND]
        response.headers["X-Credits-Charged"] = "0"
        return response

    async def _json(self, request: PictureRequest, cut_out: CutOut) -> web.Response:
        left, top, width, height = cut_out.subject.box or (0, 0, 0, 0)

        def encode() -> bytes:
            data = {
                "result_b64": base64.b64encode(cut_out.body).decode(),
                "foreground_top": top,
                "foreground_left": left,
                "foreground_width": width,
                "foreground_height": height,
            }
            return json.dumps({"data": data}).encode()

        return web.Response(body=await request.beside_loop(encode), content_type="application/json")


def _check_sources(received: Received, given: Mapping[str, str]) -> None:
    """Exactly one picture, and at most one for the background.

    Raises:
        RemoveBgError: there are more, or there is none.
    """
    sources = (
        (reading.PICTURE in received.pictures) + bool(received.base64) + bool(given.get(reading.ADDRESS))
    )
    if sources > 1:
        raise reading.more_than_one(reading.PICTURE)
    if not sources:
        raise reading.missing_source()
    if reading.BACKGROUND in received.pictures and given.get(reading.BACKGROUND_ADDRESS):
        raise reading.more_than_one(reading.BACKGROUND)


def wants_json(http: web.Request) -> bool:
    """Whether the client names JSON among what it accepts; with the weight 0 it names what it does not accept."""
    for media_range in ",".join(http.headers.getall(hdrs.ACCEPT, [])).lower().split(","):
        name, *parameters = (part.strip() for part in media_range.split(";"))
        if name == reading.JSON and not any(_ZERO.fullmatch(parameter) for parameter in parameters):
            return True
    return False

"""``/api/remove``: the contract of rembg's server, so that its callers need another address and no more.

``app`` gives both contracts to a ``PictureHandler``. What only makes sense for rembg's own networks is accepted and not
applied, and the answer says so in ``X-Ignored-Parameters``. Docs/rembg.md lists all of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from aiohttp import web

from service.errors import BadParameter
from service.http import body
from service.http.picture_request import Asked, PictureRequest, picture_response
from service.http.remote_picture import RemotePictures
from service.imaging.options import Options, Output
from service.inference.pipeline import CutOut, EncodedPicture

PATH = "/api/remove"

NOT_APPLIED: Final = ("model", "a", "af", "ab", "ae", "extras", "dc", "vm")
"""Parameters that are accepted and change nothing: the choice of a network, alpha matting, and so on."""

IGNORED_HEADER = "X-Ignored-Parameters"

HARD_THRESHOLD = 0.5
"""``ppm``: rembg smooths the outline of its mask and makes it hard. Here the mask is made hard."""

_IGNORED = web.RequestKey("rembg_ignored", str)
_COLOUR = re.compile(r"\s*([0-9]{1,3})\s*,\s*([0-9]{1,3})\s*,\s*([0-9]{1,3})\s*,\s*([0-9]{1,3})\s*")
_YES, _NO = (
    frozenset({"true", "1", "yes", "on", "t", "y"}),
    frozenset({"false", "0", "no", "off", "f", "n", ""}),
)


def parse(given: Mapping[str, str]) -> Options:
    """Read the parameters; unknown ones are ignored, as there.

    Raises:
        BadParameter: a value is wrong.
    """
    if _flag(given, "om"):
        return Options(output=Output.MASK, threshold=HARD_THRESHOLD if _flag(given, "ppm") else None)
    threshold = HARD_THRESHOLD if _flag(given, "ppm") else None
    colour = given.get("bgc", "").strip()
    if not colour:
        return Options(threshold=threshold)
    found = _COLOUR.fullmatch(colour)
    red, green, blue, opacity = map(int, found.groups()) if found is not None else (256,) * 4
    if max(red, green, blue, opacity) > 255:
        raise BadParameter(
            "bgc must be four numbers from 0 to 255: red, green, blue, opacity. For instance 255,255,255,255."
        )
    if opacity == 0:
        return Options(threshold=threshold)
    return Options(
        output=Output.COLOUR,
        colour=(red, green, blue),
        opacity=opacity,
        threshold=threshold,
        clean_edges=True,
    )


def _flag(given: Mapping[str, str], name: str) -> bool:
    value = given.get(name, "").strip().lower()
    if value not in _YES | _NO:
        raise BadParameter(f"{name} must be true or false.")
    return value in _YES


class Rembg:
    """Reads ``POST /api/remove``: a form with a part ``file``, or the bytes of a picture.

    Args:
        max_upload_bytes: of a picture.
    """

    def __init__(self, *, max_upload_bytes: int) -> None:
        self._max_upload_bytes = max_upload_bytes

    def check_head(self, http: web.Request) -> None:
        """Check what needs no body."""
        parse(http.query)
        body.check_headers(http, self._max_upload_bytes)

    async def receive(self, request: PictureRequest) -> Asked:
        """Read the body."""
        received = await request.read_body(self._max_upload_bytes, strict=False)
        return _asked(request.http, received.image, [*request.http.query.items(), *received.fields])

    async def render(self, request: PictureRequest, cut_out: CutOut) -> web.Response:
        """The picture, and what was not applied."""
        return await _answer(request, cut_out)


class RembgByAddress:
    """Reads ``GET /api/remove?url=``.

    Args:
        max_upload_bytes: of a picture.
        remote: fetches pictures by their address.
    """

    def __init__(self, *, max_upload_bytes: int, remote: RemotePictures) -> None:
        self._max_upload_bytes = max_upload_bytes
        self._remote = remote

    def check_head(self, http: web.Request) -> None:
        """Check the parameters."""
        parse(http.query)
        if not http.query.get("url"):
            raise BadParameter("Name the picture's address as url, or POST the picture.")
        self._remote.check(http.query["url"])

    async def receive(self, request: PictureRequest) -> Asked:
        """Fetch the picture."""
        http = request.http
        image = await request.fetch(
            self._remote, http.query["url"], max_bytes=self._max_upload_bytes, on_header=request.header_read
        )
        return _asked(http, EncodedPicture(image), http.query.items())

    async def render(self, request: PictureRequest, cut_out: CutOut) -> web.Response:
        """The picture, and what was not applied."""
        return await _answer(request, cut_out)


def _asked(http: web.Request, image: EncodedPicture, pairs: Iterable[tuple[str, str]]) -> Asked:
    given = dict(pairs)
    http[_IGNORED] = ", ".join(name for name in NOT_APPLIED if name in given)
    return Asked(image, parse(given))


async def _answer(request: PictureRequest, cut_out: CutOut) -> web.Response:
    response = await picture_response(request, cut_out)
    if request.http[_IGNORED]:
        response.headers[IGNORED_HEADER] = request.http[_IGNORED]
    return response

"""``POST /process``: the service's own contract. A picture in, a cut-out out.

``app`` gives it to a ``PictureHandler``, which knows how a picture comes through HTTP.
"""

from __future__ import annotations

from aiohttp import web

from service.http import body, parameters
from service.http.picture_request import Asked, PictureRequest, picture_response


class Process:
    """Reads requests to ``/process`` and makes their answers.

    Args:
        max_upload_bytes: of the pictures of a request.
    """

    def __init__(self, *, max_upload_bytes: int) -> None:
        self._max_upload_bytes = max_upload_bytes

    def check_head(self, http: web.Request) -> None:
        """Check what needs no body."""
        if not body.is_multipart(http):  # the fields of a form may complete what the query says
            parameters.check_background(parameters.parse(http.query.items()), given=False)
        body.check_headers(http, self._max_upload_bytes)

    async def receive(self, request: PictureRequest) -> Asked:
        """Read the body."""
        received = await request.read_body(self._max_upload_bytes)
        options = parameters.parse([*request.http.query.items(), *received.fields])
        parameters.check_background(options, given=received.background is not None)
        return Asked(received.image, options, received.background)

    render = staticmethod(picture_response)

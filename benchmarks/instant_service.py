"""The service with an engine and codecs that return at once, or a bare aiohttp handler.

``plumbing`` starts it as ``python -m benchmarks.instant_service service|bare|bare-read``; it listens on
``INSPYRENET_PORT``. Everything except the engine and the codecs must be the real service.
"""

from __future__ import annotations

import asyncio
import io
import os
import sys
from functools import partial
from unittest import mock

import numpy as np
from aiohttp import web

ANSWER = bytes(1_000_000)


def bare(*, read: bool) -> None:
    """One handler and nothing around it.

    Args:
        read: take the body by ``request.read()``, and not piece by piece as the service does.
    """

    async def handler(request: web.Request) -> web.Response:
        if read:
            await request.read()
        else:
            body = io.BytesIO()
            while piece := await request.content.readany():
                body.write(piece)
            body.getvalue()
        return web.Response(body=ANSWER, content_type="image/png")

    async def live(_: web.Request) -> web.Response:
        return web.Response(text="ok")

    app = web.Application(client_max_size=1 << 26)
    app.router.add_post("/process", handler)
    app.router.add_get("/livez", live)
    app.router.add_post("/warmup", live)
    web.run_app(app, host="127.0.0.1", port=int(os.environ["INSPYRENET_PORT"]), print=None, access_log=None)


def service() -> None:
    """Run the real service with an engine and codecs that return at once."""
    from service.app import create_app
    from service.engines.protocol import RGB, Alpha, Mask
    from service.engines.u2netp.engine import U2netpEngine
    from service.imaging import compose, decode, encode
    from service.imaging.picture import Picture
    from service.server import serve, start_tracing
    from service.settings_reader import load_settings
    from service.startup import configure_libraries
    from service.tracing.requested import traces_requested
    from service.tracing.spans import OFF

    configure_libraries()
    pixels = np.zeros((64, 64, 3), np.uint8)
    alpha = np.tile(np.linspace(0, 1, 64, dtype=np.float32), (64, 1))
    decode_real, encode_real, compose_real = decode.decode, encode.encode, compose.compose

    class InstantEngine(U2netpEngine):
        def infer(self, image: RGB) -> Mask:
            return Mask(
                alpha if image.shape[:2] == alpha.shape else np.zeros(image.shape[:2], np.float32), 1.0
            )

        def foreground(self, image: RGB, alpha: Alpha) -> RGB:  # noqa: ARG002 - the protocol
            return image

    def decode_at_once(data: bytes, **options: int) -> Picture:
        return Picture(pixels) if len(data) > 100_000 else decode_real(data, **options)

    def encode_at_once(*given: object, **more: object) -> bytes:
        return ANSWER if given[0] is pixels else encode_real(*given, **more)  # type: ignore[arg-type]

    def compose_at_once(picture: Picture, *given: object, **more: object) -> object:
        return pixels if picture.rgb is pixels else compose_real(picture, *given, **more)  # type: ignore[arg-type]

    with (
        mock.patch.object(decode, "decode", decode_at_once),
        mock.patch.object(encode, "encode", encode_at_once),
        mock.patch.object(compose, "compose", compose_at_once),
    ):
        settings, _ = load_settings({}, os.environ)
        engine = InstantEngine()
        make_tracer = start_tracing if traces_requested(os.environ) else (lambda _: OFF)
        make_app = partial(create_app, engine=engine, make_tracer=make_tracer)
        sys.exit(asyncio.run(serve(settings, make_app=make_app)))


if __name__ == "__main__":
    if sys.argv[1] == "service":
        service()
    else:
        bare(read=sys.argv[1] == "bare-read")

"""An answer that is sent before the body has been read to its end never spoils the connection.

What follows on the connection gets its own right answer, or the client sees that the connection is closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.examples import examples
from tests.support.photos import encoded
from tests.support.raw_http import Answer, chunked, head, read_answer
from tests.support.running_service import Service, Start

SILENCE = 15.0
"""Seconds after which a client would give up; every answer here takes milliseconds."""

PICTURE = encoded(8, 8)
PART = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n'
FORM = PART + b"\r\n" + PICTURE + b"\r\n--x--\r\n"
NEXT = head(None, "X-Request-Id: next", path="/livez", method="GET")


def form_head(body: bytes, *, boundary: str = "; boundary=x") -> bytes:
    return head(len(body), f"Content-Type: multipart/form-data{boundary}")


FOLDED = FORM.replace(b"; filename", b";\r\n filename")
CHARSET = b'--x\r\nContent-Disposition: form-data; name="_charset_"\r\n\r\n' + b"u" * 40 + b"\r\n" + FORM

MALFORMED_FORMS = {
    "no boundary": form_head(FORM, boundary="") + FORM,
    "a boundary of 71 characters": form_head(FORM, boundary="; boundary=" + "x" * 71) + FORM,
    "a folded part header": form_head(FOLDED) + FOLDED,
    "a long _charset_ field": form_head(CHARSET) + CHARSET,
    "a form of megabytes without its boundary": form_head(bytes(3_000_000)) + bytes(3_000_000),
}


@dataclass(frozen=True)
class Reaction:
    """What a client saw after it sent a request and then, on the same connection, ``NEXT``."""

    answers: list[Answer]
    closed: bool
    """The service ended the connection."""


async def react(service: Service, segments: Sequence[bytes], *, bodies: bool = True) -> Reaction:
    """Send the segments one by one, then ``NEXT``; read until the answer to ``NEXT``, or the end of the connection.

    Raises:
        TimeoutError: neither came: the service is silent.
    """
    host, port = service.client.host, service.client.port
    reader, writer = await asyncio.open_connection(host, port, limit=1 << 24)
    answers: list[Answer] = []

    async def send() -> None:
        for segment in segments:
            writer.write(segment)
            await writer.drain()
            await asyncio.sleep(0.001)  # a segment of its own
        writer.write(NEXT)
        await writer.drain()

    sending = asyncio.create_task(send())
    try:
        async with asyncio.timeout(SILENCE):
            while (answer := await read_answer(reader, body=bodies)) is not None:
                answers.append(answer)
                if answer.headers.get("x-request-id") == "next":
                    return Reaction(answers, closed=False)
            return Reaction(answers, closed=True)
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        writer.transport.abort()


def cut(request: bytes, *at: int) -> list[bytes]:
    ends = sorted({0, len(request), *(place % (len(request) + 1) for place in at)})
    return [request[start:end] for start, end in pairwise(ends)]


def check(reaction: Reaction) -> None:
    """Each answer is whole, and the last one belongs to ``NEXT`` or announces the end of the connection."""
    assert reaction.answers, "the client learns why its request was refused"
    if not reaction.closed:
        assert reaction.answers[-1].status == 200
        assert reaction.answers[-1].body == b'{"status": "alive"}'
    assert len([answer for answer in reaction.answers if answer.status != 100]) <= 2


@pytest.mark.parametrize("name", MALFORMED_FORMS)
async def test_a_malformed_form_in_two_segments_does_not_silence_its_connection(
    start: Start, name: str
) -> None:
    service = await start()
    request = MALFORMED_FORMS[name]
    reaction = await react(service, cut(request, request.index(b"\r\n\r\n") + 60))
    check(reaction)
    assert reaction.answers[0].status in {200, 400}
    if reaction.closed:
        assert reaction.answers[-1].headers["connection"] == "close"


REFUSED: dict[str, bytes] = {
    **MALFORMED_FORMS,
    "400: parameter": head(len(PICTURE), path="/process?colour=red") + PICTURE,
    "400: empty": head(0),
    "404": head(len(PICTURE), path="/nothing") + PICTURE,
    "405": head(len(PICTURE), path="/process", method="PUT") + PICTURE,
    "401": head(len(FORM), "Content-Type: multipart/form-data; boundary=x", path="/process") + FORM,
    "413: declared": head(40_000_000) + bytes(200_000),
    "413: chunked": head(None, "Transfer-Encoding: chunked") + chunked(*[bytes(50_000)] * 20),
    "415: type": head(len(PICTURE), "Content-Type: text/plain") + PICTURE,
    "415: coding": head(len(PICTURE), "Content-Encoding: gzip") + PICTURE,
    "415: no picture": head(4) + b"junk",
    "417": head(4, "Expect: miracles", path="/warmup") + b"junk",
    "a GET with a body": head(len(PICTURE), path="/readyz", method="GET") + PICTURE,
    "a GET with chunks": head(None, "Transfer-Encoding: chunked", path="/", method="GET") + chunked(PICTURE),
    "a GET with broken chunks": head(None, "Transfer-Encoding: chunked", path="/", method="GET") + b"zz\r\n",
    "broken chunks": head(None, "Transfer-Encoding: chunked") + b"5\r\nab\r\nzz",
    "a preflight with a body": head(
        len(PICTURE), "Origin: https://x.example", "Access-Control-Request-Method: POST", method="OPTIONS"
    )
    + PICTURE,
    "Expect: refused": head(len(PICTURE), "Expect: 100-continue", path="/process?colour=red") + PICTURE,
    "Expect: accepted": head(len(PICTURE), "Expect: 100-continue") + PICTURE,
    "HTTP/1.0": (head(len(PICTURE), "Connection: keep-alive", path="/x") + PICTURE).replace(
        b"HTTP/1.1", b"HTTP/1.0", 1
    ),
    "no HTTP": b"hello\r\n\r\n",
    "a header without a colon": b"POST /process HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n" + PICTURE,
    "a header that is too long": b"GET / HTTP/1.1\r\nX: " + b"y" * 20_000 + b"\r\n\r\n",
    "CONNECT": b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\njunk",
    "an upgrade": head(4, "Connection: upgrade", "Upgrade: websocket", path="/livez", method="POST") + b"junk",
    "a picture": head(len(PICTURE)) + PICTURE,
    "a form": form_head(FORM) + FORM,
    "a form and an epilogue": form_head(FORM + b"e" * 3000) + FORM + b"e" * 3000,
    "a chunked form": head(
        None, "Content-Type: multipart/form-data; boundary=x", "Transfer-Encoding: chunked"
    )
    + chunked(FORM),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
async def test_every_answer_before_the_end_of_a_body_is_followed_by_a_right_one_or_by_the_end(
    start: Start, name: str
) -> None:
    options: dict[str, Any] = {"401": {"api_keys": ["k" * 16]}, "413: chunked": {"max_upload_bytes": 100_000}}
    service = await start(**options.get(name, {}))
    request = REFUSED[name]
    body_at = request.find(b"\r\n\r\n") + 4
    for segments in (
        [request],
        cut(request, body_at),
        cut(request, body_at + 3),
        cut(request, 10, body_at - 2, body_at + 1, len(request) - 1),
    ):
        check(await react(service, segments))


async def test_a_refused_request_cut_anywhere_never_silences_or_mixes_up_what_follows(start: Start) -> None:
    service = await start()
    loop = asyncio.get_running_loop()

    @given(
        name=st.sampled_from(sorted(set(REFUSED) - {"401"})),
        places=st.lists(st.integers(0, 1 << 22), max_size=6),
    )
    @settings(max_examples=examples(150), deadline=None, suppress_health_check=list(HealthCheck))
    def cut_anywhere(name: str, places: list[int]) -> None:
        reacting = react(service, cut(REFUSED[name], *places))
        check(asyncio.run_coroutine_threadsafe(reacting, loop).result())

    await asyncio.to_thread(cut_anywhere)
    assert (await service.post(PICTURE))[0] == 200
    await service.until(lambda: service.admission.taken == 0)

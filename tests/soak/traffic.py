"""The requests of the soak test, and the status that each of them must get."""

from __future__ import annotations

import asyncio
import collections
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import aiohttp

from tests.support.photos import encoded

LEFT = 0
"""Used instead of a status if the client disconnected before the answer."""

FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "BMP", "TIFF", "GIF")
SIZES = ((1, 1), (17, 23), (64, 48), (640, 480), (1, 2000), (1200, 900), (300, 1000))
QUERIES = ("", "?output=mask", "?output=white&format=jpeg", "?output=blur&format=webp", "?output=%23336699")


@dataclass(frozen=True, slots=True)
class Post:
    """One request to ``/process``."""

    body: bytes
    status: int
    """The status that the answer must have."""
    query: str = ""
    leaves: bool = False
    """The client disconnects in the middle of its upload."""


def small() -> Iterator[Post]:
    """Yield the same small photograph without end."""
    return itertools.repeat(Post(encoded(64, 48), 200))


def mixed() -> Iterator[Post]:
    """Yield every format, size and output in turn, mixed with bad requests and with clients that leave."""
    good = [
        Post(encoded(*size, file_format), 200, query)
        for (size, file_format), query in zip(
            itertools.product(SIZES, FORMATS), itertools.cycle(QUERIES), strict=False
        )
    ]
    photo = encoded(640, 480, "JPEG")
    bad = [
        Post(photo[: len(photo) // 2], 422),
        Post(b"\x89PNG\r\n\x1a\n" + bytes(500_000), 422),
        Post(b"this is no picture", 415),
        Post(b"", 400),
        Post(photo, 400, "?output=sideways"),
        Post(photo, LEFT, leaves=True),
    ]
    return itertools.cycle(
        [post for several in zip(*[iter(good)] * 8, strict=False) for post in (*several, *bad)]
    )


@dataclass
class Tally:
    """The results of a phase."""

    name: str
    sent: int = 0
    statuses: collections.Counter[int] = field(default_factory=collections.Counter)
    wrong_answers: list[str] = field(default_factory=list)
    seconds: float = 0.0


async def send(name: str, posts: Iterator[Post], count: int, *, url: str, clients: int) -> Tally:
    """Send ``count`` requests, ``clients`` at a time, and check the status of every answer."""
    tally = Tally(name)
    queue = itertools.islice(posts, count)
    began = time.monotonic()
    async with aiohttp.ClientSession(url, timeout=aiohttp.ClientTimeout(total=120)) as session:

        async def client() -> None:
            for post in queue:
                status = await (_leave(url, post) if post.leaves else _post(session, post))
                tally.sent += 1
                tally.statuses[status] += 1
                if status != post.status:
                    tally.wrong_answers.append(
                        f"{status} instead of {post.status} ({len(post.body)} bytes{post.query})"
                    )

        await asyncio.gather(*(client() for _ in range(clients)))
    tally.seconds = time.monotonic() - began
    return tally


async def _post(session: aiohttp.ClientSession, post: Post) -> int:
    headers = {"Content-Type": "application/octet-stream"}
    async with session.post(f"/process{post.query}", data=post.body, headers=headers) as response:
        body = await response.read()
        if response.status == 200 and not body:
            return -1
        return response.status


async def _leave(url: str, post: Post) -> int:
    host, port = url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    head = f"POST /process HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: {len(post.body)}\r\n\r\n"
    writer.write(head.encode() + post.body[: len(post.body) // 2])
    await writer.drain()
    await asyncio.sleep(0.02)  # without this pause the service might not see the request at all
    writer.transport.abort()
    return LEFT

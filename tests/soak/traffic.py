"""What a long run sends, and what every answer has to be."""

from __future__ import annotations

import asyncio
import collections
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import aiohttp

from tests.support.running_service import encoded

LEFT = 0
"""Stands for the status of a request whose client left before an answer."""

FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "BMP", "TIFF", "GIF")
SIZES = ((1, 1), (17, 23), (64, 48), (640, 480), (1, 2000), (1200, 900), (300, 1000))
WISHES = ("", "?output=mask", "?output=white&format=jpeg", "?output=blur&format=webp", "?output=%23336699")


@dataclass(frozen=True, slots=True)
class Post:
    """One request to ``/process``."""

    body: bytes
    status: int
    """What the answer has to be."""
    query: str = ""
    leaves: bool = False
    """The client hangs up in the middle of its upload."""


def small() -> Iterator[Post]:
    """The same small photograph for ever."""
    return itertools.repeat(Post(encoded(64, 48), 200))


def mixed() -> Iterator[Post]:
    """Every format, size and wish in turn, and among them what is refused and those who leave."""
    good = [
        Post(encoded(*size, format=format), 200, wish)
        for (size, format), wish in zip(
            itertools.product(SIZES, FORMATS), itertools.cycle(WISHES), strict=False
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
    """What came of a phase."""

    name: str
    sent: int = 0
    statuses: collections.Counter[int] = field(default_factory=collections.Counter)
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0


async def send(name: str, posts: Iterator[Post], count: int, *, url: str, clients: int) -> Tally:
    """Send that many requests, so many at a time, and look at every answer."""
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
                    tally.wrong.append(
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
    await asyncio.sleep(0.02)  # or the request might never be seen
    writer.transport.abort()
    return LEFT

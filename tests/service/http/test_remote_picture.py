"""A picture by its address: every known way to make the service connect to what it must not, and to make it wait.

A real server answers on a loopback port. The names of the tests' hosts resolve to it by an injected resolver, and the
injected rule allows that address and otherwise asks the real rule.
"""

from __future__ import annotations

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext, suppress
from io import BytesIO
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from service.errors import BadAddress, DownloadFailed, ServiceError, TooLarge
from service.http.public_addresses import is_public
from service.http.remote_picture import RemotePictures
from service.tracing.spans import Call, Span
from tests.support.remote_host import LOOPBACK, RemoteHost, Resolver

PICTURE = b"the bytes of a picture"


@asynccontextmanager
async def running(pictures: RemotePictures) -> AsyncIterator[RemotePictures]:
    async with pictures.run(web.Application()):
        yield pictures


@asynccontextmanager
async def host_with(
    answers: dict[str, Any],
    *,
    resolver: Resolver | None = None,
    hosts: tuple[str, ...] = ("a.example", "b.example"),
) -> AsyncIterator[tuple[RemotePictures, RemoteHost]]:
    """A host that answers these paths, and the way to it."""
    async with RemoteHost(answers) as host:
        resolver = resolver or Resolver()
        resolver.port = host.port
        pictures = RemotePictures(
            hosts, resolver=resolver, allowed=lambda address: str(address) == LOOPBACK or is_public(address)
        )
        async with running(pictures):
            yield pictures, host


async def test_a_picture_of_a_listed_host_is_fetched_with_nothing_of_the_client() -> None:
    async with host_with({"/p.png": PICTURE}) as (pictures, host):
        assert await pictures.fetch("http://A.example/p.png?v=1#top", max_bytes=100) == PICTURE
    (request,) = host.requests
    assert request.headers["Host"] == "a.example"
    assert request.headers["Accept-Encoding"] == "identity"
    assert request.query_string == "v=1"
    assert request.headers.keys() <= {"Host", "Accept", "Accept-Encoding", "User-Agent", "Connection"}


class TracedSpan(Span):
    """Hands out numbered calls, and notes what it is told of them."""

    def __init__(self) -> None:
        self.calls: list[dict[str, object]] = []

    def call(self, **asked: object) -> AbstractContextManager[Call]:
        call = Call()
        call.headers = {"traceparent": f"00-{'1' * 32}-{len(self.calls) + 1:016x}-01"}
        self.calls.append(asked)
        call.answered = lambda status: self.calls[-1].update(status=status)  # type: ignore[method-assign]
        return nullcontext(call)


async def test_every_request_to_a_host_is_a_call_of_its_own_in_the_trace() -> None:
    span = TracedSpan()
    moved = web.Response(status=302, headers={"Location": "http://b.example/p"})
    async with host_with({"/1": moved, "/p": PICTURE}) as (pictures, host):
        assert await pictures.fetch("http://a.example/1", max_bytes=100, span=span) == PICTURE
    assert [request.headers["traceparent"][-4] for request in host.requests] == ["1", "2"]
    asked = {"method": "GET", "scheme": "http", "port": 80}
    assert span.calls == [
        {**asked, "host": "a.example", "resend_count": 0, "status": 302},
        {**asked, "host": "b.example", "resend_count": 1, "status": 200},
    ]


async def test_without_a_list_of_hosts_nothing_is_fetched_and_nothing_runs() -> None:
    async with running(RemotePictures(())) as pictures:
        with pytest.raises(BadAddress, match="INSPYRENET_URL_HOSTS"):
            await pictures.fetch("http://a.example/p.png", max_bytes=100)


REFUSED = [
    "", "p.png", "/p.png", "a.example/p.png", "//a.example/p.png", "http://", "http:///p.png", "http:a.example",
    # other schemes
    "file:///etc/passwd", "ftp://a.example/p", "gopher://a.example/", "data:image/png;base64,AAAA", "ws://a.example/",
    "unix:///run/docker.sock", "javascript:alert(1)", "jar:http://a.example!/", "httpx://a.example/",
    # loopback in every spelling, and other machines of the network
    "http://127.0.0.1/", "http://127.1/", "http://127.0.1/", "http://2130706433/", "http://0x7f000001/",
    "http://0x7f.0.0.1/", "http://0177.0.0.1/", "http://017700000001/", "http://0/", "http://0.0.0.0/",
    "http://[::1]/", "http://[::]/", "http://[::ffff:127.0.0.1]/", "http://[::ffff:7f00:1]/", "http://[0:0:0:0:0:0:0:1]/",
    "http://[::1%25lo]/", "http://[fe80::1%25eth0]/", "http://localhost/", "http://LOCALHOST/", "http://localhost./",
    "http://127.0.0.1.nip.io/", "http://169.254.169.254/latest/meta-data/", "http://metadata.google.internal/",
    "http://\uff11\uff12\uff17.\uff10.\uff10.\uff11/", "http://\u2460\u2461\u2466.0.0.1/",
    # not quite the listed host
    "http://a.example./p", "http://a.example../p", "http://x.a.example/p", "http://a.example.evil.test/p",
    "http://evil.test/a.example", "http://evil.test?a.example", "http://evil.test#a.example", "http://aexample/",
    "http://a.example%00.evil.test/", "http://a.example%2eevil.test/", "http://a.example%2f@evil.test/",
    # credentials, and tricks with them
    "http://user@a.example/p", "http://user:password@a.example/p", "http://:@a.example/p",
    "http://a.example@evil.test/p", "http://a.example:80@evil.test/p", "http://evil.test\\@a.example/p",
    "http://a.example\\@evil.test/p", "http://a.example:b@evil.test:80/p",
    # ports
    "http://a.example:22/p", "http://a.example:8080/p", "https://a.example:80/p", "http://a.example:443/p",
    "http://a.example:0/p", "http://a.example:65536/p", "http://a.example:-1/p", "http://a.example:x/p",
    # characters that parsers disagree about
    "http://a.example/p q", " http://a.example/p", "http://a.example/p\n", "http://a.example/\r\nHost: evil.test\r\n",
    "http://a.example\t/p", "http://a.example/\x00", "http://[a.example/", "http://" + "a" * 3000,
]  # fmt: skip


@pytest.mark.parametrize("address", REFUSED)
async def test_an_address_that_is_not_plainly_of_a_listed_host_is_refused_without_a_look_up(
    address: str,
) -> None:
    resolver = Resolver()
    async with host_with({}, resolver=resolver) as (pictures, host):
        with pytest.raises(BadAddress) as refused:
            await pictures.fetch(address, max_bytes=100)
    assert (resolver.asked, host.requests) == ([], [])
    assert refused.value.message.count("evil") == 0, "an error quotes no address"


OF_ONE_HOST = RemotePictures(("a.example",))


@given(address=st.text(max_size=60) | st.from_regex(r"https?://[a-z.@:\[\]%0-9/\\#?]{0,30}", fullmatch=True))
def test_no_text_makes_the_check_fail_in_another_way_or_let_another_host_through(address: str) -> None:
    try:
        url = OF_ONE_HOST.check(address)
    except BadAddress:
        return
    assert (url.host, url.user, url.password) == ("a.example", None, None)
    assert (url.scheme, url.port) in (("http", 80), ("https", 443))


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.2"], ["10.0.0.1"], ["169.254.169.254"], ["::1"], ["::ffff:1.1.1.1"], ["fe80::1%2"], ["224.0.0.1"],
        ["240.0.0.1"], ["1.1.1.1", "10.0.0.1"], ["10.0.0.1", "1.1.1.1"], ["1.1.1.1", "::1"],
    ],
)  # fmt: skip
async def test_a_listed_name_with_an_address_inside_is_refused_as_a_whole(addresses: list[str]) -> None:
    async with host_with({}, resolver=Resolver({"a.example": [addresses]})) as (pictures, host):
        with pytest.raises(BadAddress, match="not on the public internet"):
            await pictures.fetch("http://a.example/p", max_bytes=100)
    assert host.requests == []


async def test_a_name_that_changes_its_mind_is_connected_to_where_it_was_checked() -> None:
    resolver = Resolver({"a.example": [[LOOPBACK], ["10.0.0.1"]]})
    async with host_with({"/p": PICTURE}, resolver=resolver) as (pictures, host):
        assert await pictures.fetch("http://a.example/p", max_bytes=100) == PICTURE
        assert resolver.asked == ["a.example"], "looked up once"
        with pytest.raises(BadAddress):
            await pictures.fetch("http://a.example/p", max_bytes=100)
    assert len(host.requests) == 1


async def test_a_name_that_changes_its_mind_between_redirects_is_checked_anew() -> None:
    resolver = Resolver({"a.example": [[LOOPBACK], ["127.0.0.2"]]})
    async with host_with({"/1": web.HTTPFound("/2"), "/2": PICTURE}, resolver=resolver) as (pictures, host):
        with pytest.raises(BadAddress):
            await pictures.fetch("http://a.example/1", max_bytes=100)
    assert (len(resolver.asked), len(host.requests)) == (2, 1)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_to_a_listed_host_is_followed(status: int) -> None:
    moved = web.Response(status=status, headers={"Location": "http://b.example/p"})
    async with host_with({"/1": moved, "/p": PICTURE}) as (pictures, host):
        assert await pictures.fetch("http://a.example/1", max_bytes=100) == PICTURE
    assert [request.headers["Host"] for request in host.requests] == ["a.example", "b.example"]
    assert "Referer" not in host.requests[1].headers


@pytest.mark.parametrize(
    "target",
    [
        "http://127.0.0.1/", "http://[::1]/", "//localhost/", "http://169.254.169.254/", "file:///etc/passwd",
        "http://evil.test/", "http://a.example:22/", "http://u:p@a.example/", "gopher://a.example/", "http://2130706433/",
        "\\\\evil.test", "http://a.example./", "ftp://a.example/",
    ],
)  # fmt: skip
async def test_a_redirect_is_checked_as_the_first_address_is(target: str) -> None:
    moved = web.Response(status=302, headers={"Location": target})
    async with host_with({"/1": moved}) as (pictures, host):
        with pytest.raises(BadAddress):
            await pictures.fetch("http://a.example/1", max_bytes=100)
    assert len(host.requests) == 1


async def test_three_redirects_are_followed_and_no_fourth() -> None:
    moves: dict[str, Any] = {
        f"/{n}": web.Response(status=302, headers={"Location": f"/{n + 1}"}) for n in range(4)
    }
    async with host_with(moves | {"/4": PICTURE}) as (pictures, host):
        assert await pictures.fetch("http://a.example/1", max_bytes=100) == PICTURE
        assert len(host.requests) == 4
        with pytest.raises(DownloadFailed, match="more than 3 redirects"):
            await pictures.fetch("http://a.example/0", max_bytes=100)
        assert len(host.requests) == 8


async def test_a_redirect_without_a_target_fails() -> None:
    async with host_with({"/1": web.Response(status=302)}) as (pictures, _):
        with pytest.raises(ServiceError):
            await pictures.fetch("http://a.example/1", max_bytes=100)


@pytest.mark.parametrize("status", [204, 206, 300, 304, 400, 403, 404, 500])
async def test_any_other_status_is_told(status: int) -> None:
    async with host_with({"/p": web.Response(status=status)}) as (pictures, _):
        with pytest.raises(DownloadFailed, match=str(status)):
            await pictures.fetch("http://a.example/p", max_bytes=100)


async def test_an_empty_file_fails() -> None:
    async with host_with({"/p": b""}) as (pictures, _):
        with pytest.raises(DownloadFailed, match="empty"):
            await pictures.fetch("http://a.example/p", max_bytes=100)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "gzip, identity", "unknown"])
async def test_a_compressed_body_is_never_opened(coding: str) -> None:
    bomb = web.Response(body=gzip.compress(bytes(10_000_000)), headers={"Content-Encoding": coding})
    async with host_with({"/p": bomb}) as (pictures, _):
        with pytest.raises(DownloadFailed, match="compressed"):
            await pictures.fetch("http://a.example/p", max_bytes=100_000)


async def test_a_body_at_the_limit_passes_and_one_over_it_ends() -> None:
    async with host_with({"/at": bytes(100), "/over": bytes(101)}) as (pictures, _):
        assert await pictures.fetch("http://a.example/at", max_bytes=100) == bytes(100)
        with pytest.raises(TooLarge):
            await pictures.fetch("http://a.example/over", max_bytes=100)


async def test_an_endless_body_without_a_length_ends_at_the_limit() -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        with suppress(ConnectionError):
            while True:
                await response.write(bytes(65536))
                await asyncio.sleep(0)
        return response

    async with host_with({"/p": endless}) as (pictures, _):
        with pytest.raises(TooLarge):
            await pictures.fetch("http://a.example/p", max_bytes=1_000_000)


@pytest.mark.parametrize("stage", ["head", "body"])
async def test_the_caller_can_end_a_download_that_stands_still(stage: str) -> None:
    arrived = asyncio.Event()

    async def stall(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        if stage == "body":
            await response.prepare(request)
            await response.write(b"a")
        arrived.set()
        await asyncio.Event().wait()
        return response

    async with host_with({"/p": stall}) as (pictures, _):
        fetching = asyncio.create_task(pictures.fetch("http://a.example/p", max_bytes=100))
        await asyncio.wait_for(arrived.wait(), 10)
        fetching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await fetching


async def test_what_has_arrived_is_shown_and_can_end_the_download() -> None:
    def refuse(arrived: BytesIO) -> None:
        if arrived.tell():
            raise TooLarge("seen")

    async with host_with({"/p": PICTURE}) as (pictures, _):
        with pytest.raises(TooLarge, match="seen"):
            await pictures.fetch("http://a.example/p", max_bytes=100, on_bytes=refuse)


@pytest.mark.parametrize(
    "answer",
    [
        b"", b"not HTTP at all\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000 + b"\r\n\r\n", b"\x16\x03\x01\x00\x00",
    ],
)  # fmt: skip
async def test_a_host_that_speaks_nonsense_is_a_failed_download(answer: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(talk, LOOPBACK, 0)
    resolver = Resolver()
    resolver.port = server.sockets[0].getsockname()[1]
    async with running(RemotePictures(("a.example",), resolver=resolver, allowed=lambda _: True)) as pictures:
        with pytest.raises(DownloadFailed) as failed:
            await pictures.fetch("http://a.example/p", max_bytes=100)
        assert "Send the picture itself" in failed.value.message
    server.close()
    await server.wait_closed()


async def test_a_name_that_does_not_exist_and_a_host_that_does_not_answer_fail_alike() -> None:
    class Unknown(Resolver):
        async def resolve(self, *_: Any) -> Any:
            raise socket.gaierror(socket.EAI_NONAME, "unknown name")

    closed = Resolver()
    closed.port = 1  # nobody listens there
    messages = set()
    for resolver in (Unknown(), closed):
        async with running(
            RemotePictures(("a.example",), resolver=resolver, allowed=lambda _: True)
        ) as pictures:
            with pytest.raises(DownloadFailed) as failed:
                await pictures.fetch("http://a.example/p", max_bytes=100)
            messages.add(failed.value.message)
    assert len(messages) == 1, "an error says nothing about the network"


async def test_https_is_spoken_with_a_certificate_that_must_be_valid() -> None:
    async with host_with({"/p": PICTURE}) as (pictures, host):
        with pytest.raises(DownloadFailed):
            await pictures.fetch("https://a.example/p", max_bytes=100)
    assert host.requests == []


async def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with host_with({"/p": PICTURE}) as (pictures, _):
        assert await pictures.fetch("http://a.example/p", max_bytes=100) == PICTURE


async def test_no_cookie_is_kept() -> None:
    answer = web.Response(body=PICTURE, headers={"Set-Cookie": "a=b"})
    async with host_with({"/p": answer, "/q": PICTURE}) as (pictures, host):
        await pictures.fetch("http://a.example/p", max_bytes=100)
        await pictures.fetch("http://a.example/q", max_bytes=100)
    assert all("Cookie" not in request.headers for request in host.requests)

"""Fetches a picture from the address that a request names, if the operator has listed its host.

The contracts of other services call ``RemotePictures.fetch`` while their request holds a place. It is off unless
``INSPYRENET_URL_HOSTS`` names a host. What must stay true, because a client chooses the address:

* Only listed host names are connected to, over http(s), at the scheme's own port, and without credentials.
* The addresses of a name are looked up once for each connection, all of them are checked, and the connection goes to
  one of them. A name that means something else a moment later changes nothing.
* A redirect is a new address, and is checked as the first was.
* Bytes, time and redirects are bounded, and no body is decompressed.
* One parser (yarl's) reads an address: what is checked is what is connected to.
"""

from __future__ import annotations

import re
import socket
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AbstractContextManager, asynccontextmanager
from io import BytesIO

import aiohttp
from aiohttp import hdrs, web
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from service.errors import BadAddress, DownloadFailed, TooLarge
from service.http import public_addresses
from service.http.public_addresses import IPAddress
from service.http.resolver import SystemResolver
from service.tracing.spans import NO_SPAN, Call, Span

MAX_REDIRECTS = 3
MAX_ADDRESS_CHARACTERS = 2048
CHUNK_BYTES = 256 * 1024

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_NOT_IN_AN_ADDRESS = re.compile(r"[\x00-\x20\x7f\\]")
_HEADERS = {
    hdrs.ACCEPT: "image/*",
    hdrs.ACCEPT_ENCODING: "identity",  # a compressed body could be a bomb, and image files are compressed already
    hdrs.USER_AGENT: "inspyrenet-api",
}


class RemotePictures:
    """The way out to the hosts that the operator has listed.

    Args:
        hosts: their names, in lower case; none means that no address is ever fetched.
        resolver: looks up names; the system's if not given.
        allowed: whether an address may be connected to.
    """

    def __init__(
        self,
        hosts: Collection[str],
        *,
        resolver: AbstractResolver | None = None,
        allowed: Callable[[IPAddress], bool] = public_addresses.is_public,
    ) -> None:
        self._hosts = frozenset(hosts)
        self._resolver = resolver
        self._allowed = allowed
        self._session: aiohttp.ClientSession | None = None

    @property
    def on(self) -> bool:
        """Whether any host is listed."""
        return bool(self._hosts)

    @asynccontextmanager
    async def run(self, _: web.Application) -> AsyncIterator[None]:
        """Open for as long as the application runs."""
        if not self.on:
            yield
            return
        resolver = _CheckedResolver(self._resolver or SystemResolver(), self._allowed)
        connector = aiohttp.TCPConnector(
            resolver=resolver, use_dns_cache=False, force_close=True, limit=0, family=socket.AF_UNSPEC
        )
        async with aiohttp.ClientSession(
            connector=connector,
            headers=_HEADERS,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None),
            trust_env=False,  # a proxy would look up the name again, and connect to what it finds
        ) as self._session:
            yield
        self._session = None
        await resolver.close()

    async def fetch(
        self,
        address: str,
        *,
        max_bytes: int,
        on_bytes: Callable[[BytesIO], None] = lambda _: None,
        span: Span = NO_SPAN,
    ) -> bytes:
        """The bytes at an address. The caller bounds the time: this waits for as long as it is let.

        Args:
            address: as the client gave it.
            max_bytes: of the answer's body.
            on_bytes: called with what has arrived so far, each time that more has; what it raises ends the download.
            span: of the request that names the address.

        Raises:
            BadAddress: it is not an address, or one that must not be fetched.
            DownloadFailed: the host answered nothing, or something else than a file.
            TooLarge: the file is too large.
        """
        url = self.check(address)
        try:
            for redirects in range(MAX_REDIRECTS + 1):
                with _traced(span, url, redirects) as call:
                    async with self._open().get(url, allow_redirects=False, headers=call.headers) as response:
                        call.answered(response.status)
                        if response.status not in _REDIRECTS:
                            return await _read(response, max_bytes, on_bytes)
                        url = self.check(response.headers.get(hdrs.LOCATION, ""), base=url)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise DownloadFailed(
                "The picture could not be fetched: its host gave no valid answer. Send the picture itself."
            ) from error
        raise DownloadFailed(
            f"The picture could not be fetched: its address leads through more than {MAX_REDIRECTS} redirects."
        )

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("a picture is fetched only while the application runs")
        return self._session

    def check(self, address: str, *, base: URL | None = None) -> URL:
        """The address as it will be connected to.

        Args:
            address: from a client or, with ``base``, from a redirect.
            base: what a relative address starts from.

        Raises:
            BadAddress: it is not an address, or one that must not be fetched.
        """
        if not self.on:
            raise BadAddress(
                "This service fetches no pictures by their address. Send the picture itself. Its operator can allow "
                "hosts with INSPYRENET_URL_HOSTS."
            )
        if len(address) > MAX_ADDRESS_CHARACTERS or _NOT_IN_AN_ADDRESS.search(address):
            raise BadAddress(
                f"The address of a picture has at most {MAX_ADDRESS_CHARACTERS} characters, and no spaces, control "
                "characters or backslashes."
            )
        try:
            url = URL(address) if base is None else base.join(URL(address))
            host, port = url.raw_host, url.port
        except ValueError:
            raise BadAddress(
                "The address of the picture is malformed. Give an http or https address."
            ) from None
        if url.scheme not in ("http", "https") or not host:
            raise BadAddress("The address of a picture begins with http:// or https:// and names a host.")
        if url.raw_user is not None or url.raw_password is not None:
            raise BadAddress("The address of a picture must hold no user name and no password.")
        if host not in self._hosts:
            raise BadAddress(
                "The address names a host that this service does not fetch from"
                f"{' (it came by a redirect)' if base is not None else ''}. Send the picture itself. Its operator "
                "can allow hosts with INSPYRENET_URL_HOSTS."
            )
        if port != {"http": 80, "https": 443}[url.scheme]:
            raise BadAddress("The address of a picture must use the port of its scheme: 80 or 443.")
        return url.with_fragment(None)


def _traced(span: Span, url: URL, redirects: int) -> AbstractContextManager[Call]:
    return span.call(
        method=hdrs.METH_GET,
        scheme=url.scheme,
        host=url.raw_host or "",
        port=url.port or 0,
        resend_count=redirects,
    )


class _CheckedResolver(AbstractResolver):
    """Looks up a name and lets the answer through only if every address in it is allowed.

    aiohttp connects to the addresses that a resolver returns, so these are the ones that were checked. A name with a
    forbidden address among its addresses is refused as a whole: it is wrong, or an attack.
    """

    def __init__(self, resolver: AbstractResolver, allowed: Callable[[IPAddress], bool]) -> None:
        self._resolver = resolver
        self._allowed = allowed

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        addresses = [public_addresses.parse(result["host"]) for result in found]
        if not all(address is not None and self._allowed(address) for address in addresses):
            raise BadAddress(
                "The address names a host that is not on the public internet. Send the picture itself."
            )
        return found

    async def close(self) -> None:
        await self._resolver.close()


async def _read(
    response: aiohttp.ClientResponse, max_bytes: int, on_bytes: Callable[[BytesIO], None]
) -> bytes:
    if response.status != 200:
        raise DownloadFailed(
            f"The picture could not be fetched: its host answered with the status {response.status}."
        )
    if response.headers.get(hdrs.CONTENT_ENCODING, "").strip().lower() not in {"", "identity"}:
        raise DownloadFailed("The picture could not be fetched: its host sent it compressed, unasked.")
    too_large = TooLarge(f"The picture at this address is larger than the limit of {max_bytes} bytes.")
    if response.content_length is not None and response.content_length > max_bytes:
        raise too_large
    buffer = BytesIO()
    async for chunk in response.content.iter_any():
        if buffer.tell() + len(chunk) > max_bytes:
            raise too_large
        buffer.write(chunk)
        on_bytes(buffer)
    if not buffer.tell():
        raise DownloadFailed("The picture could not be fetched: its host sent an empty file.")
    return buffer.getvalue()

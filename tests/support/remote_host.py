"""A host from which the service fetches pictures by their address, and the name server that leads to it.

Tests of ``remote_picture`` and of the contracts that use it start one. The host is a real server on a loopback port;
its names are those that the test's resolver knows, never real ones.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

LOOPBACK = "127.0.0.1"


class Resolver(AbstractResolver):
    """Answers from a script.

    Args:
        script: name -> its answers, one after another, each a list of addresses; the last one stays. A name that it
            does not have is the host on the loopback address.

    Attributes:
        port: of every answer, in place of the one that was asked for.
        asked: the names, in order.
    """

    def __init__(self, script: Mapping[str, list[list[str]]] | None = None) -> None:
        self.port = 0
        self.asked: list[str] = []
        self._script = {name: list(answers) for name, answers in (script or {}).items()}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        self.asked.append(host)
        answers = self._script.get(host, [[LOOPBACK]])
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=self.port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        pass


class RemoteHost:
    """A server in the test's own loop, as an asynchronous context manager.

    Args:
        answers: path -> bytes, a response, or a handler. A response is used once.

    Attributes:
        port: where it listens.
        requests: those that arrived, in order.
    """

    def __init__(self, answers: Mapping[str, Any]) -> None:
        self.port = 0
        self.requests: list[web.BaseRequest] = []
        self._answers = answers

    async def __aenter__(self) -> RemoteHost:
        self._runner = web.ServerRunner(
            web.Server(self._answer, handler_cancellation=True), shutdown_timeout=0.1
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, LOOPBACK, 0)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests.append(request)
        answer = self._answers.get(request.path, web.Response(status=404))
        if isinstance(answer, bytes):
            return web.Response(body=answer)
        if isinstance(answer, web.StreamResponse):
            if isinstance(answer, web.Response) and not isinstance(answer, Exception):
                return web.Response(status=answer.status, body=answer.body, headers=answer.headers)
            return answer
        response: web.StreamResponse = await answer(request)
        return response

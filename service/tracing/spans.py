"""What the other rooms know of tracing: a tracer and its spans. Those that are defined here do nothing.

``app`` hands a tracer to the middleware and to the warmup target. ``otlp`` implements the same with OpenTelemetry. All
methods except ``flush`` run in the event loop, and none may wait for anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multidict import CIMultiDictProxy

_NOTHING: Mapping[str, str] = MappingProxyType({})


class Call:
    """One HTTP request that the service itself sends.

    Attributes:
        headers: to be sent with it, so that the other side can join the trace.
    """

    headers: Mapping[str, str] = _NOTHING

    def answered(self, status: int) -> None:
        """It was answered with this status."""


class Span:
    """A piece of work that has a beginning and an end.

    Attributes:
        ids: for log lines, ``trace_id`` and ``span_id``; empty if there are none.
        exemplar: for histograms, the same; None if the span is not recorded.
    """

    ids: Mapping[str, str] = _NOTHING
    exemplar: dict[str, str] | None = None

    def stage(self, name: str, began: float, seconds: float, error: str = "") -> None:
        """A stage of it has ended; this may be called after its own end.

        Args:
            name: of the stage.
            began: when, by ``time.perf_counter``.
            seconds: how long it took.
            error: the class of the error with which it failed.
        """

    def call(
        self, *, method: str, scheme: str, host: str, port: int, resend_count: int = 0
    ) -> AbstractContextManager[Call]:
        """The service sends a request for it.

        Args:
            method: of HTTP.
            scheme: ``http`` or ``https``.
            host: the server's name.
            port: the server's port.
            resend_count: how many redirects or attempts came before.
        """
        return nullcontext(_CALL)

    def failed(self, reason: str) -> None:
        """It failed for this reason, which is one of a few words."""

    def end_request(self, status: int | None, *, left_in: str = "") -> None:
        """It was a request, and has ended.

        Args:
            status: of its answer; None if the client left.
            left_in: the stage in which the client left.
        """


class Tracer:
    """Makes spans."""

    def request(
        self,
        headers: CIMultiDictProxy[str],
        *,
        method: str,
        route: str | None,
        path: str,
        scheme: str,
        version: str,
        quiet: bool,
    ) -> Span:
        """A request has come; whoever calls this also calls ``end_request``.

        Args:
            headers: of the request; they may name the trace that it belongs to.
            method: of HTTP.
            route: that handles it; None if there is no such path.
            path: without the query.
            scheme: ``http`` or ``https``.
            version: of HTTP, such as ``1.1``.
            quiet: whether it is one that machines send every few seconds. Such a request is recorded only if its sender
                records its own side.
        """
        return NO_SPAN

    def probe(self, subject: str) -> AbstractContextManager[Span]:
        """A probe of the supervisor, which is a trace of its own.

        Args:
            subject: what it proves, in a word.
        """
        return nullcontext(NO_SPAN)

    def flush(self) -> None:
        """Send what has not been sent. It waits as long as that takes, so call it in a thread."""


_CALL = Call()
NO_SPAN = Span()
OFF = Tracer()

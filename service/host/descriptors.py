"""How many files and connections this process may have open.

``startup`` raises the limit once, and ``server`` derives the number of connections from it. Nothing else may change it.
"""

from __future__ import annotations

import resource


def raise_descriptor_limit() -> None:
    """Raise the soft limit to the hard one.

    The soft limit is low (1,024) only for programs that use ``select``, which cannot watch a higher descriptor. asyncio
    uses ``epoll``.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def descriptor_limit() -> int:
    """The soft limit."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if soft != resource.RLIM_INFINITY else 1 << 30

"""The environment variables of this program, told apart from those a platform puts beside them.

Standard library only: the health check uses it too, and must start at once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

PREFIX = "INSPYRENET_"

# Kubernetes gives every container the addresses of every Service beside it. A Service called ``inspyrenet`` or
# ``inspyrenet-<anything>`` therefore lands among this program's own names.
_SERVICE_VARIABLE = re.compile(
    r"INSPYRENET_(?:[A-Z0-9_]+_)?"
    r"(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?|PORT_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)"
)
_SERVICE_URL_VARIABLE = re.compile(r"INSPYRENET_(?:[A-Z0-9_]+_)?PORT")
_SERVICE_URL = re.compile(r"(?:tcp|udp|sctp)://", re.IGNORECASE)


def is_injected(name: str, value: str) -> bool:
    """Whether Kubernetes, not a person, set this variable, for a Service whose name begins ``inspyrenet``."""
    if _SERVICE_VARIABLE.fullmatch(name):
        return True
    return bool(_SERVICE_URL_VARIABLE.fullmatch(name) and _SERVICE_URL.match(value))


def find_port(environ: Mapping[str, str]) -> tuple[str, str] | None:
    """The variable that names the port to listen on, and its value; None if no variable does.

    ``INSPYRENET_PORT`` beats ``PORT``, which Cloud Run and Knative set; an empty ``PORT`` counts as unset.
    """
    name = f"{PREFIX}PORT"
    value = environ.get(name)
    if value is not None and not is_injected(name, value):
        return name, value
    if value := environ.get("PORT"):
        return "PORT", value
    return None

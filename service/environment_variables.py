"""The environment variables that belong to this program, and those that a platform adds under similar names.

The reader of the settings and the health check use it. It may import only the standard library, because the health
check must start at once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

PREFIX = "INSPYRENET_"

VERTEX_PORT = "AIP_HTTP_PORT"

UNIX_SOCKET = "unix:"
"""In ``INSPYRENET_HOST``, before the path of a socket file."""

# Kubernetes gives every container the addresses of the Services in its namespace, as variables that begin with the
# Service's name. So a Service called ``inspyrenet`` or ``inspyrenet-<anything>`` makes variables with this program's
# prefix.
_SERVICE_VARIABLE = re.compile(
    r"INSPYRENET_(?:[A-Z0-9_]+_)?"
    r"(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?|PORT_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)"
)
_SERVICE_URL_VARIABLE = re.compile(r"INSPYRENET_(?:[A-Z0-9_]+_)?PORT")
_SERVICE_URL = re.compile(r"(?:tcp|udp|sctp)://", re.IGNORECASE)


class SettingsError(ValueError):
    """Settings that cannot be used.

    Args:
        problems: one line each, which names the variable or flag, what it got and what it takes; never a secret.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


def is_injected(name: str, value: str) -> bool:
    """Whether Kubernetes, not a person, set this variable, for a Service whose name begins with ``inspyrenet``."""
    if _SERVICE_VARIABLE.fullmatch(name):
        return True
    return bool(_SERVICE_URL_VARIABLE.fullmatch(name) and _SERVICE_URL.match(value))


def find_port(environ: Mapping[str, str], platform: str | None = None) -> tuple[str, str] | None:
    """The variable that names the port to listen on, and its value; None if no variable does.

    ``INSPYRENET_PORT`` beats that of Vertex AI, which beats ``PORT``, which Cloud Run, Knative and RunPod set; an empty
    one counts as unset.

    Args:
        environ: environment variables.
        platform: as in ``INSPYRENET_PLATFORM``; what that says if not given.
    """
    name = f"{PREFIX}PORT"
    if (value := environ.get(name)) and not is_injected(name, value):
        return name, value
    platform = (platform or environ.get(f"{PREFIX}PLATFORM") or "auto").strip()
    variables = (VERTEX_PORT, "PORT") if platform in ("auto", "vertex") else ("PORT",)
    return next(((name, value) for name in variables if (value := environ.get(name))), None)

"""The names under which platforms ask for what the service offers: one table of routes, and what each platform sets.

``app`` adds every alias to the router, for the handlers of the path that it stands for. So an alias needs the key that
its path needs, and is counted under that path. ``server`` finds out which platform runs the process.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from service.engines.protocol import ConfigurationError
from service.environment_variables import VERTEX_PORT

ALIASES: Mapping[str, str] = {
    "/ready": "/readyz",  # Cloud Run, Knative: paths that end in z may be reserved
    "/live": "/livez",
    "/ping": "/readyz",  # SageMaker, RunPod
    "/invocations": "/process",  # SageMaker
    "/v2/health/ready": "/readyz",  # KServe, Triton
    "/v2/health/live": "/livez",
}
"""Alias -> the path that it stands for; these exist on every platform."""

VERTEX_ROUTES = {"AIP_HEALTH_ROUTE": "/readyz", "AIP_PREDICT_ROUTE": "/process"}
"""Vertex AI names its routes by variables."""

_RUNPOD_VARIABLES = ("RUNPOD_POD_ID", "RUNPOD_ENDPOINT_ID")
_PLAIN_PATH = re.compile(r"/[A-Za-z0-9._~:/-]*[A-Za-z0-9]")
_RESERVED = ("/static/", "/v1.0/")


@dataclass(frozen=True, slots=True)
class Platform:
    """What the platform asks of the service."""

    name: str = "none"
    aliases: Mapping[str, str] = field(default_factory=lambda: ALIASES)
    """As ``ALIASES``."""
    no_content_while_starting: bool = False
    """Whether ``/ping`` says 204 while the service starts, and not 503 as everywhere else."""


def find(name: str, environ: Mapping[str, str]) -> Platform:
    """The platform with this name; ``auto``: the one whose variables are set.

    Raises:
        ConfigurationError: a variable of the platform is missing, or names a route that cannot be.
    """
    if name == "auto":
        if environ.get(VERTEX_PORT):
            name = "vertex"
        elif any(environ.get(variable) for variable in _RUNPOD_VARIABLES):
            name = "runpod"
        else:
            name = "none"
    if name == "vertex":
        return Platform(name, aliases={**ALIASES, **_vertex_aliases(environ)})
    return Platform(name, no_content_while_starting=name == "runpod")


def check_aliases(aliases: Mapping[str, str], paths: set[str]) -> None:
    """Make sure that every alias can be added.

    Args:
        aliases: as ``ALIASES``.
        paths: that the service has without them.

    Raises:
        ConfigurationError: one collides with a path of the service, or is below one that belongs to another contract.
    """
    for alias, path in aliases.items():
        if alias in paths or alias.startswith(_RESERVED):
            raise ConfigurationError(
                f"the platform's name {alias!r} for {path} is another route of this service; deploy with another "
                "name, or with INSPYRENET_PLATFORM=none"
            )


def _vertex_aliases(environ: Mapping[str, str]) -> dict[str, str]:
    aliases: dict[str, str] = {}
    for variable, path in VERTEX_ROUTES.items():
        route = environ.get(variable, "")
        if not _PLAIN_PATH.fullmatch(route):
            raise ConfigurationError(
                f"{variable}: got {route[:100]!r}; takes a path of letters, digits and -._~:/ after a slash, "
                "as Vertex AI sets it; INSPYRENET_PLATFORM=none passes over it"
            )
        if route == path:
            continue
        if aliases.get(route, path) != path or ALIASES.get(route, path) != path:
            raise ConfigurationError(
                f"{variable}={route} collides: that route is {aliases.get(route) or ALIASES[route]} here, and this one "
                f"has to be {path}; deploy with another route"
            )
        aliases[route] = path
    return aliases

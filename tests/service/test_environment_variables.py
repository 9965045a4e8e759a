"""The environment variables of the program, and those that a platform puts beside them."""

from __future__ import annotations

import pytest

from service.environment_variables import find_port, is_injected

INJECTED = {
    "INSPYRENET_SERVICE_HOST": "10.0.0.7",
    "INSPYRENET_SERVICE_PORT": "80",
    "INSPYRENET_SERVICE_PORT_HTTP": "80",
    "INSPYRENET_PORT": "tcp://10.0.0.7:80",
    "INSPYRENET_PORT_80_TCP": "tcp://10.0.0.7:80",
    "INSPYRENET_PORT_80_TCP_PROTO": "tcp",
    "INSPYRENET_PORT_80_TCP_PORT": "80",
    "INSPYRENET_PORT_80_TCP_ADDR": "10.0.0.7",
    "INSPYRENET_PORT_53_UDP": "udp://10.0.0.7:53",
    "INSPYRENET_PORT_53_UDP_ADDR": "10.0.0.7",
    "INSPYRENET_API_SERVICE_HOST": "10.0.0.8",
    "INSPYRENET_API_PORT": "tcp://10.0.0.8:80",
    "INSPYRENET_API_PORT_80_TCP_ADDR": "10.0.0.8",
}


@pytest.mark.parametrize(("name", "value"), INJECTED.items())
def test_variables_of_a_kubernetes_service_are_recognised(name: str, value: str) -> None:
    assert is_injected(name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("INSPYRENET_PORT", "8080"),
        ("INSPYRENET_PORT", "tcp"),
        ("INSPYRENET_HOST", "10.0.0.7"),
        ("INSPYRENET_SERVICE", "10.0.0.7"),
        ("INSPYRENET_PORT_80_ICMP", "10.0.0.7"),
        ("OTHER_SERVICE_HOST", "10.0.0.7"),
    ],
)
def test_variables_that_a_person_sets_are_not_taken_for_injected_ones(name: str, value: str) -> None:
    assert not is_injected(name, value)


@pytest.mark.parametrize(
    ("environ", "found"),
    [
        ({}, None),
        ({"PORT": ""}, None),
        ({"PORT": "1"}, ("PORT", "1")),
        ({"PORT": "1", "INSPYRENET_PORT": "2"}, ("INSPYRENET_PORT", "2")),
        ({"PORT": "1", "INSPYRENET_PORT": ""}, ("PORT", "1")),
        ({"INSPYRENET_PORT": ""}, None),
        ({"PORT": "1", "INSPYRENET_PORT": "tcp://10.0.0.7:80"}, ("PORT", "1")),
        ({"INSPYRENET_PORT": "tcp://10.0.0.7:80"}, None),
    ],
)
def test_the_port_comes_from_the_programs_own_variable_before_that_of_the_platform(
    environ: dict[str, str], found: tuple[str, str] | None
) -> None:
    assert find_port(environ) == found

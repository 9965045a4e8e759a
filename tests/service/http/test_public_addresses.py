"""Which addresses are public: every special one is refused, whatever it is embedded in."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.http.public_addresses import is_public, parse


@pytest.mark.parametrize(
    "address",
    ["1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "2001:4860:4860::8888", "64:ff9b::1.1.1.1"],
)
def test_an_address_of_the_internet_is_public(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0", "0.1.2.3", "127.0.0.1", "127.8.9.10", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1",
        "169.254.169.254", "100.64.0.1", "100.100.100.200", "192.0.0.192", "192.0.2.1", "198.18.0.1", "198.51.100.7",
        "203.0.113.9", "192.88.99.1", "224.0.0.1", "224.0.1.1", "239.255.255.250", "240.0.0.1", "255.255.255.255",
        "168.63.129.16",
        "::", "::1", "::7f00:1", "::1.1.1.1", "::ffff:127.0.0.1", "::ffff:1.1.1.1", "::ffff:0:1.1.1.1",
        "64:ff9b::7f00:1",
        "64:ff9b::10.0.0.1", "64:ff9b:1::1.1.1.1", "100::1", "2001::1", "2001:db8::1", "2002:7f00:1::",
        "2002:101:101::",
        "fc00::1", "fd00:ec2::254", "fe80::1", "fec0::1", "ff02::1", "ff0e::1", "4000::1",
    ],
)  # fmt: skip
def test_an_address_of_a_machine_a_network_or_a_group_is_not_public(address: str) -> None:
    assert not is_public(ip_address(address))


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_that_python_calls_special_is_not_public_and_no_mapping_of_it_is(
    address: IPv4Address,
) -> None:
    public = is_public(address)
    assert not public or (address.is_global and not address.is_multicast)
    assert not is_public(IPv6Address(f"::ffff:{address}"))
    assert not is_public(IPv6Address(f"::{address}"))
    assert is_public(IPv6Address(f"64:ff9b::{address}")) == public


@given(st.ip_addresses(v=6))
def test_a_public_ipv6_address_is_a_global_unicast_one(address: IPv6Address) -> None:
    if is_public(address) and not str(address).startswith("64:ff9b"):
        assert address.packed[0] >> 5 == 1
        assert not address.is_private
        assert address.sixtofour is address.teredo is address.ipv4_mapped is None


def test_what_a_resolver_gives_is_an_address_without_a_zone() -> None:
    assert parse("1.2.3.4") == IPv4Address("1.2.3.4")
    assert parse("2606:4700::1") == IPv6Address("2606:4700::1")
    for text in (
        "fe80::1%eth0",
        "2606:4700::1%1",
        "127.1",
        "0x7f000001",
        "2130706433",
        "0177.0.0.1",
        "",
        "host",
    ):
        assert parse(text) is None

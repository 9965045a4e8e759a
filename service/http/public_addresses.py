"""Which IP addresses the service may connect to for a client: those of the public internet, and no others.

``remote_picture`` asks for every address that a name resolves to. Whatever is inside the operator's network, on the
machine itself or of a cloud's metadata service must be refused, however it is spelt.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

IPAddress = IPv4Address | IPv6Address

_GLOBAL_IPV6 = ip_network("2000::/3")
"""The only part of IPv6 that is given to the public internet. What maps or embeds an IPv4 address is mostly outside."""

_TRANSLATED = ip_network("64:ff9b::/96")
"""NAT64: the last 32 bits are the IPv4 address that a translator connects to. So that one is judged."""

_NOT_PUBLIC = (
    ip_network("2002::/16"),  # 6to4 embeds any IPv4 address
    ip_network("192.0.0.0/24"),  # special purposes; a cloud's metadata service is among them
    ip_network("192.88.99.0/24"),  # relays of 6to4
    ip_network("168.63.129.16/32"),  # metadata and DNS of Azure, inside every virtual machine's network
)
"""Networks that Python counts as global."""


def is_public(address: IPAddress) -> bool:
    """Whether an address is one of the public internet's, for one host, and embeds no other address."""
    if isinstance(address, IPv6Address):
        if address in _TRANSLATED:
            return is_public(IPv4Address(int(address) & 0xFFFF_FFFF))
        if address not in _GLOBAL_IPV6:
            return False
    if address.is_multicast or address.is_reserved or not address.is_global:
        return False
    return not any(address in network for network in _NOT_PUBLIC if network.version == address.version)


def parse(text: str) -> IPAddress | None:
    """An address as a resolver gives it; None if it is none.

    An IPv6 address with a zone (``fe80::1%eth0``) belongs to one interface, so it counts as none.
    """
    try:
        return None if "%" in text else ip_address(text)
    except ValueError:
        return None

"""IP addresses, and which of them the hub may call at whose word.

Promises: an address is public only if no registry of special addresses has it, whatever clothes it wears (IPv4 in
IPv6, NAT64, 6to4); link-local addresses, where machines keep their own metadata, are never called. A host's name says
nothing: `Policy.refusal` is asked for the address that is about to be connected to. Source: IANA's registries of
special-purpose addresses for IPv4 and IPv6.
"""

import ipaddress
from typing import Literal

import msgspec

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Kind = Literal["public", "link-local", "loopback", "private"]

_LINK_LOCAL = [
    ipaddress.ip_network(text)
    for text in (
        "169.254.0.0/16",
        "fe80::/10",
        "fd00:ec2::/32",  # AWS's instance metadata over IPv6
    )
]
_LOOPBACK = [ipaddress.ip_network(text) for text in ("127.0.0.0/8", "::1/128", "0.0.0.0/8", "::/128")]
"""With the unspecified addresses, which lead to the machine itself."""
_SPECIAL = [
    ipaddress.ip_network(text)
    for text in (
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
        "2001::/23",  # protocol assignments, Teredo among them
        "2001:db8::/32",
        "3fff::/20",
    )
]
_UNICAST = ipaddress.ip_network("2000::/3")
"""All of IPv6 that is given out: what is outside is unique local, multicast or reserved."""
_NAT64 = 0x64FF9B << 64


def kind_of(address: str) -> Kind:
    """Raises ValueError for a text that is no address."""
    ip = _plain(address)
    if any(ip in network for network in _LINK_LOCAL):
        return "link-local"
    if any(ip in network for network in _LOOPBACK):
        return "loopback"
    if any(ip in network for network in _SPECIAL) or (ip.version == 6 and ip not in _UNICAST):
        return "private"
    return "public"


def _plain(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The address that is meant: without its zone, and out of IPv6 where it is an IPv4 address in it."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if not isinstance(ip, ipaddress.IPv6Address) or int(ip) <= 1:
        return ip
    # ::ffff:169.254.169.254, 64:ff9b::a9fe:a9fe, ::169.254.169.254
    if ip.ipv4_mapped or int(ip) >> 32 in (0, _NAT64):
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.sixtofour or ip


class Policy(msgspec.Struct, frozen=True):
    """Which addresses may be called. `private`: all that are neither public nor loopback; `allow`: these of them."""

    loopback: bool
    private: bool = False
    allow: tuple[Network, ...] = ()

    def refusal(self, address: str) -> str | None:
        """Why an address may not be called, or None."""
        kind = kind_of(address)
        if kind == "link-local":
            return "the host's address is link-local, which is never called"
        if kind == "loopback" and not self.loopback:
            return "the host's address is loopback, which only the hub file may name"
        if kind == "private" and not self.private:
            ip = _plain(address)
            if not any(ip in network for network in self.allow if network.version == ip.version):
                return "the host's address is in a private network, and `destinations.allow` does not have it"
        return None

    def refusal_of_url(self, scheme: str, host: str) -> str | None:
        """Why no URL of this scheme and host may be called, as far as it can be told without a name service."""
        try:
            loopback = host == "localhost" or kind_of(host) == "loopback"
            refusal = self.refusal("127.0.0.1" if host == "localhost" else host)
        except ValueError:
            loopback, refusal = False, None
        if refusal is None and scheme != "https" and not loopback:
            return "http is for loopback only"
        return refusal


NAMED = Policy(loopback=True, private=True)
"""For what the hub file names."""

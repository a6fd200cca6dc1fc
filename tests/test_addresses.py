"""Which addresses are public, and who may have the hub call the others."""

import ipaddress

import pytest

from router.addresses import NAMED, Kind, Policy, kind_of

OPEN = Policy(loopback=True)
CLOSED = Policy(loopback=False)
KINDS: dict[Kind, str] = {
    "public": "8.8.8.8 1.1.1.1 172.15.0.1 172.32.0.1 100.63.0.1 100.128.0.1 192.167.1.1 2606:4700::1 2600::1 "
    "::ffff:8.8.8.8 64:ff9b::808:808 2002:808:808::1",
    "private": "10.0.0.1 10.255.255.255 172.16.0.1 172.31.255.255 192.168.0.1 100.64.0.1 100.127.255.254 192.0.0.192 "
    "192.0.2.1 198.18.0.1 198.51.100.1 203.0.113.1 224.0.0.1 239.1.1.1 240.0.0.1 255.255.255.255 fc00::1 fd12::1 "
    "fec0::1 ff02::1 2001:db8::1 2001:0:4136::1 3fff::1 64:ff9b:1::1 100::1 ::ffff:10.0.0.1 ::ffff:192.168.1.1 "
    "64:ff9b::a00:1 2002:a00:1::1 ::10.0.0.1",
    "loopback": "127.0.0.1 127.255.255.255 0.0.0.0 0.1.2.3 ::1 :: ::ffff:127.0.0.1 ::127.0.0.1 64:ff9b::7f00:1 "
    "2002:7f00:1::1 ::ffff:0.0.0.0",
    "link-local": "169.254.169.254 169.254.0.1 fe80::1 fe80::1%eth0 febf::1 fd00:ec2::254 ::ffff:169.254.169.254 "
    "::169.254.169.254 64:ff9b::a9fe:a9fe 2002:a9fe:a9fe::1",
}
CASES = [(address, kind) for kind, addresses in KINDS.items() for address in addresses.split()]


@pytest.mark.parametrize(("address", "kind"), CASES)
def test_address_is_of_its_kind_whatever_it_wears(address: str, kind: Kind) -> None:
    assert kind_of(address) == kind


@pytest.mark.parametrize("text", ["", "localhost", "10.0.0", "::g", "10.0.0.1:80"])
def test_text_that_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="does not appear to be"):
        kind_of(text)


@pytest.mark.parametrize(("address", "kind"), CASES)
def test_policy_lets_through_what_it_says(address: str, kind: Kind) -> None:
    allowed = {
        "closed": CLOSED.refusal(address) is None,
        "open": OPEN.refusal(address) is None,
        "named": NAMED.refusal(address) is None,
    }
    assert allowed == {
        "closed": kind == "public",
        "open": kind in ("public", "loopback"),
        "named": kind != "link-local",
    }


def test_allowed_network_opens_itself_and_nothing_else() -> None:
    policy = Policy(loopback=False, allow=(ipaddress.ip_network("10.1.0.0/16"), ipaddress.ip_network("fd12::/16")))
    assert policy.refusal("10.1.2.3") is None
    assert policy.refusal("::ffff:10.1.2.3") is None
    assert policy.refusal("fd12::1") is None
    assert policy.refusal("10.2.0.1") is not None
    assert policy.refusal("fd13::1") is not None


def test_no_network_opens_link_local_or_loopback_addresses() -> None:
    everything = Policy(loopback=False, allow=(ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")))
    refused = [address for address, _ in CASES if everything.refusal(address) is not None]
    assert refused == [address for address, kind in CASES if kind in ("loopback", "link-local")]


@pytest.mark.parametrize(
    ("scheme", "host", "policy", "refused"),
    [
        ("https", "example.com", CLOSED, False),
        ("http", "example.com", OPEN, True),
        ("http", "8.8.8.8", NAMED, True),
        ("http", "localhost", OPEN, False),
        ("http", "127.0.0.1", OPEN, False),
        ("https", "localhost", CLOSED, True),
        ("https", "::1", CLOSED, True),
        ("https", "10.0.0.1", OPEN, True),
        ("https", "10.0.0.1", NAMED, False),
        ("https", "169.254.169.254", NAMED, True),
    ],
)
def test_url_is_judged_by_scheme_and_host(scheme: str, host: str, policy: Policy, refused: bool) -> None:
    assert (policy.refusal_of_url(scheme, host) is not None) is refused

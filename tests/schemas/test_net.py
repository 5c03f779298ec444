"""What the public internet is, for the crawler and the web server alike."""

from __future__ import annotations

import ipaddress

import pytest

from schemas.net import is_public

INSIDE = [
    *("0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.0.9", "100.64.0.1", "100.127.255.255"),
    *("127.0.0.1", "127.1.2.3", "168.63.129.16", "169.254.0.1", "169.254.169.254"),
    *("172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.2.1", "192.88.99.1", "192.168.1.1"),
    *("198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1"),
    *("239.255.255.255", "240.0.0.1", "255.255.255.255"),
    *("::", "::1", "::127.0.0.1", "::8.8.8.8", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00::1"),
    *("fec0::1", "ff02::1", "100::1", "2001:db8::1", "3fff::1", "3fff:fff::1"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:168.63.129.16"),
    *("64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b::a83f:8110", "64:ff9b:1::808:808"),
    *("2002:7f00:1::", "2002:a00:1::1", "2002:c058:6301::", "2001:0:808:808::1", "2001::1"),
    *("", "x", "localhost", "127.1", "0177.0.0.1", "2130706433", "0x7f000001", "①②⑦.0.0.1"),
]
OUTSIDE = [
    *("1.1.1.1", "8.8.8.8", "93.184.216.34", "168.63.129.15", "168.63.129.17", "223.130.200.104"),
    *("2606:4700::1111", "2a00:1450:4001::1", "::ffff:1.1.1.1", "2002:808:808::1"),
    "64:ff9b::101:101",
]


@pytest.mark.parametrize("address", INSIDE)
def test_what_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", OUTSIDE)
def test_what_is_public(address: str) -> None:
    assert is_public(address)
    assert is_public(ipaddress.ip_address(address))


def test_every_address_of_a_private_network_in_every_notation() -> None:
    nets = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "169.254.0.0/16",
            "100.64.0.0/10", "fc00::/7", "fe80::/10", "::1/128")  # fmt: skip
    for net in map(ipaddress.ip_network, nets):
        for offset in {0, 1, net.num_addresses // 2, net.num_addresses - 1}:
            address = net[min(offset, net.num_addresses - 1)]
            assert not is_public(address)
            if isinstance(address, ipaddress.IPv4Address):
                for prefix in ("::ffff:0:0", "64:ff9b::"):
                    carrier = int(ipaddress.IPv6Address(prefix)) | int(address)
                    assert not is_public(ipaddress.IPv6Address(carrier))

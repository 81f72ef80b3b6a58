"""The check for public addresses."""

from __future__ import annotations

import errno
import socket
from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vocalsep_async._transport.addresses import (
    NotPublicError,
    is_public,
    names_private,
    public_socket,
)

NOT_PUBLIC = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::8.8.8.8",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:8.8.8.8",
    "64:ff9b::7f00:1",
    "64:ff9b::808:808",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:808:808::",
    "3fff::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%lo",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
]
PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "93.184.216.34",
    "172.15.255.255",
    "172.32.0.1",
    "223.255.255.255",
    "::ffff:8.8.8.8",
    "2001:4860:4860::8888",
    "2606:4700:4700::1111",
    "2a00:1450:4001:81b::200e",
]
NO_ADDRESS = [
    "",
    "localhost",
    "0x7f000001",
    "127.1",
    "2130706433",
    "0177.0.0.1",
    "8.8.8.8 ",
    "8.8.8.8/32",
    "[::1]",
    "1.2.3.256",
]


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_addresses_of_other_purposes_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", NO_ADDRESS)
def test_an_unusual_spelling_is_no_public_address(address: str) -> None:
    assert not is_public(address)


@given(st.ip_addresses(v=4))
@example(IPv4Address("8.8.8.8"))
@example(IPv4Address("127.0.0.1"))
def test_an_ipv4_address_counts_the_same_when_it_is_mapped_into_ipv6(ip: IPv4Address) -> None:
    assert is_public(f"::ffff:{ip}") == is_public(str(ip))


@given(st.ip_addresses(v=4))
@example(IPv4Address("8.8.8.8"))
def test_an_ipv4_address_wrapped_for_a_translator_or_a_tunnel_is_not_public(
    ip: IPv4Address,
) -> None:
    number = int(ip)
    wrapped = [
        IPv6Address(number),
        IPv6Address((0x64FF9B << 96) | number),
        IPv6Address((0x2002 << 112) | (number << 80)),
        IPv6Address((0x20010000 << 96) | (number ^ 0xFFFFFFFF)),
    ]
    assert not any(is_public(str(each)) for each in wrapped)


@given(
    st.sampled_from(
        [
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.168.0.0/16",
            "224.0.0.0/3",
            "::/8",
            "fc00::/7",
            "fe80::/10",
            "ff00::/8",
        ]
    ).flatmap(lambda network: st.ip_addresses(network=network))
)
def test_no_address_of_a_private_network_is_public(ip: IPv4Address | IPv6Address) -> None:
    mapped = isinstance(ip, IPv6Address) and ip in ip_network("::ffff:0:0/96")
    assert mapped or not is_public(str(ip))


def test_a_socket_is_made_for_a_public_address() -> None:
    info = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("8.8.8.8", 80))
    with public_socket(info) as made:
        assert (made.family, made.type, made.proto) == info[:3]


@pytest.mark.parametrize(
    "family, where",
    [
        pytest.param(socket.AF_INET, ("127.0.0.1", 80), id="IPv4"),
        pytest.param(socket.AF_INET6, ("fe80::1%lo", 80, 0, 1), id="IPv6"),
    ],
)
def test_no_socket_is_made_for_another_address(
    monkeypatch: pytest.MonkeyPatch, family: int, where: tuple[object, ...]
) -> None:
    made: list[object] = []
    monkeypatch.setattr("vocalsep_async._transport.addresses.socket.socket", made.append)
    with pytest.raises(NotPublicError) as caught:
        public_socket((family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", where))
    assert caught.value.errno == errno.EACCES
    assert not made


def test_the_error_has_the_same_message_for_every_address() -> None:
    with pytest.raises(NotPublicError) as first:
        public_socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.1", 80)))
    with pytest.raises(NotPublicError) as second:
        public_socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 443)))
    assert str(first.value) == str(second.value)
    assert "10.0.0.1" not in str(first.value)


@pytest.mark.parametrize(
    "host",
    [
        *NOT_PUBLIC,
        "localhost",
        "cdn.localhost",
        "127.1",
        "127.0.1",
        "0177.0.0.1",
        "0x7f.1",
        "0x7f000001",
        "0X7F000001",
        "2130706433",
        "0",
        "10.1",
        "0xa9fea9fe",
        "2852039166",
        "::1%1",
        "1:2",
    ],
)
def test_every_spelling_of_a_private_address_is_recognised(host: str) -> None:
    assert names_private(host)


@pytest.mark.parametrize(
    "host",
    [
        *PUBLIC,
        "cdn.example",
        "localhost.example",
        "notlocalhost",
        "8.8",
        "0x08080808",
        "134744072",
        "1.2.3.256",
        "0x",
        "127.0.0.1.example",
        "xn--caf-dma.example",
        "caf\u00e9.example",
        "",
    ],
)
def test_a_public_address_or_a_name_is_not_private(host: str) -> None:
    assert not names_private(host)


@given(st.text())
@example("h\x00")
@example("\x00")
@example("\ud800")
@example("\uff11\uff12\uff17.0.0.1")
def test_whatever_a_host_is_called_the_question_has_an_answer(host: str) -> None:
    assert names_private(host) in (True, False)


@given(st.ip_addresses(v=4))
@example(IPv4Address("8.8.8.8"))
@example(IPv4Address("127.0.0.1"))
def test_an_address_counts_the_same_in_every_spelling(ip: IPv4Address) -> None:
    first, rest = divmod(int(ip), 1 << 24)
    spellings = [str(ip), f"{int(ip)}", f"0x{int(ip):x}", f"{first}.{rest}", f"0{first:o}.{rest}"]
    assert {names_private(each) for each in spellings} == {not is_public(str(ip))}

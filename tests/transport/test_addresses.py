"""The check for public addresses."""

from __future__ import annotations

import errno
import re
import socket
from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vocalsep_async._transport.addresses import (
    AddressRules,
    NotPublicError,
    is_public,
)


def is_refused(host: str) -> bool:
    """Whether the spelling of *host* is enough to refuse it."""
    return AddressRules().objection_to_host(host, 80, is_resolved_here=True) is not None


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
    with AddressRules().socket(info) as made:
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
        AddressRules().socket((family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", where))
    assert caught.value.errno == errno.EACCES
    assert not made


def test_the_error_has_the_same_message_for_every_address() -> None:
    with pytest.raises(NotPublicError) as first:
        AddressRules().socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.1", 80)))
    with pytest.raises(NotPublicError) as second:
        AddressRules().socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 443)))
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
    assert is_refused(host)


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
    assert not is_refused(host)


@given(st.text())
@example("h\x00")
@example("\x00")
@example("\ud800")
@example("\uff11\uff12\uff17.0.0.1")
def test_whatever_a_host_is_called_the_question_has_an_answer(host: str) -> None:
    assert is_refused(host) in (True, False)


@given(st.ip_addresses(v=4))
@example(IPv4Address("8.8.8.8"))
@example(IPv4Address("127.0.0.1"))
def test_an_address_counts_the_same_in_every_spelling(ip: IPv4Address) -> None:
    first, rest = divmod(int(ip), 1 << 24)
    spellings = [str(ip), f"{int(ip)}", f"0x{int(ip):x}", f"{first}.{rest}", f"0{first:o}.{rest}"]
    assert {is_refused(each) for each in spellings} == {not is_public(str(ip))}


# Networks that are allowed


def rules(*networks: str) -> AddressRules:
    return AddressRules(tuple(map(ip_network, networks)))


@pytest.mark.parametrize(
    "networks, address",
    [
        (("198.18.0.0/15",), "198.19.255.255"),
        (("198.18.0.0/15",), "::ffff:198.18.0.1"),
        (("10.0.0.0/8", "fc00::/7"), "10.1.2.3"),
        (("10.0.0.0/8", "fc00::/7"), "fd12::1"),
        (("fe80::/10",), "fe80::1%eth0"),
        (("100.64.0.0/10",), "100.100.100.200"),
        (("169.254.169.254/32",), "169.254.169.254"),
        (("64:ff9b::/96",), "64:ff9b::808:808"),
        (("64:ff9b::/96", "10.0.0.0/8"), "64:ff9b::a00:1"),
    ],
)
def test_an_address_in_a_network_that_is_allowed_may_be_dialled_at_any_port(
    networks: tuple[str, ...], address: str
) -> None:
    assert rules(*networks).objection(address, 443) is None
    assert rules(*networks).objection(address, 9000) is None
    assert rules().objection(address, 443) is not None


@pytest.mark.parametrize(
    "networks, address",
    [
        (("198.18.0.0/15",), "10.0.0.1"),
        (("198.18.0.0/15",), "169.254.169.254"),
        (("198.18.0.0/15",), "::ffff:169.254.169.254"),
        (("0.0.0.0/0",), "::1"),
        # What the translator dials counts, and not how it is wrapped.
        (("64:ff9b::/96",), "64:ff9b::7f00:1"),
        (("64:ff9b::/96",), "64:ff9b::a9fe:a9fe"),
        (("198.18.0.0/15",), "64:ff9b::c612:1"),
    ],
)
def test_every_other_private_address_stays_refused(networks: tuple[str, ...], address: str) -> None:
    assert rules(*networks).objection(address, 443) is not None


def test_a_public_address_is_allowed_at_the_ports_of_the_web_only() -> None:
    for each in (rules(), rules("198.18.0.0/15")):
        assert each.objection("8.8.8.8", 80) is None
        assert each.objection("8.8.8.8", 443) is None
        assert "the port 22 is not one of the web's" in str(each.objection("8.8.8.8", 22))


@pytest.mark.parametrize(
    "address, network",
    [
        ("198.18.0.7", "198.18.0.0/15"),
        ("::ffff:198.18.0.7", "198.18.0.0/15"),
        ("100.64.1.1", "100.64.0.0/10"),
        ("fd12::1", "fc00::/7"),
        ("64:ff9b::808:808", "64:ff9b::/96"),
        ("10.1.2.3", "10.1.2.3/32"),
        ("192.168.1.1", "192.168.1.1/32"),
        ("169.254.169.254", "169.254.169.254/32"),
        ("127.0.0.1", "127.0.0.1/32"),
        ("fe80::1%eth0", "fe80::1/128"),
        ("::1", "::1/128"),
    ],
)
def test_a_refusal_names_the_address_and_the_network_to_allow(address: str, network: str) -> None:
    text = str(rules().objection(address, 443))
    plain = address.rpartition("ffff:")[2].partition("%")[0]
    assert text == (
        f"{plain} is not a public address; if your network uses such addresses, "
        f"allow_private_hosts=('{network}',) on the client allows them"
    )
    assert rules(network).objection(address, 443) is None


@given(st.ip_addresses().map(str))
@example("::ffff:10.0.0.1")
@example("fe80::1%eth0")
def test_what_a_refusal_advises_allows_what_it_refused(address: str) -> None:
    text = rules().objection(address, 443)
    if text is not None:
        advised = re.findall(r"'([^']*)'", text)
        # What is wrapped for a translator may need a second network.
        if "64:ff9b::/96" not in advised:
            assert rules(*advised).objection(address, 443) is None


@pytest.mark.parametrize(
    "host, port, networks, is_resolved_here, is_refused_now",
    [
        ("cdn.example", 443, (), True, False),
        ("cdn.example", 9000, (), True, True),
        # What the name resolves to is checked when it is dialled, by a proxy or by the client.
        ("cdn.example", 9000, ("10.0.0.0/8",), True, False),
        ("cdn.example", 9000, ("10.0.0.0/8",), False, True),
        ("10.0.0.1", 9000, ("10.0.0.0/8",), False, False),
        ("10.1", 9000, ("10.0.0.0/8",), False, False),
        ("localhost", 9000, ("127.0.0.0/8",), False, False),
        ("localhost", 9000, ("10.0.0.0/8",), False, True),
        ("1:2", 443, ("::/0",), True, True),
    ],
)
def test_a_link_is_refused_by_its_spelling_where_no_later_check_would_see_it(
    host: str,
    port: int,
    networks: tuple[str, ...],
    *,
    is_resolved_here: bool,
    is_refused_now: bool,
) -> None:
    why = rules(*networks).objection_to_host(host, port, is_resolved_here=is_resolved_here)
    assert (why is not None) == is_refused_now


def test_a_socket_is_made_for_an_address_that_is_allowed() -> None:
    info = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.1", 9000))
    rules("10.0.0.0/8").socket(info).close()
    with pytest.raises(NotPublicError) as caught:
        rules("10.1.0.0/16").socket(info)
    assert "10.0.0.1 is not a public address" in caught.value.why

"""Fetching files from untrusted hosts, on real sockets."""

from __future__ import annotations

import asyncio
import base64
import gzip
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import pytest
import trustme
from fault_server import answer, headers_only
from transport.file_host import FakeResolver, FileHost, Handler
from yarl import URL

from vocalsep_async import ClientClosedError, ErrorAction, RequestTimeoutError, TransportError
from vocalsep_async._transport.addresses import AddressInfo, AddressRules
from vocalsep_async._transport.files import FileReply, FileTransport
from vocalsep_async._transport.proxies import Proxies

pytestmark = pytest.mark.anyio

SECRET = "CANARY-9f86d081"
LINK = f"/{SECRET}-folder/vocal.mp3?X-Amz-Signature={SECRET}"
FILE = answer(b"audio", kind="audio/mpeg")
HANGS = 60.0
"""Seconds after which a call counts as hanging."""


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "NETRC"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
async def host() -> AsyncIterator[FileHost]:
    async with FileHost() as host:
        yield host


@asynccontextmanager
async def made(api: str, **options: Any) -> AsyncIterator[FileTransport]:
    settings: dict[str, Any] = {"user_agent": "tester/1", "read_timeout": 2 * HANGS} | options
    transport = FileTransport(URL(api), **settings)
    try:
        yield transport
    finally:
        await transport.aclose()


@pytest.fixture
async def transport(host: FileHost) -> AsyncIterator[FileTransport]:
    """Trusts the one host, which is the API's own."""
    async with made(f"{host.url}/api/v1") as transport:
        yield transport


@pytest.fixture
async def stranger() -> AsyncIterator[FileTransport]:
    """Trusts no host on this machine."""
    async with made("https://api.example") as transport:
        yield transport


async def fetched(
    transport: FileTransport, link: str, headers: dict[str, str] | None = None
) -> tuple[FileReply, bytes]:
    async with transport.get(link, headers or {}) as reply:
        body = b""
        with anyio.fail_after(HANGS):
            while data := await reply.read():
                body += data
    return reply, body


async def failure_of(transport: FileTransport, link: str) -> TransportError:
    with pytest.raises(TransportError) as caught:
        await fetched(transport, link)
    error = caught.value
    assert error.__cause__ is None
    assert error.__context__ is None
    assert SECRET not in repr(error)
    assert str(error).isprintable()
    return error


def resolve_to(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> FakeResolver:
    resolver = FakeResolver(*answers)
    monkeypatch.setattr("aiohttp.connector.DefaultResolver", lambda **_: resolver)
    return resolver


def allow_port(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    """Allow *port*, so that the address alone decides: tests cannot listen at 80 and 443."""
    monkeypatch.setattr("vocalsep_async._transport.addresses.WEB_PORTS", frozenset({port}))


def assert_refused(error: TransportError, why: str) -> None:
    assert why in str(error)
    assert error.action is ErrorAction.RAISE
    assert not error.may_have_arrived


# Requests and replies


async def test_a_reply_has_the_metadata_that_the_host_stated(
    host: FileHost, transport: FileTransport
) -> None:
    host.answers["/a"] = answer(
        b"12345", 'ETag: "v1"', "Last-Modified: Mon", kind=" audio/mpeg ; charset=x"
    )
    reply, body = await fetched(transport, f"{host.url}/a")
    assert body == b"12345"
    assert (reply.status, reply.start, reply.size) == (200, 0, 5)
    assert reply.is_delimited
    assert (reply.content_type, reply.encoding, reply.validator) == ("audio/mpeg", None, '"v1"')


async def test_a_reply_without_metadata_has_none(host: FileHost, transport: FileTransport) -> None:
    host.answers["/a"] = b"HTTP/1.1 200 OK\r\n\r\n12345"
    reply, body = await fetched(transport, f"{host.url}/a")
    assert body == b"12345"
    assert (reply.start, reply.size, reply.is_delimited) == (0, None, False)
    assert (reply.content_type, reply.encoding, reply.validator) == (None, None, None)


@pytest.mark.parametrize("status", [300, 304, 403, 404, 410, 416, 500, 503])
async def test_any_status_but_a_redirect_is_a_reply(
    host: FileHost, transport: FileTransport, status: int
) -> None:
    host.answers["/a"] = answer(status=f"{status} No", kind=None)
    reply, body = await fetched(transport, f"{host.url}/a")
    assert (reply.status, body) == (status, b"")


async def test_nothing_is_sent_but_what_a_file_host_needs(
    host: FileHost, transport: FileTransport, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The environment, which may name proxies and logins, changes nothing."""
    netrc = tmp_path / "netrc"
    netrc.write_text("default login someone password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    host.answers["/a"] = answer(b"", "Location: /b", status="302 Found")
    await fetched(transport, f"{host.url}/a?{SECRET}", {"Range": "bytes=5-", "If-Range": '"v1"'})
    assert len(host.seen) == 2
    for seen in host.seen:
        assert dict(seen.headers) == {
            "host": f"127.0.0.1:{host.port}",
            "user-agent": "tester/1",
            "accept-encoding": "identity",
            "accept": "*/*",
            "range": "bytes=5-",
            "if-range": '"v1"',
        }


async def test_a_cookie_is_not_sent_back(host: FileHost) -> None:
    """Requested by name, because aiohttp drops cookies of IP addresses anyway."""
    cookie = "Set-Cookie: session=abc; Path=/"
    host.answers["/a"] = answer(b"", cookie, "Location: /b", status="302 Found")
    host.answers["/b"] = answer(b"audio", cookie)
    async with made("https://api.example", rules=None) as transport:
        for _ in range(2):
            await fetched(transport, f"{host.url_of('localhost')}/a")
    assert [seen.headers.get("cookie") for seen in host.seen] == [None] * 4


# Links


@pytest.mark.parametrize(
    "target",
    [
        "/a%2Fb%3D%20c.mp3?X-Amz-Credential=k%2F2026%2Fs3&X-Amz-Signature=a%2Bb%3D%3D",
        "/a.mp3?sig=%2f%3d%7E~+b%20;&x==&&y",
        "/a/./b/../c//d.mp3?next=../e",
        "/a.mp3?broken=%zz&half=%2",
        "/a.mp3?http://other.example/?x=1",
        "/caf%C3%A9.mp3?q=%C3%A9",
        "/",
    ],
)
async def test_a_signed_link_is_requested_byte_for_byte(
    host: FileHost, transport: FileTransport, target: str
) -> None:
    host.answers["/redirected"] = answer(b"", f"Location: {host.url}{target}", status="302 Found")
    await fetched(transport, host.url + target)
    await fetched(transport, f"{host.url}/redirected")
    assert [seen.target for seen in host.seen] == [target, "/redirected", target]


@pytest.mark.parametrize(
    "written, requested",
    [
        pytest.param("/a b.mp3", "/a%20b.mp3", id="space in the path"),
        pytest.param("/café.mp3?q=é", "/caf%C3%A9.mp3?q=%C3%A9", id="letters beyond ASCII"),
        pytest.param('/a"<>.mp3', "/a%22%3C%3E.mp3", id="signs that URLs do not have"),
        pytest.param("/a.mp3#part", "/a.mp3", id="fragment"),
    ],
)
async def test_what_may_not_stand_in_a_link_is_quoted(
    host: FileHost, transport: FileTransport, written: str, requested: str
) -> None:
    await fetched(transport, host.url + written)
    assert host.seen[0].target == requested


@pytest.mark.parametrize(
    "written, requested",
    [
        pytest.param(
            "/a b.mp3?k=a%2Fb%3D", "/a%20b.mp3?k=a%2Fb%3D", id="a raw space beside escapes"
        ),
        pytest.param("/é%2Fb.mp3?k=%2f", "/%C3%A9%2Fb.mp3?k=%2f", id="a letter beside escapes"),
        pytest.param("/a.mp3?name=my song", "/a.mp3?name=my%20song", id="a space in the query"),
    ],
)
async def test_quoting_one_sign_leaves_the_escapes_of_a_signed_link_alone(
    host: FileHost, transport: FileTransport, written: str, requested: str
) -> None:
    await fetched(transport, host.url + written)
    assert host.seen[0].target == requested


NO_LINKS = [
    "",
    " ",
    "vocal.mp3",
    "/vocal.mp3",
    "//cdn.example/vocal.mp3",
    f"file:///etc/{SECRET}",
    "file://cdn.example/a",
    f"ftp://cdn.example/{SECRET}",
    "data:audio/mpeg;base64,AAAA",
    "javascript:alert(1)",
    "ws://cdn.example/a",
    "http:",
    "http://",
    "http:///a",
    "http:cdn.example/a",
    "http://[half",
    "http://[::1",
    "http://cdn.example:port/a",
    "http://cdn.example:99999/a",
    "http://cdn.example:-1/a",
    f"http://user:{SECRET}@cdn.example/a",
    "http://user@cdn.example/a",
    f"http://:{SECRET}@cdn.example/a",
    f"http://{'a' * 64}.example/a",
    "http://a..example/a",
    "http://\ud800.example/a",
    "http://xn--\u00e9.example/",
]


@pytest.mark.parametrize("link", [pytest.param(link, id=ascii(link)) for link in NO_LINKS])
async def test_an_unusable_link_is_refused_and_never_resolved(
    monkeypatch: pytest.MonkeyPatch, stranger: FileTransport, link: str
) -> None:
    resolver = resolve_to(monkeypatch, ["127.0.0.1"])
    error = await failure_of(stranger, link)
    assert "the link is not an http(s) URL" in str(error)
    assert error.action is ErrorAction.RAISE
    assert not resolver.resolved


@pytest.mark.parametrize("name", ["h\x1b", "h\x00", "h\r\nX", "h\u202e", "h\x7f"])
async def test_an_error_can_be_printed_whatever_the_host_is_called(
    monkeypatch: pytest.MonkeyPatch, stranger: FileTransport, name: str
) -> None:
    resolve_to(monkeypatch, ["127.0.0.1"])
    await failure_of(stranger, f"http://{name}/a")


# Redirects


def redirect(location: str | None, status: str = "302 Found") -> bytes:
    headers = () if location is None else (f"Location: {location}",)
    return answer(b"<html>moved</html>", *headers, status=status, kind="text/html")


def chain(host: FileHost, hops: int) -> None:
    for hop in range(hops):
        host.answers[f"/{hop}"] = redirect(f"/{hop + 1}")
    host.answers[f"/{hops}"] = FILE


@pytest.mark.parametrize("hops", range(1, 6))
async def test_up_to_five_redirects_are_followed(
    host: FileHost, transport: FileTransport, hops: int
) -> None:
    chain(host, hops)
    reply, body = await fetched(transport, f"{host.url}/0")
    assert (reply.status, body) == (200, b"audio")
    assert len(host.seen) == hops + 1


async def test_a_sixth_redirect_is_not_followed(host: FileHost, transport: FileTransport) -> None:
    chain(host, 6)
    error = await failure_of(transport, f"{host.url}/0")
    assert "more than 5 redirects" in str(error)
    assert error.action is ErrorAction.RAISE
    assert [seen.target for seen in host.seen] == [f"/{hop}" for hop in range(6)]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_each_kind_of_redirect_is_followed_with_the_same_headers(
    host: FileHost, transport: FileTransport, status: int
) -> None:
    host.answers["/a/b"] = redirect("c?x=%2F", f"{status} Moved")
    _, body = await fetched(transport, f"{host.url}/a/b", {"Range": "bytes=2-"})
    assert body == b"audio"
    assert [seen.target for seen in host.seen] == ["/a/b", "/a/c?x=%2F"]
    assert [seen.headers["range"] for seen in host.seen] == ["bytes=2-"] * 2


@pytest.mark.parametrize("location", [None, ""], ids=["no Location", "an empty one"])
async def test_a_redirect_to_nowhere_is_said_so(
    host: FileHost, transport: FileTransport, location: str | None
) -> None:
    host.answers["/a"] = redirect(location)
    error = await failure_of(transport, f"{host.url}/a?{SECRET}")
    assert "a redirect without a target" in str(error)
    assert error.action is ErrorAction.RAISE


@pytest.mark.parametrize(
    "location",
    [
        f"file:///etc/{SECRET}",
        f"ftp://cdn.example/{SECRET}",
        "data:audio/mpeg;base64,AAAA",
        "javascript:alert(1)",
        "http://[half",
        f"http://user:{SECRET}@cdn.example/",
        f"http://cdn.example:{SECRET}/",
        "http://cdn.example:99999/",
    ],
)
async def test_a_redirect_to_an_unusable_link_is_refused(
    host: FileHost, transport: FileTransport, location: str
) -> None:
    host.answers["/a"] = redirect(location)
    error = await failure_of(transport, f"{host.url}/a")
    assert "the link is not an http(s) URL" in str(error)
    assert error.action is ErrorAction.RAISE
    assert len(host.seen) == 1


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433"])
async def test_a_redirect_into_a_private_network_is_refused_before_it_is_dialled(
    monkeypatch: pytest.MonkeyPatch, host: FileHost, transport: FileTransport, name: str
) -> None:
    async with FileHost() as victim:
        allow_port(monkeypatch, victim.port)
        host.answers["/a"] = redirect(f"{victim.url_of(name)}{LINK}")
        error = await failure_of(transport, f"{host.url}/a")
        assert_refused(error, " is not a public address; if your network uses such")
        assert victim.connections == 0


async def test_a_redirect_to_another_port_of_the_trusted_host_is_refused(
    host: FileHost, transport: FileTransport
) -> None:
    async with FileHost() as victim:
        host.answers["/a"] = redirect(f"{victim.url}{LINK}")
        error = await failure_of(transport, f"{host.url}/a")
        assert_refused(error, "127.0.0.1 is not a public address")
        assert victim.connections == 0


# TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
async def safe_host(
    authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[FileHost]:
    """An HTTPS server whose certificate is accepted."""
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    monkeypatch.setattr("aiohttp.connector._SSL_CONTEXT_VERIFIED", trust)
    async with FileHost(tls=certified(authority)) as host:
        yield host


def certified(authority: trustme.CA) -> ssl.SSLContext:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    return tls


async def test_a_redirect_from_https_to_http_is_refused(
    host: FileHost, safe_host: FileHost
) -> None:
    safe_host.answers["/a"] = redirect(f"{host.url}{LINK}")
    async with made("https://api.example", rules=None) as transport:
        error = await failure_of(transport, f"{safe_host.url}/a")
        assert_refused(error, "redirected from https to http")
    assert len(safe_host.seen) == 1
    assert host.connections == 0


async def test_a_redirect_to_https_is_followed_but_not_back(
    host: FileHost, safe_host: FileHost
) -> None:
    host.answers["/a"] = redirect(f"{safe_host.url}/b")
    host.answers["/back"] = redirect(f"{safe_host.url}/back")
    safe_host.answers["/b"] = redirect("/c")
    safe_host.answers["/back"] = redirect(f"{host.url}/a")
    async with made("https://api.example", rules=None) as transport:
        _, body = await fetched(transport, f"{host.url}/a")
        assert body == b"audio"
        error = await failure_of(transport, f"{host.url}/back")
        assert_refused(error, "redirected from https to http")
    assert [seen.target for seen in host.seen] == ["/a", "/back"]


async def test_an_unknown_certificate_is_refused(authority: trustme.CA) -> None:
    async with FileHost(tls=certified(authority)) as host, made(host.url) as transport:
        error = await failure_of(transport, f"{host.url}{LINK}")
        assert_refused(error, "certificate was not accepted")
        assert not host.seen


# Which hosts


@pytest.mark.parametrize(
    "name",
    [
        "127.0.0.1",
        "127.0.0.1.",
        "127.1",
        "127.0.1",
        "0177.0.0.1",
        "0x7f000001",
        "0x7f.1",
        "2130706433",
        "0.0.0.0",
        "0",
        "127.0.0.2",
        "169.254.169.254",
        "10.0.0.1",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[fe80::1]",
        "[fd00::1]",
        "\uff11\uff12\uff17.0.0.1",
        "127\u30020\u30020\u30021",
        "localhost",
        "LOCALHOST",
    ],
)
async def test_this_machine_is_not_dialled_however_it_is_spelled(
    monkeypatch: pytest.MonkeyPatch, stranger: FileTransport, name: str
) -> None:
    dialled = record_sockets(monkeypatch)
    async with FileHost() as victim:
        allow_port(monkeypatch, victim.port)
        error = await failure_of(stranger, f"{victim.url_of(name)}{LINK}")
        assert_refused(error, " is not a public address; if your network uses such")
        assert victim.connections == 0
    assert not dialled


def record_sockets(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that sockets are made for; none of them is dialled."""
    dialled: list[str] = []

    make = AddressRules.socket

    def refuse(rules: AddressRules, info: AddressInfo) -> socket.socket:
        make(rules, info).close()
        dialled.append(str(info[4][0]))
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr("vocalsep_async._transport.addresses.AddressRules.socket", refuse)
    return dialled


@pytest.mark.parametrize(
    "addresses, shown",
    [
        pytest.param(["127.0.0.1"], "127.0.0.1", id="one"),
        pytest.param(["127.0.0.1", "127.0.0.1"], "127.0.0.1", id="one twice"),
        pytest.param(["10.0.0.1", "127.0.0.1", "::1"], "", id="several"),
        pytest.param(["::ffff:127.0.0.1"], "127.0.0.1", id="mapped"),
    ],
)
async def test_a_name_that_leads_into_the_users_network_is_not_dialled(
    monkeypatch: pytest.MonkeyPatch, stranger: FileTransport, addresses: list[str], shown: str
) -> None:
    resolver = resolve_to(monkeypatch, addresses)
    dialled = record_sockets(monkeypatch)
    error = await failure_of(stranger, f"http://cdn.example{LINK}")
    assert_refused(error, "GET at cdn.example: " + shown)
    assert resolver.resolved == ["cdn.example"]
    assert not dialled


async def test_a_name_that_resolves_differently_is_checked_again(
    monkeypatch: pytest.MonkeyPatch, stranger: FileTransport
) -> None:
    resolver = resolve_to(monkeypatch, ["8.8.8.8"], ["127.0.0.1"])
    dialled = record_sockets(monkeypatch)
    async with FileHost() as victim:
        allow_port(monkeypatch, victim.port)
        link = f"{victim.url_of('cdn.example')}{LINK}"
        first = await failure_of(stranger, link)
        assert "no connection (Connection refused)" in str(first)
        assert first.action is ErrorAction.RETRY
        connector = stranger._session(is_guarded=True).connector
        assert isinstance(connector, aiohttp.TCPConnector)
        connector.clear_dns_cache()
        assert_refused(await failure_of(stranger, link), "is not a public address")
        assert victim.connections == 0
    assert resolver.resolved == ["cdn.example", "cdn.example"]
    assert dialled == ["8.8.8.8"]


@pytest.mark.parametrize(
    "addresses", [["127.0.0.1", "8.8.8.8"], ["8.8.8.8", "127.0.0.1"]], ids=["first", "last"]
)
async def test_of_the_addresses_of_one_name_only_the_public_ones_are_dialled(
    monkeypatch: pytest.MonkeyPatch, stranger: FileTransport, addresses: list[str]
) -> None:
    resolve_to(monkeypatch, addresses)
    dialled = record_sockets(monkeypatch)
    async with FileHost() as victim:
        allow_port(monkeypatch, victim.port)
        await failure_of(stranger, f"{victim.url_of('cdn.example')}{LINK}")
        assert victim.connections == 0
    assert set(dialled) == {"8.8.8.8"}


async def test_a_public_address_written_in_a_link_is_dialled(
    monkeypatch: pytest.MonkeyPatch, stranger: FileTransport
) -> None:
    dialled = record_sockets(monkeypatch)
    error = await failure_of(stranger, f"http://8.8.8.8{LINK}")
    assert "no connection" in str(error)
    assert dialled == ["8.8.8.8"]


async def test_a_name_that_does_not_resolve_is_worth_another_try(
    monkeypatch: pytest.MonkeyPatch, stranger: FileTransport
) -> None:
    resolve_to(monkeypatch, [])
    error = await failure_of(stranger, f"https://cdn.example{LINK}")
    assert "GET at cdn.example: the name does not resolve" in str(error)
    assert error.action is ErrorAction.RETRY


@pytest.mark.parametrize("port", [0, 22, 25, 6379, 8080, 65535])
async def test_ports_of_other_services_are_refused_without_resolving_the_name(
    monkeypatch: pytest.MonkeyPatch, stranger: FileTransport, port: int
) -> None:
    resolver = resolve_to(monkeypatch, ["127.0.0.1"])
    error = await failure_of(stranger, f"https://cdn.example:{port}{LINK}")
    assert_refused(error, f"the port {port} is not one of the web's; allow_private_hosts=True")
    assert not resolver.resolved


@pytest.mark.parametrize(
    "origin",
    [
        "http://cdn.example",
        "https://cdn.example",
        "http://cdn.example:80",
        "http://cdn.example:443",
        "https://cdn.example:443",
    ],
)
async def test_the_ports_of_the_web_are_dialled(
    monkeypatch: pytest.MonkeyPatch, stranger: FileTransport, origin: str
) -> None:
    resolver = resolve_to(monkeypatch, [])
    assert "does not resolve" in str(await failure_of(stranger, origin + LINK))
    assert resolver.resolved == ["cdn.example"]


async def test_the_apis_own_host_and_port_are_trusted_and_no_others(
    monkeypatch: pytest.MonkeyPatch, host: FileHost, transport: FileTransport
) -> None:
    _, body = await fetched(transport, f"{host.url}/elsewhere")
    assert body == b"audio"
    async with FileHost() as other:
        for link in (other.url, host.url_of("localhost"), f"https://127.0.0.1:{host.port}"):
            assert_refused(await failure_of(transport, link), "is not a public address")
        allow_port(monkeypatch, host.port)
        error = await failure_of(transport, host.url_of("localhost"))
        assert_refused(error, "is not a public address")
        assert (host.connections, other.connections) == (1, 0)


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
async def test_every_host_and_port_can_be_allowed(host: FileHost, name: str) -> None:
    async with made("https://api.example", rules=None) as transport:
        _, body = await fetched(transport, f"{host.url_of(name)}/a")
    assert body == b"audio"


async def test_hosts_in_an_allowed_network_are_dialled_and_no_others(
    monkeypatch: pytest.MonkeyPatch, host: FileHost
) -> None:
    resolve_to(monkeypatch, ["127.0.0.1"], ["127.0.0.1"], ["10.0.0.1"])
    rules = AddressRules((ip_network("127.0.0.0/8"),))
    async with made("https://api.example", rules=rules) as transport:
        for name in ("127.0.0.1", "localhost", "cdn.example"):
            _, body = await fetched(transport, f"{host.url_of(name)}/a")
            assert body == b"audio"
        error = await failure_of(transport, f"{host.url_of('other.example')}{LINK}")
    assert_refused(error, "GET at other.example: 10.0.0.1 is not a public address")
    assert "allow_private_hosts=('10.0.0.1/32',)" in str(error)


# Bodies


def then(sent: bytes, *, reset: bool = False) -> Handler:
    """Send *sent* and end the connection."""

    async def end(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(sent)
        await writer.drain()
        if reset:
            linger = struct.pack("ii", 1, 0)
            sock: socket.socket = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()

    return end


def silent_after(sent: bytes) -> Handler:
    """Send *sent*, and nothing more until the client gives up."""

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(sent)
        await writer.drain()
        await reader.read()

    return wait


CHUNKED = headers_only("Transfer-Encoding: chunked")
SIZED = headers_only("Content-Length: 10")


@pytest.mark.parametrize(
    "fault, message",
    [
        pytest.param(then(b""), "closed the connection", id="closed before the answer"),
        pytest.param(then(b"", reset=True), "broke", id="reset before the answer"),
        pytest.param(then(b"HTTP/1.1 200"), "", id="closed inside the headers"),
        pytest.param(then(SIZED), "cut or damaged", id="no body"),
        pytest.param(then(SIZED + b"12345"), "cut or damaged", id="half a body"),
        pytest.param(then(CHUNKED + b"5\r\n12345\r\n"), "cut or damaged", id="chunks, no end"),
        pytest.param(then(CHUNKED + b"5\r\n123"), "cut or damaged", id="half a chunk"),
        pytest.param(then(CHUNKED + b"zz\r\n12345\r\n"), "not HTTP", id="a chunk of no size"),
        pytest.param(then(b"SSH-2.0-OpenSSH_9.6\r\n"), "not HTTP", id="another protocol"),
        pytest.param(
            then(headers_only(f"Content-Length: {'9' * 5000}") + b"1"), "not HTTP", id="a huge size"
        ),
        pytest.param(
            then(headers_only("Content-Length: 1", "Content-Length: 2") + b"12"),
            "not HTTP",
            id="two sizes",
        ),
    ],
)
async def test_an_answer_that_is_cut_or_damaged_is_worth_another_try(
    host: FileHost, transport: FileTransport, fault: Handler, message: str
) -> None:
    host.answers["/a"] = fault
    error = await failure_of(transport, f"{host.url}/a?{SECRET}")
    assert type(error) is TransportError
    assert str(error).startswith("GET at 127.0.0.1: ")
    assert message in str(error)
    assert error.action is ErrorAction.RETRY


async def test_a_body_that_is_reset_is_worth_another_try(
    host: FileHost, transport: FileTransport
) -> None:
    is_read = anyio.Event()

    async def fault(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(SIZED + b"12345")
        await is_read.wait()
        await then(b"", reset=True)(_, writer)

    host.answers["/a"] = fault
    async with transport.get(f"{host.url}/a", {}) as reply:
        assert await reply.read() == b"12345"
        is_read.set()
        with pytest.raises(TransportError) as caught:
            await reply.read()
    assert type(caught.value) is TransportError
    assert "the connection broke (Connection reset by peer)" in str(caught.value)
    assert caught.value.action is ErrorAction.RETRY


async def end_of_reading(reply: FileReply) -> Exception | bytes | None:
    """What the next read comes to; None if it never ends."""
    with anyio.move_on_after(HANGS):
        try:
            return await reply.read()
        except (TransportError, ClientClosedError) as error:
            return error
    return None


async def test_a_body_whose_chunks_become_damaged_ends_in_an_error(host: FileHost) -> None:
    is_read = anyio.Event()

    async def fault(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED + b"5\r\n12345\r\n")
        await is_read.wait()
        await then(b"zz\r\n12345\r\n")(_, writer)

    host.answers["/a"] = fault
    async with (
        made(host.url, read_timeout=1.0) as transport,
        transport.get(f"{host.url}/a", {}) as got,
    ):
        assert await got.read() == b"12345"
        is_read.set()
        end = await end_of_reading(got)
    assert isinstance(end, TransportError)
    assert end.action is ErrorAction.RETRY


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"", id="from the beginning"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-", id="inside the headers"),
        pytest.param(SIZED, id="after the headers"),
        pytest.param(SIZED + b"12345", id="in the body"),
        pytest.param(CHUNKED + b"5\r\n12345\r\n", id="between chunks"),
    ],
)
async def test_silence_is_borne_up_to_the_read_timeout(host: FileHost, sent: bytes) -> None:
    host.answers["/a"] = silent_after(sent)
    async with made(host.url, read_timeout=0.05) as transport:
        error = await failure_of(transport, f"{host.url}/a")
    assert type(error) is RequestTimeoutError
    assert str(error) == "GET at 127.0.0.1: no complete answer within 0.05 s"
    assert error.action is ErrorAction.RETRY


async def test_a_body_of_no_length_ends_with_its_connection_and_is_said_to(
    host: FileHost, transport: FileTransport
) -> None:
    host.answers["/a"] = then(headers_only("Connection: close") + b"12345")
    reply, body = await fetched(transport, f"{host.url}/a")
    assert (body, reply.size, reply.is_delimited) == (b"12345", None, False)


async def test_a_body_in_chunks_has_an_end_but_no_size(
    host: FileHost, transport: FileTransport
) -> None:
    host.answers["/a"] = CHUNKED + b"5\r\n12345\r\n3\r\n678\r\n0\r\n\r\n"
    reply, body = await fetched(transport, f"{host.url}/a")
    assert (body, reply.size, reply.is_delimited) == (b"12345678", None, True)


@pytest.mark.parametrize("coding", ["identity", "gzip"])
async def test_a_transfer_coding_without_chunks_does_not_delimit_the_body(
    host: FileHost, transport: FileTransport, coding: str
) -> None:
    host.answers["/a"] = then(headers_only(f"Transfer-Encoding: {coding}") + b"12345")
    reply, body = await fetched(transport, f"{host.url}/a")
    assert (body, reply.size, reply.is_delimited) == (b"12345", None, False)
    assert reply.encoding == (None if coding == "identity" else coding)


@pytest.mark.parametrize("lines", [("identity", "gzip"), ("", "gzip"), ("gzip", "identity")])
async def test_a_coding_is_reported_at_any_position_among_several(
    host: FileHost, transport: FileTransport, lines: tuple[str, ...]
) -> None:
    host.answers["/a"] = answer(b"12345", *(f"Content-Encoding: {line}" for line in lines))
    reply, _ = await fetched(transport, f"{host.url}/a")
    assert reply.encoding == "gzip"


@pytest.mark.parametrize("written", ["Text/HTML; charset=X", " text/html ", "TEXT/HTML;"])
async def test_the_content_type_is_lower_case(
    host: FileHost, transport: FileTransport, written: str
) -> None:
    host.answers["/a"] = answer(b"12345", kind=written)
    reply, _ = await fetched(transport, f"{host.url}/a")
    assert reply.content_type == "text/html"


async def test_an_answer_that_is_longer_than_it_said_is_worth_another_try(
    host: FileHost, transport: FileTransport
) -> None:
    host.answers["/a"] = then(SIZED + b"0123456789 and more")
    error = await failure_of(transport, f"{host.url}/a?{SECRET}")
    assert error.action is ErrorAction.RETRY


async def test_a_large_body_comes_in_pieces_and_is_not_held_in_memory(
    host: FileHost, transport: FileTransport
) -> None:
    size = 8 << 20
    host.answers["/a"] = answer(bytes(size))
    pieces: list[int] = []
    async with transport.get(f"{host.url}/a", {}) as reply:
        while data := await reply.read():
            pieces.append(len(data))
    assert sum(pieces) == size
    assert max(pieces) <= 2 << 20


async def test_what_is_not_read_is_not_waited_for(host: FileHost, transport: FileTransport) -> None:
    hung_up = anyio.Event()

    async def watch(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await silent_after(SIZED + b"12345")(reader, writer)
        hung_up.set()

    host.answers["/a"] = watch
    async with transport.get(f"{host.url}/a", {}) as reply:
        assert await reply.read() == b"12345"
    with anyio.fail_after(HANGS):
        await hung_up.wait()


@pytest.mark.parametrize(
    "header, coding",
    [
        pytest.param("identity", None, id="none"),
        pytest.param(" Identity ", None, id="none in capitals"),
        pytest.param("", None, id="empty"),
        pytest.param("gzip", "gzip", id="gzip"),
        pytest.param("GZIP", "gzip", id="gzip in capitals"),
        pytest.param("deflate, gzip", "deflate, gzip", id="two"),
        pytest.param("br", "br", id="one that is not installed"),
        pytest.param("rot13", "rot13", id="an unknown one"),
    ],
)
async def test_a_compressed_body_is_reported_and_not_decompressed(
    host: FileHost, transport: FileTransport, header: str, coding: str | None
) -> None:
    packed = gzip.compress(b"audio")
    host.answers["/a"] = answer(packed, f"Content-Encoding: {header}")
    reply, body = await fetched(transport, f"{host.url}/a")
    assert (reply.encoding, body) == (coding, packed)


@pytest.mark.parametrize(
    "header, start, size",
    [
        ("bytes 5-9/10", 5, 10),
        ("bytes 0-0/1", 0, 1),
        (" bytes 5-9/10 ", 5, 10),
        ("bytes 5-9/*", 5, None),
        ("bytes 005-9/010", 5, 10),
        (None, -1, None),
        ("", -1, None),
        ("bytes */10", -1, None),
        ("bytes 5-/10", -1, None),
        ("bytes -5/10", -1, None),
        ("bytes 5-9", -1, None),
        ("bytes=5-9/10", -1, None),
        ("bytes 5-9/10, 20-29/30", -1, None),
        ("bytes 5-9/10 junk", -1, None),
        ("items 5-9/10", -1, None),
        ("bytes \u0665-9/10", -1, None),
        (f"bytes 5-9/{'1' * 19}", -1, None),
        (f"bytes {'1' * 5000}-9/10", -1, None),
    ],
)
async def test_which_part_of_a_file_came_is_read_strictly(
    host: FileHost, transport: FileTransport, header: str | None, start: int, size: int | None
) -> None:
    headers = () if header is None else (f"Content-Range: {header}",)
    host.answers["/a"] = answer(b"12345", *headers, status="206 Partial Content")
    reply, _ = await fetched(transport, f"{host.url}/a")
    assert (reply.status, reply.start, reply.size) == (206, start, size)


async def test_a_content_range_counts_only_where_a_part_came(
    host: FileHost, transport: FileTransport
) -> None:
    host.answers["/a"] = answer(b"12345", "Content-Range: bytes 5-9/10")
    reply, _ = await fetched(transport, f"{host.url}/a")
    assert (reply.start, reply.size) == (0, 5)


DATE = "Wed, 21 Oct 2026 07:28:00 GMT"


@pytest.mark.parametrize(
    "headers, validator",
    [
        pytest.param((), None, id="neither"),
        pytest.param(('ETag: "v1"',), '"v1"', id="strong tag"),
        pytest.param(('ETag: ""',), '""', id="empty strong tag"),
        pytest.param(('ETag: W/"v1"',), None, id="weak tag"),
        pytest.param(("ETag: v1",), None, id="tag without quotes"),
        pytest.param(("ETag: ",), None, id="empty tag"),
        pytest.param((f"Last-Modified: {DATE}",), DATE, id="time"),
        pytest.param(('ETag: "v1"', f"Last-Modified: {DATE}"), '"v1"', id="strong tag and time"),
        pytest.param(('ETag: W/"v1"', f"Last-Modified: {DATE}"), None, id="weak tag and time"),
        pytest.param(('ETag: "a\tb"',), None, id="a tab in a tag"),
        pytest.param(('ETag: "a\x7fb"',), None, id="a delete in a tag"),
        pytest.param(('ETag: "caf\u00e9"',), None, id="a letter beyond ASCII in a tag"),
        pytest.param(("Last-Modified: a\tb",), None, id="a tab in a time"),
        pytest.param(("Last-Modified: \u00e9",), None, id="a letter beyond ASCII in a time"),
        pytest.param(("Last-Modified: ",), None, id="empty time"),
    ],
)
async def test_only_a_validator_of_every_byte_is_kept(
    host: FileHost, transport: FileTransport, headers: tuple[str, ...], validator: str | None
) -> None:
    host.answers["/a"] = answer(b"12345", *headers)
    reply, _ = await fetched(transport, f"{host.url}/a")
    assert reply.validator == validator


# Proxies


@asynccontextmanager
async def through(proxy: str, api: str = "https://api.example") -> AsyncIterator[FileTransport]:
    proxies = Proxies(dict.fromkeys(("http", "https"), URL(proxy)))
    async with made(api, proxies=proxies) as transport:
        yield transport


def with_login(url: str) -> str:
    return url.replace("http://", f"http://user:{SECRET}@")


async def test_a_proxy_gets_the_link_and_only_its_own_login(host: FileHost) -> None:
    """A proxy resolves names itself and may have any address."""
    async with through(with_login(host.url)) as transport:
        _, body = await fetched(transport, "http://cdn.example/a%2Fb.mp3?x=%3D")
    assert body == b"audio"
    (seen,) = host.seen
    assert seen.target == "http://cdn.example/a%2Fb.mp3?x=%3D"
    assert seen.headers["host"] == "cdn.example"
    login = base64.b64encode(f"user:{SECRET}".encode()).decode()
    assert seen.headers["proxy-authorization"] == f"Basic {login}"
    assert not {"authorization", "cookie", "referer"} & set(seen.headers)


async def test_a_proxy_without_a_login_gets_none(host: FileHost) -> None:
    async with through(host.url) as transport:
        await fetched(transport, "http://cdn.example/a.mp3")
    assert "proxy-authorization" not in host.seen[0].headers


@pytest.mark.parametrize(
    "name",
    [
        "127.0.0.1",
        "127.1",
        "0x7f.1",
        "0177.0.0.1",
        "2130706433",
        "[::1]",
        "169.254.169.254",
        "localhost",
        "LOCALHOST.",
        "a.localhost",
    ],
)
async def test_a_private_address_is_not_requested_from_a_proxy(host: FileHost, name: str) -> None:
    async with through(with_login(host.url)) as transport:
        error = await failure_of(transport, f"http://{name}{LINK}")
        assert_refused(error, "is not a public address")
    assert host.connections == 0


async def test_a_redirect_that_a_proxy_brings_is_judged_too(host: FileHost) -> None:
    host.answers["/a"] = redirect("http://169.254.169.254/latest")
    async with through(host.url) as transport:
        error = await failure_of(transport, "http://cdn.example/a")
        assert_refused(error, "is not a public address")
    assert len(host.seen) == 1


async def test_the_address_of_the_api_is_requested_from_a_proxy(host: FileHost) -> None:
    async with through(host.url, api="http://127.0.0.1:8123") as transport:
        _, body = await fetched(transport, "http://127.0.0.1:8123/a")
    assert body == b"audio"
    assert host.seen[0].target == "http://127.0.0.1:8123/a"


async def test_a_refused_tunnel_is_reported_without_the_login(
    host: FileHost,
) -> None:
    host.answers["443"] = answer(status="403 Forbidden")
    async with through(with_login(host.url)) as transport:
        error = await failure_of(transport, f"https://cdn.example{LINK}")
        assert_refused(error, "GET at cdn.example: the proxy answered 403")
    assert [(seen.method, seen.target) for seen in host.seen] == [("CONNECT", "cdn.example:443")]
    assert SECRET.encode() not in host.seen[0].head


async def test_a_proxy_that_cannot_be_reached_is_worth_another_try() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        proxy = with_login(f"http://127.0.0.1:{probe.getsockname()[1]}")
        async with through(proxy) as transport:
            error = await failure_of(transport, f"http://cdn.example{LINK}")
    assert "the proxy cannot be reached" in str(error)
    assert error.action is ErrorAction.RETRY


# Closing


async def test_a_transport_needs_closing_while_a_session_is_open(
    host: FileHost, transport: FileTransport
) -> None:
    states = [transport.needs_closing]
    await fetched(transport, f"{host.url}/a")
    states.append(transport.needs_closing)
    await transport.aclose()
    states.append(transport.needs_closing)
    await transport.aclose()
    assert states == [False, True, False]


async def test_both_sessions_are_closed(
    monkeypatch: pytest.MonkeyPatch, host: FileHost, transport: FileTransport
) -> None:
    resolve_to(monkeypatch, [])
    await fetched(transport, f"{host.url}/a")
    await failure_of(transport, f"http://cdn.example{LINK}")
    sessions = list(transport._sessions.values())
    await transport.aclose()
    assert [session.closed for session in sessions] == [True, True]


async def test_after_closing_nothing_is_fetched(host: FileHost, transport: FileTransport) -> None:
    await transport.aclose()
    with pytest.raises(ClientClosedError, match="make a new one"):
        await fetched(transport, f"{host.url}/a")
    assert host.connections == 0


async def test_closing_ends_a_wait_for_an_answer(host: FileHost, transport: FileTransport) -> None:
    has_come = anyio.Event()

    async def wait(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        has_come.set()
        await reader.read()

    host.answers["/a"] = wait

    async def close() -> None:
        await has_come.wait()
        await transport.aclose()

    async with anyio.create_task_group() as group:
        group.start_soon(close)
        with pytest.raises(ClientClosedError) as caught, anyio.fail_after(HANGS):
            await fetched(transport, f"{host.url}/a?{SECRET}")
    assert SECRET not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(SIZED + b"12345", id="of a length"),
        pytest.param(CHUNKED + b"5\r\n12345\r\n", id="in chunks"),
        pytest.param(headers_only("Connection: close") + b"12345", id="of no length"),
    ],
)
async def test_closing_during_a_body_raises_an_error(host: FileHost, sent: bytes) -> None:
    host.answers["/a"] = silent_after(sent)
    ends: list[Exception | bytes | None] = []
    async with made(host.url, read_timeout=2 * HANGS) as transport:

        async def read_on(reply: FileReply) -> None:
            ends.append(await end_of_reading(reply))

        async with (
            transport.get(f"{host.url}/a", {}) as reply,
            anyio.create_task_group() as group,
        ):
            assert await reply.read() == b"12345"
            group.start_soon(read_on, reply)
            await anyio.wait_all_tasks_blocked()
            await transport.aclose()
    assert isinstance(ends[0], ClientClosedError)
    assert ends[0].__context__ is None


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(SIZED + b"12345", id="half a body"),
        pytest.param(SIZED + b"1234567890", id="a whole one"),
        pytest.param(headers_only("Connection: close") + b"12345", id="one of no length"),
    ],
)
async def test_after_closing_nothing_more_of_a_body_is_read(host: FileHost, sent: bytes) -> None:
    host.answers["/a"] = silent_after(sent)
    async with made(host.url) as transport, transport.get(f"{host.url}/a", {}) as reply:
        assert await reply.read()
        await transport.aclose()
        end = await end_of_reading(reply)
    assert isinstance(end, ClientClosedError)


async def test_an_end_caused_by_closing_is_not_the_end_of_the_file(
    host: FileHost,
) -> None:
    host.answers["/a"] = silent_after(headers_only("Connection: close") + b"12345")
    ends: list[Exception | bytes | None] = []
    async with made(host.url, read_timeout=2 * HANGS) as transport:

        async def read_on(reply: FileReply) -> None:
            ends.append(await end_of_reading(reply))

        async with (
            transport.get(f"{host.url}/a", {}) as reply,
            anyio.create_task_group() as group,
        ):
            assert await reply.read() == b"12345"
            group.start_soon(read_on, reply)
            await anyio.wait_all_tasks_blocked()
            reply._response.content.feed_eof()
            await transport.aclose()
    assert isinstance(ends[0], ClientClosedError)


async def test_closing_wakes_all_readers(host: FileHost) -> None:
    host.answers["/a"] = silent_after(SIZED)
    ends: list[Exception | bytes | None] = []
    all_have_come = anyio.Event()
    async with made(host.url, read_timeout=2 * HANGS) as transport:

        async def read() -> None:
            async with transport.get(f"{host.url}/a", {}) as reply:
                if len(transport._open) == 3:
                    all_have_come.set()
                ends.append(await end_of_reading(reply))

        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(read)
            with anyio.fail_after(HANGS):
                await all_have_come.wait()
            await anyio.wait_all_tasks_blocked()
            await transport.aclose()
    assert [type(end) for end in ends] == [ClientClosedError] * 3
    assert not transport._open


@pytest.fixture
def full_backlog() -> Iterator[int]:
    """A port that neither accepts nor refuses: its queue of half-open connections is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port: int = listener.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        yield port
        for filler in fillers:
            filler.close()


async def test_a_host_that_never_accepts_is_given_up(
    monkeypatch: pytest.MonkeyPatch, full_backlog: int
) -> None:
    monkeypatch.setattr("vocalsep_async._transport.files._CONNECT_TIMEOUT", 0.05)
    async with made(f"http://127.0.0.1:{full_backlog}") as transport:
        error = await failure_of(transport, f"http://127.0.0.1:{full_backlog}{LINK}")
    assert type(error) is RequestTimeoutError
    assert "no connection in time" in str(error)
    assert error.action is ErrorAction.RETRY

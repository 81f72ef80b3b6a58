"""Proxies and certificate authorities of the user's network, for the API and for files."""

from __future__ import annotations

import base64
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest
import trustme
from fault_server import HTML, TASK_ID, FaultServer, answer
from transport.file_host import FileHost
from transport.forward_proxy import ForwardProxy
from yarl import URL

from vocalsep_async import (
    ConfigurationError,
    DownloadError,
    ErrorAction,
    RetryPolicy,
    SeparationTask,
    Stems,
    TaskStatus,
    TransportError,
    VocalSepClient,
    VocalSepError,
    _arguments,
)
from vocalsep_async._transport.proxies import Proxies

KEY = "sk-test-0123456789"
PASSWORD = "CANARY-5e1f"
LOGIN = f"Basic {base64.b64encode(f'user:{PASSWORD}'.encode()).decode()}"
VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
AUDIO = answer(b"ID3" + bytes(2000), kind="audio/mpeg")


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*VARIABLES, "NETRC", "REQUEST_METHOD"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def client_at(url: str, **options: Any) -> VocalSepClient:
    retry = RetryPolicy(attempts=2, initial=0.001, maximum=0.001)
    return VocalSepClient(KEY, base_url=url, rate_limit=None, retry=retry, **options)


def with_login(url: str) -> str:
    return url.replace("://", f"://user:{PASSWORD}@")


def finished(link: str) -> SeparationTask:
    return SeparationTask(task_id="a", status=TaskStatus.SUCCESS, stems=Stems(vocal=link))


# Which proxy

PROXY = "http://proxy.example:3128"


def chosen(url: str, *, trust_env: bool = True) -> str | None:
    proxies = Proxies(*_arguments.proxies(None, trust_env=trust_env))
    proxy = proxies.for_url(URL(url))
    return None if proxy is None else str(proxy.address).rstrip("/")


@pytest.mark.parametrize(
    "environ, http, https",
    [
        ({}, None, None),
        ({"HTTPS_PROXY": PROXY}, None, PROXY),
        ({"https_proxy": PROXY}, None, PROXY),
        ({"HTTP_PROXY": PROXY}, PROXY, None),
        ({"ALL_PROXY": PROXY}, PROXY, PROXY),
        ({"all_proxy": PROXY, "HTTPS_PROXY": "http://other:1"}, PROXY, "http://other:1"),
        ({"HTTPS_PROXY": "http://loud:1", "https_proxy": PROXY}, None, PROXY),
        ({"HTTPS_PROXY": PROXY, "https_proxy": ""}, None, None),
        ({"HTTPS_PROXY": ""}, None, None),
        ({"HTTPS_PROXY": " proxy.example:3128 "}, None, PROXY),
        ({"HTTPS_PROXY": with_login(PROXY)}, None, PROXY),
        ({"ALL_PROXY": PROXY, "NO_PROXY": "*"}, None, None),
        # A web server hands the header "Proxy:" of a visitor to its scripts like this.
        ({"HTTP_PROXY": PROXY, "REQUEST_METHOD": "GET"}, None, None),
        # Never used, so that it is no obstacle.
        ({"ALL_PROXY": "socks5://p:1", "HTTP_PROXY": PROXY, "HTTPS_PROXY": PROXY}, PROXY, PROXY),
        ({"ALL_PROXY": "socks5://p:1", "NO_PROXY": " * "}, None, None),
    ],
)
def test_the_client_finds_the_proxy_of_each_scheme_in_the_environment(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], http: str | None, https: str | None
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert chosen("http://api.example") == http
    assert chosen("https://api.example") == https
    assert chosen("https://api.example", trust_env=False) is None


@pytest.mark.parametrize(
    "no_proxy, url, is_direct",
    [
        ("api.example", "https://api.example", True),
        ("API.Example", "https://api.example", True),
        ("api.example", "https://API.EXAMPLE.", True),
        ("example", "https://api.example", True),
        (".example", "https://api.example", True),
        ("other.example, .example", "https://api.example", True),
        ("ample", "https://api.example", False),
        ("other.example", "https://api.example", False),
        ("", "https://api.example", False),
        (",", "https://api.example", False),
        ("api.example:443", "https://api.example", True),
        ("api.example:8443", "https://api.example", False),
        ("api.example:8443", "https://api.example:8443", True),
        ("bücher.example", "https://bücher.example", False),
        ("xn--bcher-kva.example", "https://bücher.example", True),
        ("127.0.0.1", "http://127.0.0.1:8080", True),
        ("127.0.0.1:8080", "http://127.0.0.1:8080", True),
        ("127.0.0.0/8", "http://127.0.0.1:8080", True),
        ("10.1.2.3/8", "http://10.9.9.9", True),
        ("10.0.0.0/8", "http://11.0.0.1", False),
        ("10.0.0.0/8", "http://10.example", False),
        ("fd00::/8", "http://[fd00::1]:80", True),
        ("::1", "http://[::1]:8080", True),
        ("[::1]:8080", "http://[::1]:8080", True),
        ("::1", "http://[::2]:8080", False),
    ],
)
def test_hosts_in_no_proxy_are_reached_directly(
    monkeypatch: pytest.MonkeyPatch, no_proxy: str, url: str, *, is_direct: bool
) -> None:
    monkeypatch.setenv("ALL_PROXY", PROXY)
    monkeypatch.setenv("NO_PROXY", no_proxy)
    assert chosen(url) == (None if is_direct else PROXY)


@pytest.mark.parametrize(
    "name, value, words",
    [
        (
            "HTTPS_PROXY",
            f"ftp://user:{PASSWORD}@proxy",
            "the environment variable HTTPS_PROXY must",
        ),
        ("https_proxy", "http://", "the environment variable https_proxy must be a URL such as"),
        ("HTTP_PROXY", "http://proxy:port", "the environment variable HTTP_PROXY must be a URL"),
        ("ALL_PROXY", f"socks5://user:{PASSWORD}@p:1", "ALL_PROXY names a SOCKS proxy"),
        ("all_proxy", "SOCKS5H://p:1", "all_proxy names a SOCKS proxy"),
        ("HTTPS_PROXY", "socks4://p:1", "HTTPS_PROXY names a SOCKS proxy"),
    ],
)
def test_a_proxy_of_the_environment_that_cannot_be_used_is_refused_before_any_request(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=words) as caught:
        VocalSepClient(KEY, trust_env=True)
    assert PASSWORD not in str(caught.value)
    VocalSepClient(KEY)
    VocalSepClient(KEY, trust_env=True, proxy=PROXY)


def test_a_socks_proxy_that_is_passed_is_refused_as_such() -> None:
    with pytest.raises(ConfigurationError, match="proxy names a SOCKS proxy, which is not"):
        VocalSepClient(KEY, proxy=f"socks5://user:{PASSWORD}@127.0.0.1:1080")


def test_the_login_of_a_proxy_shows_in_no_repr() -> None:
    proxy = Proxies({"https": URL(with_login(PROXY))}).for_url(URL("https://a"))
    assert proxy is not None
    assert proxy.login == {"Proxy-Authorization": LOGIN}
    assert PASSWORD not in repr(proxy)
    assert LOGIN not in repr(proxy)


# Contexts


@pytest.mark.parametrize(
    "value, words",
    [
        (False, "must be an ssl.SSLContext or None, not bool"),
        (True, "not bool"),
        ("ca.pem", "not str"),
        (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), "must be a context that checks certificates"),
    ],
)
def test_only_a_context_that_checks_certificates_is_taken(value: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        VocalSepClient(KEY, ssl=value)
    assert "ssl=ssl.create_default_context(cafile='ca.pem')" in str(caught.value)


def test_trust_env_must_be_a_bool() -> None:
    with pytest.raises(ConfigurationError, match="trust_env must be a bool"):
        VocalSepClient(KEY, trust_env=1)  # type: ignore[arg-type]


# On the wire


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def trust(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture(scope="module")
def certified(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("api.corp.example", "cdn.corp.example", "127.0.0.1").configure_cert(
        context
    )
    return context


@pytest.fixture
def api(certified: ssl.SSLContext) -> Iterator[FaultServer]:
    with FaultServer(tls=certified) as server:
        yield server


@pytest.fixture
async def cdn(certified: ssl.SSLContext) -> AsyncIterator[FileHost]:
    async with FileHost({"/vocal.mp3": AUDIO}, tls=certified) as host:
        yield host


@pytest.fixture
async def proxy(api: FaultServer, cdn: FileHost) -> AsyncIterator[ForwardProxy]:
    ports = {"api.corp.example:443": URL(api.url).port or 0, "cdn.corp.example:443": cdn.port}
    async with ForwardProxy(ports) as proxy:
        yield proxy


class Network(NamedTuple):
    """A company's network: its proxy alone leads to the API and the file host."""

    api: FaultServer
    cdn: FileHost
    proxy: ForwardProxy


@pytest.fixture
def network(api: FaultServer, cdn: FileHost, proxy: ForwardProxy) -> Network:
    return Network(api, cdn, proxy)


API = "https://api.corp.example/healthy"
LINK = "https://cdn.corp.example/vocal.mp3"


async def use(client: VocalSepClient, folder: Path) -> None:
    """Poll a task and save a stem."""
    assert (await client.get_task(TASK_ID)).succeeded
    report = await client.download_stems(finished(LINK), folder)
    assert report.paths["vocal"].stat().st_size == 2003


@pytest.mark.anyio
async def test_the_proxy_of_the_environment_and_a_context_serve_the_api_and_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, network: Network, trust: ssl.SSLContext
) -> None:
    api, cdn, proxy = network
    monkeypatch.setenv("HTTPS_PROXY", with_login(proxy.url))
    async with client_at(API, trust_env=True, ssl=trust) as client:
        # What is in the environment later does not count.
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
        await use(client, tmp_path)
        assert PASSWORD not in repr(vars(client._engine.transport))
        assert PASSWORD not in repr(vars(client._engine.files))
    assert proxy.targets == ["CONNECT api.corp.example:443", "CONNECT cdn.corp.example:443"]
    assert {seen.headers["proxy-authorization"] for seen in proxy.seen} == {LOGIN}
    inside = [seen.head for seen in (*api.seen, *cdn.seen)]
    assert not any(LOGIN.encode() in head for head in inside)
    assert api.seen[0].headers["authorization"] == f"Bearer {KEY}"
    assert "authorization" not in cdn.seen[0].headers


@pytest.mark.anyio
async def test_a_netrc_file_replaces_neither_the_key_nor_the_login_of_a_proxy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, network: Network, trust: ssl.SSLContext
) -> None:
    api, cdn, proxy = network
    netrc = tmp_path / "netrc"
    netrc.write_text("default login someone password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    async with client_at(API, trust_env=True, ssl=trust) as client:
        await use(client, tmp_path / "stems")
    assert not any("proxy-authorization" in seen.headers for seen in proxy.seen)
    assert api.seen[0].headers["authorization"] == f"Bearer {KEY}"
    assert "authorization" not in cdn.seen[0].headers


@pytest.mark.anyio
async def test_a_proxy_that_is_passed_precedes_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, proxy: ForwardProxy, trust: ssl.SSLContext
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks5://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "corp.example")
    async with client_at(API, proxy=proxy.url, trust_env=True, ssl=trust) as client:
        await use(client, tmp_path)
    assert len(proxy.seen) == 2


@pytest.mark.anyio
async def test_a_host_in_no_proxy_is_reached_directly_and_checked_like_any_other(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    certified: ssl.SSLContext,
    proxy: ForwardProxy,
    trust: ssl.SSLContext,
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.0/8")
    with FaultServer(tls=certified) as direct:
        async with client_at(f"{direct.url}/healthy", trust_env=True, ssl=trust) as client:
            await use(client, tmp_path)
            private = finished("https://127.0.0.1/vocal.mp3")
            with pytest.raises(DownloadError, match=r"127\.0\.0\.1 is not a public address"):
                await client.download_stems(private, tmp_path / "private")
        assert direct.hits == 1
    assert proxy.targets == ["CONNECT cdn.corp.example:443"]


@pytest.mark.anyio
async def test_plain_requests_are_forwarded_by_the_proxy_of_their_scheme(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with FaultServer() as api:
        async with (
            FileHost({"/vocal.mp3": AUDIO}) as cdn,
            ForwardProxy({"api.corp.example:80": URL(api.url).port or 0}) as proxy,
        ):
            proxy.ports["cdn.corp.example:80"] = cdn.port
            monkeypatch.setenv("http_proxy", with_login(proxy.url).removeprefix("http://"))
            async with client_at("http://api.corp.example/healthy", trust_env=True) as client:
                assert (await client.get_task(TASK_ID)).succeeded
                await client.download_stems(finished("http://cdn.corp.example/vocal.mp3"), tmp_path)
    assert [seen.split("?")[0] for seen in proxy.targets] == [
        "GET http://api.corp.example/healthy/api/v1/vocal-removal/record-info",
        "GET http://cdn.corp.example/vocal.mp3",
    ]
    assert {seen.headers["proxy-authorization"] for seen in proxy.seen} == {LOGIN}


@pytest.mark.anyio
async def test_a_proxy_may_be_spoken_to_over_tls(
    api: FaultServer, certified: ssl.SSLContext, trust: ssl.SSLContext
) -> None:
    ports = {"api.corp.example:443": URL(api.url).port or 0}
    async with (
        ForwardProxy(ports, tls=certified) as proxy,
        client_at(API, proxy=proxy.url, ssl=trust) as client,
    ):
        assert (await client.get_task(TASK_ID)).succeeded
    assert proxy.targets == ["CONNECT api.corp.example:443"]


@pytest.mark.anyio
async def test_a_context_counts_for_a_borrowed_session_too(
    api: FaultServer, trust: ssl.SSLContext
) -> None:
    async with (
        aiohttp.ClientSession() as session,
        client_at(f"{api.url}/healthy", session=session, ssl=trust) as client,
    ):
        assert (await client.get_task(TASK_ID)).succeeded


async def failure_of(client: VocalSepClient) -> TransportError:
    with pytest.raises(VocalSepError) as caught:
        await client.get_task(TASK_ID)
    assert isinstance(caught.value, TransportError)
    return caught.value


async def failed_download(client: VocalSepClient, folder: Path) -> str:
    with pytest.raises(DownloadError) as caught:
        await client.download_stems(finished(LINK), folder)
    return str(caught.value)


@pytest.mark.anyio
async def test_an_unknown_authority_is_named_with_what_to_do(
    api: FaultServer, proxy: ForwardProxy, tmp_path: Path
) -> None:
    async with client_at(API, proxy=proxy.url) as client:
        error = await failure_of(client)
        message = await failed_download(client, tmp_path)
    for text in (str(error), message):
        assert "certificate was not accepted (unable to get local issuer certificate); if" in text
        assert "ssl=ssl.create_default_context(cafile='ca.pem')" in text
    assert error.action is ErrorAction.RAISE
    assert not error.may_have_arrived
    assert api.hits == 0


@pytest.mark.anyio
async def test_a_certificate_for_another_name_is_not_blamed_on_its_authority(
    api: FaultServer, trust: ssl.SSLContext
) -> None:
    ports = {"other.example:443": URL(api.url).port or 0}
    async with (
        ForwardProxy(ports) as proxy,
        client_at("https://other.example", proxy=proxy.url, ssl=trust) as client,
    ):
        error = await failure_of(client)
    assert "Hostname mismatch" in str(error)
    assert "cafile" not in str(error)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "status, words, tries",
    [
        ("403 Forbidden", "the proxy answered 403", 1),
        ("407 Proxy Authentication Required", "user:password@proxy.example.com", 1),
        ("429 Too Many Requests", "the proxy answered 429", 2),
        ("502 Bad Gateway", "the proxy answered 502", 2),
        ("503 Service Unavailable", "the proxy answered 503", 2),
    ],
)
async def test_a_web_page_in_place_of_a_tunnel_is_an_answer_of_the_proxy(
    proxy: ForwardProxy, tmp_path: Path, status: str, words: str, tries: int
) -> None:
    proxy.refusal = answer(HTML, status=status, kind="text/html")
    async with client_at(API, proxy=with_login(proxy.url)) as client:
        error = await failure_of(client)
        if tries == 1:
            assert words in await failed_download(client, tmp_path)
    assert words in str(error)
    assert PASSWORD not in str(error)
    assert not error.may_have_arrived
    assert proxy.targets[:tries] == ["CONNECT api.corp.example:443"] * tries

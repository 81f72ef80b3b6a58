"""Uploads in networks: proxies, other authorities, borrowed sessions, several event loops."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import trustme
from anyio.from_thread import start_blocking_portal
from transport.forward_proxy import ForwardProxy
from uploads.conftest import make_client
from uploads.upload_host import KEY, LINK, UploadHost, upload_host
from yarl import URL

from vocalsep_async import RetryPolicy, TransportError, VocalSepClient

ONCE = RetryPolicy(attempts=1)
PROXIED = "https://uploads.corp.example"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def trust(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture
async def secure(authority: trustme.CA) -> AsyncIterator[UploadHost]:
    """A host that is spoken to over TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("uploads.corp.example", "127.0.0.1").configure_cert(context)
    async with upload_host(ssl=context) as host:
        host.url = host.url.replace("http:", "https:")
        yield host


def client_of(url: str, **options: Any) -> VocalSepClient:
    return VocalSepClient(KEY, base_url="http://127.0.0.1:1", upload_url=url, retry=ONCE, **options)


@pytest.mark.anyio
async def test_an_upload_goes_through_the_proxy_which_sees_no_key(
    secure: UploadHost, trust: ssl.SSLContext
) -> None:
    async with ForwardProxy({"uploads.corp.example:443": URL(secure.url).port or 0}) as proxy:
        login = proxy.url.replace("//", "//user:secret@")
        async with client_of(PROXIED, proxy=login, ssl=trust) as client:
            assert (await client.upload(b"RIFF")).url == LINK
    assert proxy.targets == ["CONNECT uploads.corp.example:443"]
    assert "proxy-authorization" in proxy.seen[0].headers
    assert KEY not in str(proxy.seen)
    assert "proxy-authorization" not in secure.visits[0].headers
    assert secure.visits[0].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.anyio
async def test_the_proxies_of_the_environment_count_only_where_they_are_wanted(
    host: UploadHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    async with make_client(host, retry=ONCE) as client:
        assert (await client.upload(b"RIFF")).url == LINK
    async with make_client(host, retry=ONCE, trust_env=True) as client:
        with pytest.raises(TransportError, match="the proxy cannot be reached"):
            await client.upload(b"RIFF")


@pytest.mark.anyio
async def test_an_unknown_authority_gets_neither_key_nor_song(secure: UploadHost) -> None:
    async with client_of(secure.url) as client:
        with pytest.raises(TransportError, match="certificate was not accepted"):
            await client.upload(b"RIFF")
    assert secure.visits == []


@pytest.mark.anyio
async def test_a_borrowed_session_is_not_used_for_uploads(host: UploadHost) -> None:
    async with aiohttp.ClientSession(headers={"Cookie": "a=b"}) as session:
        async with make_client(host, session=session, user_agent="my-service/2") as client:
            await client.upload(b"RIFF")
        assert not session.closed
    headers = host.visits[0].headers
    assert "cookie" not in headers
    assert headers["user-agent"] == "my-service/2"


def test_a_client_uploads_in_one_event_loop_after_the_other() -> None:
    # A server of its own, which outlives both loops.
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(upload_host()) as host,
    ):
        client = make_client(host)
        for _ in range(2):
            assert asyncio.run(client.upload(b"RIFF")).url == LINK
        asyncio.run(client.aclose())
    assert len(host.visits) == 2


@pytest.mark.anyio
async def test_the_session_of_uploads_is_closed_with_the_client(
    host: UploadHost,
) -> None:
    client = make_client(host)
    await client.upload(b"RIFF")
    assert client._engine.needs_closing
    await client.aclose()
    assert not client._engine.needs_closing

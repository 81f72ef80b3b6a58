"""How answers travel: as those of a service behind Cloudflare, compressed and in chunks."""

from __future__ import annotations

import json
import re
import zlib
from io import BytesIO

import aiohttp
import anyio
import pytest
from emulator.hook import Hook, until
from emulator.http_client import RECORD, HttpClient, ProviderName

from vocalsep_async.emulator import Emulator, Fault, fast_settings
from vocalsep_async.errors import APIError

pytestmark = pytest.mark.anyio
PROVIDERS: list[ProviderName] = ["sunoapi", "kie", "kie_jobs"]


async def raw(emulator: Emulator, *lines: str) -> tuple[bytes, bytes]:
    """The head and the body of the answer to a request, byte by byte."""
    _, _, address = emulator.url.partition("//")
    host, port = address.split(":")
    async with await anyio.connect_tcp(host, int(port)) as stream:
        head = [*lines, f"Host: {address}", "Authorization: Bearer k", "Connection: close", "", ""]
        await stream.send("\r\n".join(head).encode())
        received = b"".join([part async for part in stream])
    head_bytes, _, body = received.partition(b"\r\n\r\n")
    return head_bytes.lower(), body


def unchunked(body: bytes) -> bytes:
    content = b""
    while body != b"0\r\n\r\n":
        size, _, rest = body.partition(b"\r\n")
        content, body = content + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return content


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_an_answer_has_the_headers_of_a_service_behind_cloudflare(
    http: HttpClient, provider: ProviderName
) -> None:
    async with Emulator(provider=provider) as emulator:
        one, other = await http.credits(emulator), await http.credits(emulator)
    assert one.headers["Server"] == "cloudflare"
    assert one.headers["Content-Type"] == "application/json;charset=UTF-8"
    assert one.headers["Content-Encoding"] == "gzip"
    assert one.headers["Transfer-Encoding"] == "chunked"
    assert "Content-Length" not in one.headers
    assert re.fullmatch(r"JSESSIONID=[0-9A-F]{32}; Path=/; HttpOnly", one.headers["Set-Cookie"])
    assert re.fullmatch(r"[0-9a-f]{16}-[A-Z]{3}", one.headers["CF-RAY"])
    assert {"Date", "CF-Cache-Status", "Vary"} <= set(one.headers)
    for name in ("CF-RAY", "Set-Cookie"):
        assert one.headers[name] != other.headers[name]
    assert [each.request_id for each in emulator.requests] == [
        one.headers["CF-RAY"],
        other.headers["CF-RAY"],
    ]


async def test_json_is_compact_in_answers_and_callbacks() -> None:
    async with Hook().listening() as hook, Emulator() as emulator:
        emulator.finish(emulator.add_task("one", callback_url=hook.url))
        _, body = await raw(emulator, f"GET {RECORD}?taskId=one HTTP/1.1")
        await until(lambda: bool(emulator.posted))
    for text in (unchunked(body), emulator.posted[0].body):
        assert text == json.dumps(json.loads(text), separators=(",", ":")).encode()


async def test_an_answer_is_compressed_only_if_that_is_accepted() -> None:
    async with Emulator() as emulator:
        head, body = await raw(
            emulator, f"GET {RECORD}?taskId=one HTTP/1.1", "Accept-Encoding: deflate, gzip"
        )
        plain = await raw(emulator, f"GET {RECORD}?taskId=one HTTP/1.1")
    assert b"content-encoding: gzip" in head
    assert b"content-encoding" not in plain[0]
    assert zlib.decompress(unchunked(body), 31) == unchunked(plain[1])
    assert json.loads(unchunked(plain[1]))["code"] == 200


async def test_an_old_client_gets_its_answer_in_one_piece() -> None:
    async with Emulator() as emulator:
        head, body = await raw(emulator, f"GET {RECORD}?taskId=one HTTP/1.0")
    assert b"transfer-encoding" not in head
    assert json.loads(body)["code"] == 200


@pytest.mark.parametrize("fault", [Fault.THROTTLED, Fault.UNAUTHORIZED, Fault.SERVER_ERROR])
async def test_an_error_of_the_client_names_the_request_that_it_came_of(fault: Fault) -> None:
    async with Emulator() as emulator, emulator.client(**fast_settings()) as client:
        emulator.inject(fault, times=4)
        with pytest.raises(APIError) as caught:
            await client.get_task("one")
    assert caught.value.response_headers["cf-ray"] == emulator.requests[-1].request_id
    assert set(caught.value.response_headers) == {"cf-ray", "date"}


async def test_answers_of_something_in_between_and_files_have_no_request_id(
    http: HttpClient,
) -> None:
    async with Emulator() as emulator:
        for fault in (Fault.HTML, Fault.EMPTY, Fault.GARBAGE):
            emulator.inject(fault)
            reply = await http.credits(emulator)
            assert "CF-RAY" not in reply.headers
        await http.request(emulator, "GET", "/files/a/b")
        emulator.inject(Fault.UNANSWERED, times=2)
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await http.credits(emulator)
    assert {each.request_id for each in emulator.requests} == {None}


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("path", ["vocal-removal/generate", "jobs/createTask"])
async def test_a_body_that_is_too_large_is_refused_in_an_envelope(
    http: HttpClient, provider: ProviderName, path: str
) -> None:
    async with Emulator(provider=provider) as emulator:
        body = BytesIO(b"x" * (1 + (1 << 20)))
        reply = await http.request(emulator, "POST", f"/api/v1/{path}", data=body)
    is_served = provider != "sunoapi" or path == "vocal-removal/generate"
    assert (reply.http_status, reply.code) == (200, 413 if is_served else 404)
    assert (emulator.tasks, emulator.credits_left) == ((), 1000)

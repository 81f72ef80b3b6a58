"""Which upload host a client has, and that the key goes to no other one."""

from __future__ import annotations

import io
from typing import Any

import pytest
from uploads.upload_host import KEY, stored

from vocalsep_async import ConfigurationError, VocalSepClient
from vocalsep_async._transport.api import Reply, Transport
from vocalsep_async._transport.uploads import UploadBody
from vocalsep_async.client import ClientOptions
from vocalsep_async.providers import KIE, Request

pytestmark = pytest.mark.anyio

SUNOAPI_UPLOADS = "https://sunoapiorg.redpandaai.co"
KIE_UPLOADS = "https://kieai.redpandaai.co"


class Recorded(Transport):
    """Sends nothing, and records where it would have been sent."""

    sent: list[str]

    async def exchange(self, request: Request, body: UploadBody | None = None) -> Reply:
        assert body is not None
        self.sent.append(self._url(request).human_repr())
        return Reply(200, {}, stored())


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    monkeypatch.setattr(Recorded, "sent", found, raising=False)
    monkeypatch.setattr("vocalsep_async._engine.Transport", Recorded)
    return found


async def upload(**options: Any) -> None:
    async with VocalSepClient(KEY, **options) as client:
        await client.upload(b"RIFF")


@pytest.mark.parametrize(
    "options, where",
    [
        ({}, SUNOAPI_UPLOADS),
        ({"base_url": "https://API.sunoapi.org./"}, SUNOAPI_UPLOADS),
        ({"base_url": "https://api.kie.ai"}, KIE_UPLOADS),
        # By the host of the API, and not by the provider.
        ({"provider": KIE}, SUNOAPI_UPLOADS),
        ({"base_url": "https://api.kie.ai", "upload_url": "https://a.example/b/"}, None),
    ],
)
async def test_the_upload_host_belongs_to_the_host_of_the_api(
    sent: list[str], options: dict[str, Any], where: str | None
) -> None:
    await upload(**options)
    assert sent == [f"{where or 'https://a.example/b'}/api/file-stream-upload"]


@pytest.mark.parametrize(
    "base_url",
    [
        "https://api.apikley.ru",
        "https://kie.ai",
        "https://eu.api.kie.ai",
        "https://api.kie.ai.example.com",
        "http://127.0.0.1:8080",
    ],
)
async def test_no_other_api_has_a_known_upload_host(sent: list[str], base_url: str) -> None:
    with pytest.raises(ConfigurationError, match="Pass upload_url= to the client"):
        await upload(base_url=base_url)
    assert sent == []


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:8080", "http://[::1]:8080", "http://localhost:8080", "https://10.0.0.1"],
)
async def test_the_key_is_sent_over_tls_or_on_this_machine(sent: list[str], url: str) -> None:
    await upload(base_url="http://127.0.0.1:1", upload_url=url)
    assert sent == [f"{url}/api/file-stream-upload"]


@pytest.mark.parametrize(
    "url, words",
    [
        ("http://uploads.example.com", "must begin with https://"),
        ("http://10.0.0.1", "must begin with https://"),
        ("http://localhost.example.com", "must begin with https://"),
        ("https://user:secret@uploads.example.com", "must not contain a user"),
        ("https://uploads.example.com/?a=b", "must end before"),
        ("uploads.example.com", "must be a URL"),
        (5, "must be a URL"),
    ],
)
def test_another_upload_host_is_refused(url: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=f"upload_url {words}") as raised:
        VocalSepClient(KEY, upload_url=url)
    assert "secret" not in str(raised.value)


async def test_the_variable_of_the_environment_belongs_to_that_of_the_base_url(
    sent: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOCALSEP_UPLOAD_URL", "https://a.example")
    monkeypatch.setenv("VOCALSEP_BASE_URL", "http://127.0.0.1:1")
    await upload()
    # Where the code names the API, its key must not go to the host of another one.
    await upload(base_url="https://api.kie.ai")
    await upload(upload_url="https://b.example")
    assert [url.partition("/api")[0] for url in sent] == [
        "https://a.example",
        KIE_UPLOADS,
        "https://b.example",
    ]


async def test_from_env_reads_the_variable_from_the_mapping(sent: list[str]) -> None:
    environ = {
        "VOCALSEP_API_KEY": KEY,
        "VOCALSEP_BASE_URL": "http://127.0.0.1:1",
        "VOCALSEP_UPLOAD_URL": "https://a.example",
    }
    given: tuple[ClientOptions, ...] = (
        {},
        {"upload_url": "https://b.example"},
        {"base_url": "https://api.kie.ai"},
    )
    for options in given:
        async with VocalSepClient.from_env(environ, **options) as client:
            await client.upload(io.BytesIO(b"RIFF"))
    assert [url.partition("/api")[0] for url in sent] == [
        "https://a.example",
        "https://b.example",
        KIE_UPLOADS,
    ]


@pytest.mark.parametrize("value", ["", " ", "http://uploads.example.com", "nonsense"])
def test_a_variable_that_is_no_such_address_is_refused(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOCALSEP_UPLOAD_URL", value)
    with pytest.raises(ConfigurationError, match="VOCALSEP_UPLOAD_URL"):
        VocalSepClient(KEY)

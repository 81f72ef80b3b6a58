"""Making and closing a client, and its credits."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from inspect import get_annotations, signature
from typing import Any

import anyio
import pytest
from fakes import FakeProvider, envelope, is_idle, make_client
from virtual_time import VIRTUAL_TIME

from vocalsep_async import (
    ClientClosedError,
    ConfigurationError,
    Interval,
    RateLimit,
    VocalSepClient,
)
from vocalsep_async.client import ClientOptions

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[VIRTUAL_TIME])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.mark.parametrize(
    "base_url, path",
    [("https://api.sunoapi.org", "generate"), ("https://api.kie.ai", "chat")],
)
async def test_credits_are_requested_at_the_path_of_the_provider(
    provider: FakeProvider, base_url: str, path: str
) -> None:
    provider.script(f"/api/v1/{path}/credit", envelope(500, "broken"), envelope(200, data=12.5))
    async with make_client(base_url=base_url) as client:
        assert await client.get_credits() == 12.5


def test_a_client_without_arguments_takes_key_and_address_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VOCALSEP_API_KEY", "k-123456789")
    assert VocalSepClient().base_url == "https://api.sunoapi.org"
    monkeypatch.setenv("VOCALSEP_BASE_URL", "https://api.kie.ai")
    client = VocalSepClient()
    assert "api.kie.ai (kie)" in repr(client)
    assert "k-123456789" not in repr(client)


def test_an_address_in_the_environment_applies_to_a_client_with_a_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VOCALSEP_BASE_URL", "https://api.kie.ai")
    assert VocalSepClient("k-123456789").base_url == "https://api.kie.ai"


def test_an_argument_precedes_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOCALSEP_API_KEY", " ")
    monkeypatch.setenv("VOCALSEP_BASE_URL", " ")
    client = VocalSepClient("k-123456789", base_url="http://localhost:1")
    assert client.base_url == "http://localhost:1"


def test_a_mapping_takes_the_place_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOCALSEP_BASE_URL", "https://api.example.net")
    environ = {"VOCALSEP_API_KEY": "k-123456789"}
    assert VocalSepClient.from_env(environ).base_url == "https://api.sunoapi.org"
    environ["VOCALSEP_BASE_URL"] = "https://api.kie.ai"
    assert "api.kie.ai (kie)" in repr(VocalSepClient.from_env(environ))
    client = VocalSepClient.from_env(environ, base_url="http://localhost:1")
    assert client.base_url == "http://localhost:1"


@pytest.mark.parametrize("make", [VocalSepClient, VocalSepClient.from_env])
def test_the_environment_is_read_at_the_time_of_the_call(
    make: Callable[[], VocalSepClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOCALSEP_API_KEY", "k-123456789")
    for host in ("one.example.net", "two.example.net"):
        monkeypatch.setattr(os, "environ", {**os.environ, "VOCALSEP_BASE_URL": f"https://{host}"})
        assert make().base_url == f"https://{host}"


@pytest.mark.parametrize("make", [VocalSepClient, VocalSepClient.from_env])
def test_a_missing_key_is_named_by_its_variable_and_its_argument(
    make: Callable[[], VocalSepClient],
) -> None:
    with pytest.raises(ConfigurationError, match="VOCALSEP_API_KEY, or pass api_key"):
        make()


@pytest.mark.parametrize("name", ["VOCALSEP_API_KEY", "VOCALSEP_BASE_URL"])
@pytest.mark.parametrize("blank", ["", " "])
def test_a_blank_variable_is_not_taken_for_one_that_is_not_set(
    name: str, blank: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    environ = {"VOCALSEP_API_KEY": "k-123456789", name: blank}
    with pytest.raises(ConfigurationError, match=f"{name} is empty"):
        VocalSepClient.from_env(environ)
    for variable, value in environ.items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError, match=f"{name} is empty"):
        VocalSepClient()


def test_the_options_of_from_env_are_those_of_the_constructor() -> None:
    parameters = signature(VocalSepClient).parameters.values()
    options = {each.name: each.annotation for each in parameters if each.kind is each.KEYWORD_ONLY}
    typed = get_annotations(ClientOptions)
    assert {name: each.__forward_arg__ for name, each in typed.items()} == options


@pytest.mark.parametrize(
    "options",
    [
        {"rate_limit": 20},
        {"retry": 3},
        {"poll": 5},
        {"poll": Interval},
        {"provider": "kie"},
        {"request_timeout": 0},
        {"session": object(), "trace_configs": [object()]},
        {"proxy": "not a url"},
        {"user_agent": ""},
        {"base_url": "api.sunoapi.org"},
    ],
)
def test_an_unusable_option_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        make_client(**options)


async def test_closing_ends_waits_and_queued_calls(provider: FakeProvider) -> None:
    provider.add("a", math.inf)
    ended: list[str] = []

    async def expect_closed(name: str, call: Any) -> None:
        with pytest.raises(ClientClosedError):
            await call
        ended.append(name)

    client = make_client(rate_limit=RateLimit(1, 1000))
    async with anyio.create_task_group() as group:
        group.start_soon(expect_closed, "wait", client.wait_for_task("a"))
        await anyio.sleep(1)
        group.start_soon(expect_closed, "queued", client.get_task("b"))
        await anyio.sleep(1)
        await client.aclose()
        await client.aclose()
    assert sorted(ended) == ["queued", "wait"]
    assert is_idle()
    with pytest.raises(ClientClosedError):
        await client.wait_for_task("c")

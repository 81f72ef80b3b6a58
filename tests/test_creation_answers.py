"""What the answer to a creation proves decides what becomes of it; words decide nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from batch.journals import journals_in_virtual_time
from fakes import Answer, FakeProvider, bare, make_client
from virtual_time import VIRTUAL_TIME

from vocalsep_async import (
    KIE,
    KIE_JOBS,
    SUNOAPI,
    ErrorAction,
    ErrorRule,
    InvalidParametersError,
    Journal,
    Provider,
    RateLimitedError,
    TaskRef,
    VocalSepClient,
    VocalSepError,
)
from vocalsep_async._transport.api import Reply
from vocalsep_async.providers import APIKLEY, Request

pytestmark = pytest.mark.anyio

SONG = {"callback_url": "https://hook.example/cb", "audio_url": "https://songs.example/a.mp3"}
TRACK = {"callback_url": "https://hook.example/cb", "source_task_id": "song", "audio_id": "track"}
WORDS = [
    "",
    "Unsupported sampling frequency",
    "Too many channels",
    "rate limit",
    "insufficient credits",
    "The record does not exist",
    "success",
]
STATUSES = [200, 202, 400, 405, 409, 429, 430, 499, 500, 503]
CODES = [
    *(None, "E430", True, 0, 200, 201, 400, 401, 402, 404, 405, 408, 409, 413, 422, 425, 429),
    *(430, 433, 451, 455, 499, 500, 501, 503, 505, 531, 599, 777, 999),
]


class Reseller(Provider):
    """A provider of a user's, with codes and ids of its own."""

    def creation_request(self, **song: Any) -> Request:
        request = super().creation_request(**song)
        return request._replace(json={"version": 2, "song": request.json})

    def read_task_id(self, data: Mapping[str, Any]) -> Any:
        return data["job"]["id"]


RESELLER = Reseller(
    name="reseller",
    codes={
        777: ErrorRule(RateLimitedError, action=ErrorAction.THROTTLE),
        430: ErrorRule(InvalidParametersError),
    },
    credits_path="/",
)
PROVIDERS = [SUNOAPI, KIE, KIE_JOBS, APIKLEY, RESELLER]
every_provider = pytest.mark.parametrize("spoken", PROVIDERS, ids=lambda each: str(each.name))


@pytest.fixture(params=[VIRTUAL_TIME])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    journals_in_virtual_time(monkeypatch)
    return tmp_path


def answered(status: int, code: Any, message: str, data: Any) -> Reply:
    content = {"code": code, "msg": message, "data": data}
    return bare(status, json.dumps(content).encode())


def data_with(spoken: Provider, task_id: Any) -> dict[str, Any]:
    return {"job": {"id": task_id}} if spoken is RESELLER else {"taskId": task_id}


def script(provider: FakeProvider, spoken: Provider, *answers: Answer) -> None:
    provider.posted.clear()
    provider._scripts.clear()
    provider.script(spoken.creation_path, *answers)


async def create(client: VocalSepClient, **options: Any) -> TaskRef:
    return await client.create_task(**{**SONG, **options})


async def error_of(client: VocalSepClient, **options: Any) -> VocalSepError:
    with pytest.raises(VocalSepError) as caught:
        await create(client, **options)
    return caught.value


# An answer with an id


def every_answer() -> Iterator[tuple[int, Any, str]]:
    """Each code with each status, and each with some words in turn."""
    for number, (status, code) in enumerate(product(STATUSES, CODES)):
        yield status, code, WORDS[number % len(WORDS)]


@every_provider
async def test_an_answer_that_holds_an_id_is_a_creation_whatever_its_code(
    provider: FakeProvider, spoken: Provider
) -> None:
    async with make_client(provider=spoken, rate_limit=None) as client:
        for status, code, message in every_answer():
            script(provider, spoken, answered(status, code, message, data_with(spoken, "new")))
            assert (await create(client)).task_id == "new", (status, code, message)
            assert len(provider.posted) == 1


@pytest.mark.parametrize("code", [None, 430, 451, 500, 999])
async def test_the_id_in_an_error_is_written_to_the_journal(
    provider: FakeProvider, folder: Path, code: Any
) -> None:
    script(provider, SUNOAPI, answered(200, code, "Too many channels", {"taskId": "new"}))
    async with make_client() as client, Journal(folder / "made.journal") as journal:
        await create(client, journal=journal)
        assert await journal.intents() == ()
        assert [known.ref.task_id for known in await journal._file.known()] == ["new"]


@every_provider
@pytest.mark.parametrize("echo", ["song", "track", TRACK["callback_url"]])
async def test_an_error_that_repeats_a_text_of_the_request_holds_no_new_id(
    provider: FakeProvider, spoken: Provider, echo: str
) -> None:
    script(provider, spoken, answered(200, 422, "no such song", data_with(spoken, echo)))
    async with make_client(provider=evolve(spoken, codes=KIE.codes)) as client:
        error = await error_of(client, audio_url=None, **TRACK)
    assert isinstance(error, InvalidParametersError)
    assert len(provider.posted) == 1

"""What the answer to a creation proves decides what becomes of it; words decide nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from attrs import evolve
from batch.journals import journals_in_virtual_time
from fakes import Answer, FakeProvider, bare, make_client
from hypothesis import given
from hypothesis import strategies as st
from virtual_time import VIRTUAL_TIME

from vocalsep_async import (
    KIE,
    KIE_JOBS,
    SUNOAPI,
    APIError,
    ErrorAction,
    ErrorRule,
    InsufficientCreditsError,
    InvalidParametersError,
    Journal,
    MaintenanceError,
    Provider,
    RateLimitedError,
    ServerError,
    TaskRef,
    VocalSepClient,
    VocalSepError,
)
from vocalsep_async._transport.api import Reply
from vocalsep_async.providers import APIKLEY, COMMON_CODES, Request
from vocalsep_async.providers._decoder import Decoder
from vocalsep_async.providers._echoes import without_secrets

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


def answered(status: int, code: Any, message: Any, data: Any) -> Reply:
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


# An answer without an id

THROTTLES = {
    "sunoapi": {405, 430},
    "kie": {429, 430},
    "kie_jobs": {429, 430},
    "apikley": {429, 430},
    "reseller": {777},
}
REFUSES = {
    "sunoapi": {400, 401, 404, 413, 422, 429, 455},
    "kie": {400, 401, 402, 404, 413, 422, 433, 455},
    "kie_jobs": {400, 401, 402, 404, 413, 422, 433, 455},
    "apikley": {400, 401, 402, 404, 413, 422, 433, 455},
    "reseller": {430},
}
NO_IDS: list[Any] = [None, {}, {"taskId": None, "job": {"id": ""}}, [], "no", {"limit": 20}]
NO_ENVELOPES = [b"", b"<html>Too many requests</html>", b'{"msg": "rate limit"}', b'{"code": "E1"}']


async def becomes(client: VocalSepClient, journal: Journal) -> tuple[bool, bool]:
    """Whether the error says that a task may have been created, and whether the intent is kept."""
    before = len(await journal.intents())
    error = await error_of(client, journal=journal)
    says = any("may have been created" in note for note in getattr(error, "__notes__", []))
    return says, len(await journal.intents()) == before + 1


@every_provider
async def test_the_code_alone_decides_what_becomes_of_a_creation(
    provider: FakeProvider, spoken: Provider, folder: Path
) -> None:
    path = folder / "made.journal"
    async with (
        make_client(provider=spoken, rate_limit=None) as client,
        Journal(path) as journal,
    ):
        # A client that understood an answer is never in doubt about its address.
        await client.get_task("a")
        for number, (code, message) in enumerate(product(CODES, WORDS)):
            row = code, message
            status, data = STATUSES[number % len(STATUSES)], NO_IDS[number % len(NO_IDS)]
            script(provider, spoken, *[answered(status, code, message, data)] * 9)
            is_code = isinstance(code, int) and not isinstance(code, bool)
            throttles = is_code and code in THROTTLES[spoken.name]
            may_exist = not (throttles or (is_code and code in REFUSES[spoken.name]))
            assert await becomes(client, journal) == (may_exist, may_exist), row
            attempts = client._engine.sender.retry.attempts if throttles else 1
            assert len(provider.posted) == attempts, row


@every_provider
async def test_a_status_without_an_envelope_proves_nothing(
    provider: FakeProvider, spoken: Provider, folder: Path
) -> None:
    async with make_client(provider=spoken, rate_limit=None) as client:
        # A client that understood an answer is never in doubt about its address.
        await client.get_task("a")
        async with Journal(folder / "made.journal") as journal:
            for status in range(200, 600):
                if not 300 <= status < 400:
                    content = NO_ENVELOPES[status % len(NO_ENVELOPES)]
                    script(provider, spoken, *[bare(status, content)] * 9)
                    assert await becomes(client, journal) == (True, True), status
                    assert len(provider.posted) == 1


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("spoken, message", [(KIE, "no credits"), (SUNOAPI, "rate limit")])
async def test_a_success_without_an_id_may_have_created_the_task_under_every_status(
    provider: FakeProvider, folder: Path, spoken: Provider, message: str, status: int
) -> None:
    script(provider, spoken, *[answered(status, 200, message, None)] * 9)
    async with make_client(provider=spoken) as client, Journal(folder / "made") as journal:
        assert await becomes(client, journal) == (True, True)
    assert len(provider.posted) == 1


@every_provider
@pytest.mark.parametrize("task_id", [7, " ", "x" * 600, ["new"], True, "\ud800"])
async def test_throttling_with_an_unusable_id_may_have_created_the_task(
    provider: FakeProvider, folder: Path, spoken: Provider, task_id: Any
) -> None:
    code = max(THROTTLES[spoken.name])
    async with make_client(provider=spoken) as client, Journal(folder / "made") as journal:
        holds = data_with(spoken, task_id)
        beside = bare(200, json.dumps({"code": code, "msg": "no", **holds}).encode())
        for answer in (answered(200, code, "no", holds), beside):
            script(provider, spoken, *[answer] * 9)
            assert await becomes(client, journal) == (True, True)
            assert len(provider.posted) == 1


@every_provider
async def test_throttling_with_an_id_where_none_is_expected_may_have_created_the_task(
    provider: FakeProvider, folder: Path, spoken: Provider
) -> None:
    code = max(THROTTLES[spoken.name])
    async with make_client(provider=spoken) as client, Journal(folder / "made") as journal:
        for data in ({"response": data_with(spoken, "new")}, [[data_with(spoken, "new")]]):
            script(provider, spoken, *[answered(200, code, "no", data)] * 9)
            assert await becomes(client, journal) == (True, True)
            assert len(provider.posted) == 1


async def test_throttling_that_repeats_the_id_of_the_song_is_not_sent_again(
    provider: FakeProvider,
) -> None:
    script(provider, SUNOAPI, *[answered(200, 430, "too often", {"taskId": "song"})] * 9)
    async with make_client() as client:
        error = await error_of(client, audio_url=None, **TRACK)
    assert isinstance(error, RateLimitedError)
    assert "may have been created" in error.__notes__[0]
    assert len(provider.posted) == 1


async def test_words_choose_the_class_of_the_error(provider: FakeProvider, folder: Path) -> None:
    async with make_client(provider=KIE) as client, Journal(folder / "made") as journal:
        for code, message, kind in (
            (500, "Your balance is insufficient", InsufficientCreditsError),
            (500, "Your call frequency is too high", RateLimitedError),
            (500, "broken", ServerError),
        ):
            script(provider, KIE, *[answered(200, code, message, None)] * 9)
            assert type(await error_of(client, journal=journal)) is kind
            assert len(provider.posted) == 1
        assert len(await journal.intents()) == 3


async def test_a_creation_is_not_sent_again_without_the_pause_of_its_code(
    provider: FakeProvider,
) -> None:
    throttled = answered(200, 430, "You have no credits", None)._replace(
        headers={"Retry-After": "40"}
    )
    script(provider, SUNOAPI, *[throttled] * 2, answered(200, 430, "no credits", {"taskId": "new"}))
    async with make_client() as client:
        assert (await create(client)).task_id == "new"
        assert client.stats.throttled == 2
    first, second, third = provider.times(SUNOAPI.creation_path)
    assert min(second - first, third - second) > 40


@given(
    spoken=st.sampled_from(PROVIDERS),
    code=st.integers(-1, 1000) | st.sampled_from(CODES),
    data=st.sampled_from(NO_IDS),
    message=st.text() | st.sampled_from(WORDS),
)
def test_no_message_changes_what_an_answer_proves(
    spoken: Provider, code: Any, data: Any, message: str
) -> None:
    decoder = Decoder(spoken)
    proofs = {
        decoder.evidence(answered(200, code, words, data).body) for words in (message, "", None)
    }
    assert len(proofs) == 1


class Talkative(Provider):
    """A provider of a user's that trusts words."""

    def classify(self, code: int, message: str, **how: Any) -> ErrorRule:
        if "again" in message:
            return ErrorRule(RateLimitedError, action=ErrorAction.THROTTLE)
        if "wrong" in message:
            return ErrorRule(InvalidParametersError)
        return super().classify(code, message, **how)


class OutOfQuotaError(APIError):
    """An error of a user's."""


@pytest.mark.parametrize(
    "code, rule, message, may_exist",
    [
        (777, None, "try again", True),
        (777, None, "wrong song", True),
        (400, None, "try again", False),
        (777, ErrorRule(OutOfQuotaError), "", False),
        (777, ErrorRule(OutOfQuotaError, action=ErrorAction.RETRY), "", True),
        (777, ErrorRule(APIError, hint="Something."), "", True),
        (500, ErrorRule(InsufficientCreditsError), "", True),
        (503, ErrorRule(MaintenanceError, action=ErrorAction.MAINTENANCE), "", False),
        *((code, ErrorRule(InvalidParametersError), "", True) for code in (408, 409, 425, 499)),
    ],
)
async def test_the_table_of_a_custom_provider_decides_by_codes(
    provider: FakeProvider,
    folder: Path,
    code: int,
    rule: ErrorRule | None,
    message: str,
    *,
    may_exist: bool,
) -> None:
    codes = COMMON_CODES if rule is None else {**COMMON_CODES, code: rule}
    spoken = Talkative(name="talkative", codes=codes, credits_path="/")
    script(provider, spoken, *[answered(200, code, message, None)] * 9)
    async with make_client(provider=spoken) as client, Journal(folder / "made") as journal:
        assert await becomes(client, journal) == (may_exist, may_exist)
    assert len(provider.posted) == 1


async def test_a_creation_that_was_never_sent_created_nothing(
    provider: FakeProvider, folder: Path
) -> None:
    provider.every_answer = lambda _: bare(405)
    async with make_client(rate_limit=None) as client, Journal(folder / "made") as journal:
        while client.stats.requests < 12:
            await error_of(client)
        assert await becomes(client, journal) == (False, False)
        assert client.stats.requests == 12


# What an answer repeats

LINK = "https://user:CANARY-1@songs.example/a.mp3?Expires=9&Signature=CANARY+2%2F&x=é#CANARY-3"
HOOK = "https://hook.example/cb?token=CANARY-4"
ECHOES = {
    "a link": "cannot fetch {0}, would call {1}",
    "a link after another": "cannot fetch https://elsewhere.example/ or {0}",
    "a link without its scheme": "cannot fetch //songs.example/a.mp3?{query}#CANARY-3",
    "a query alone": "unsupported query {query} and token=CANARY-4",
    "values alone": "Signature CANARY 2/, CANARY+2%2F, CANARY%202%2f: expired; CANARY-3, CANARY-4",
    "a password": "login user:CANARY-1 failed, CANARY-1 is wrong",
    "percent-encoded": "bad url={quoted}",
    "percent-encoded twice": "bad url={twice}",
    "HTML": "bad &lt;{html}&gt;",
    "upper case": "BAD {upper}",
}


def everything_in(folder: Path) -> bytes:
    return b"".join(each.read_bytes() for each in folder.iterdir())


@pytest.mark.parametrize("echo", ECHOES)
@pytest.mark.parametrize("spoken", [SUNOAPI, KIE_JOBS, RESELLER], ids=lambda each: str(each.name))
async def test_no_message_repeats_the_secrets_of_a_link(
    provider: FakeProvider,
    folder: Path,
    caplog: pytest.LogCaptureFixture,
    *,
    spoken: Provider,
    echo: str,
) -> None:
    caplog.set_level("DEBUG", "vocalsep_async")
    message = ECHOES[echo].format(
        LINK,
        HOOK,
        query=urlsplit(LINK).query,
        quoted=quote(LINK, safe=""),
        twice=quote(quote(LINK, safe=""), safe=""),
        html=escape(LINK),
        upper=LINK.upper(),
    )
    assert "CANARY" in message
    path = folder / "made.journal"
    async with make_client(provider=spoken) as client, Journal(path, keep_links=True) as journal:
        for code in (422, 430, 500, 999):
            script(provider, spoken, *[answered(200, code, message, None)] * 9)
            error = await error_of(client, audio_url=LINK, callback_url=HOOK, journal=journal)
            assert "CANARY" not in f"{error!r} {vars(error)}"
        assert "CANARY" not in repr(await journal.intents())
    assert "CANARY" not in "".join(caplog.messages)
    assert b"CANARY" not in everything_in(folder)


@pytest.mark.parametrize("link", ["https://[songs.example/?a=CANARY", "not a link?CANARY"])
def test_a_text_that_is_no_link_holds_no_secrets(link: str) -> None:
    assert without_secrets(f"bad: {link}", [link]) == f"bad: {link}"


def test_a_short_query_does_not_blot_out_the_words_of_a_message() -> None:
    link = "https://songs.example/a.mp3?v=1&x=song"
    message = "the song has 1 voice too many"
    assert without_secrets(message, [link]) == message


@pytest.mark.parametrize("before", range(60))
def test_a_secret_at_the_end_of_what_is_read_is_masked(before: int) -> None:
    masked = without_secrets("." * before + f"{HOOK} " * 1000, [HOOK])
    assert "CANARY" not in masked
    assert "tok" not in masked
    assert len(masked) < 10_000

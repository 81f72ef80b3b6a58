"""A provider written by a user: it builds the requests, and knows what answers mean."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from batch.journals import journals_in_virtual_time, process
from batch.tracking import outcomes_of
from fakes import FakeProvider, envelope, make_client
from virtual_time import VIRTUAL_TIME

from vocalsep_async import (
    DecodeError,
    ErrorAction,
    ErrorRule,
    InvalidArgumentError,
    InvalidParametersError,
    Journal,
    PollDone,
    PollPending,
    Provider,
    SeparationType,
    ServerError,
    TaskNotFoundError,
    TaskRef,
    TaskStatus,
    TransportError,
)
from vocalsep_async.providers import COMMON_CODES, Request
from vocalsep_async.providers._built_in import BUILT_IN
from vocalsep_async.providers._callbacks import open_callback
from vocalsep_async.providers._decoder import Decoder

pytestmark = pytest.mark.anyio

VOCALS = "https://cdn.example/v.mp3"
SONG: dict[str, Any] = {
    "callback_url": "https://hook.example/cb?token=CANARY1",
    "audio_url": "https://songs.example/a.mp3?signature=CANARY2",
}


@pytest.fixture(params=[VIRTUAL_TIME])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


class Reseller(Provider):
    """Spells everything in a way of its own."""

    def poll_request(self, task_id: str) -> Request:
        return Request("GET", f"/v2/jobs/{task_id}", headers={"X-Version": "2"})

    def creation_request(
        self,
        *,
        callback_url: str | None,
        audio_url: str | None = None,
        type: SeparationType | None,  # noqa: A002
        source_task_id: str | None = None,
        audio_id: str | None = None,
        stem_name: str | None = None,
    ) -> Request:
        if audio_url is None:
            raise InvalidArgumentError("this reseller separates audio_url alone")
        nested = json.dumps({"song": audio_url})
        body = {"kind": type, "input": {"song": audio_url, "notify": callback_url}, "copy": nested}
        return Request("POST", "/v2/jobs", json=body)

    def credits_request(self) -> Request:
        return Request("GET", "/v2/account")

    def is_unknown_task(self, code: int, message: str) -> bool:
        return code == 410 or super().is_unknown_task(code, message)

    def read_record(self, record: Mapping[str, Any]) -> Mapping[str, Any]:
        links = record["links"]
        return {
            "taskId": record["job"],
            "successFlag": record["state"],
            "response": links and {"vocalUrl": links["voice"]},
        }

    def read_task_id(self, data: Mapping[str, Any]) -> Any:
        return data.get("job")

    def read_credits(self, data: Any) -> Any:
        return data["left"]


RESELLER = Reseller(
    name="reseller",
    codes=COMMON_CODES,
    creation_codes={500: ErrorRule(InvalidParametersError)},
    # The word of the other providers means something else here.
    statuses={
        "running": TaskStatus.PENDING,
        "SUCCESS": TaskStatus.PENDING,
        "done": TaskStatus.SUCCESS,
    },
    credits_path="",
)
RUNNING = envelope(200, data={"job": "a", "state": "running", "links": None})
DONE = envelope(200, data={"job": "a", "state": "done", "links": {"voice": VOCALS}})


async def test_a_provider_decides_how_a_task_is_polled_and_what_its_record_means(
    provider: FakeProvider,
) -> None:
    provider.script("/v2/jobs/a", RUNNING, DONE)
    async with make_client(provider=RESELLER) as client:
        task = await client.wait_for_task("a")
    assert task.status is TaskStatus.SUCCESS
    assert dict(task.stems) == {"vocal": VOCALS}
    assert task.raw == {"job": "a", "state": "done", "links": {"voice": VOCALS}}
    assert provider.sent == ["/v2/jobs/a"] * 2


async def test_a_provider_decides_how_a_task_is_polled_once(provider: FakeProvider) -> None:
    provider.script("/v2/jobs/a", RUNNING, DONE)
    async with make_client(provider=RESELLER) as client:
        pending = await client.poll_once("a")
        assert isinstance(pending, PollPending)
        assert pending.status is TaskStatus.PENDING
        done = await client.poll_once("a", state=pending.state)
    assert isinstance(done, PollDone)
    assert provider.sent == ["/v2/jobs/a"] * 2


async def test_a_provider_decides_which_error_means_an_unknown_task(
    provider: FakeProvider,
) -> None:
    provider.script("/v2/jobs/a", *[envelope(410, "gone")] * 9)
    async with make_client(provider=RESELLER) as client:
        with pytest.raises(TaskNotFoundError):
            await client.get_task("a")


async def test_a_provider_decides_how_a_task_is_created(provider: FakeProvider) -> None:
    provider.script("/v2/jobs", envelope(200, data={"job": "new"}))
    async with make_client(provider=RESELLER) as client:
        ref = await client.create_task(**SONG, type="split_stem")
    assert ref.task_id == "new"
    assert provider.posted[0]["input"] == {
        "song": SONG["audio_url"],
        "notify": SONG["callback_url"],
    }


async def test_a_provider_rejects_a_creation_before_anything_is_sent(
    provider: FakeProvider, tmp_path: Path
) -> None:
    async with make_client(provider=RESELLER) as client:
        with pytest.raises(InvalidArgumentError, match="audio_url alone"):
            await client.create_task(
                callback_url="https://hook.example",
                source_task_id="a",
                audio_id="b",
                journal=tmp_path / "made.journal",
            )
    assert provider.sent == []
    assert not (tmp_path / "made.journal").exists()


async def test_a_provider_decides_how_credits_are_requested_and_read(
    provider: FakeProvider,
) -> None:
    provider.script("/v2/account", envelope(200, data={"left": 7}), envelope(200, data={}))
    async with make_client(provider=RESELLER) as client:
        assert await client.get_credits() == 7.0
        with pytest.raises(DecodeError, match="cannot read it"):
            await client.get_credits()


async def test_the_journal_restores_a_record_as_the_provider_reads_it(
    provider: FakeProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journals_in_virtual_time(monkeypatch)
    path = tmp_path / "batch.journal"
    provider.script("/v2/jobs/a", DONE)
    for _ in range(2):
        async with (
            process(provider, provider=RESELLER) as client,
            client.track(["a"], journal=path) as batch,
        ):
            outcomes = await outcomes_of(batch)
        assert outcomes["a"].result().stems.vocal == VOCALS
    assert provider.sent == ["/v2/jobs/a"]


async def test_an_intent_holds_the_body_of_the_provider_without_any_link(
    provider: FakeProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journals_in_virtual_time(monkeypatch)
    provider.script("/v2/jobs", TransportError("cut off"))
    async with make_client(provider=RESELLER) as client, Journal(tmp_path / "made") as journal:
        with pytest.raises(TransportError):
            await client.create_task(**SONG, journal=journal)
        (intent,) = await journal.intents()
    assert intent.request == {"kind": "separate_vocal", "input": {}}


async def test_a_code_may_mean_something_else_in_a_creation_which_is_never_sent_again(
    provider: FakeProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journals_in_virtual_time(monkeypatch)
    # In a poll the words would pass for throttling, after which a creation is sent again.
    provider.script("/v2/jobs", envelope(500, "too many requests"))
    async with make_client(provider=RESELLER) as client, Journal(tmp_path / "made") as journal:
        with pytest.raises(InvalidParametersError) as caught:
            await client.create_task(**SONG, journal=journal)
        # The same code may be a server that failed after it had created the task.
        assert len(await journal.intents()) == 1
    assert "may have been created" in caught.value.__notes__[0]
    assert len(provider.posted) == 1


def test_a_code_that_is_listed_for_creations_keeps_its_meaning_elsewhere() -> None:
    rules = [
        RESELLER.classify(500, "", in_envelope=True, is_creation=is_creation)
        for is_creation in (False, True)
    ]
    assert [rule.error for rule in rules] == [ServerError, InvalidParametersError]
    bare_status = RESELLER.classify(500, "", in_envelope=False, is_creation=True)
    assert (bare_status.error, bare_status.action) == (ServerError, ErrorAction.RETRY)


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"job": "a", "state": "done", "links": "hush"},
        {"job": "a", "state": "done"},
    ],
)
def test_a_record_that_the_provider_cannot_read_is_a_decode_error(data: Any) -> None:
    with pytest.raises(DecodeError, match="the provider cannot read it: ") as caught:
        Decoder(RESELLER).task(TaskRef("a"), 200, {}, envelope(200, data=data).body)
    assert caught.value.in_envelope
    assert caught.value.__context__ is None
    assert "hush" not in str(caught.value)


def test_a_provider_that_returns_no_record_is_a_decode_error() -> None:
    class Silent(Provider):
        def read_record(self, record: Mapping[str, Any]) -> Any:
            return None

    silent = Silent(name="silent", codes=COMMON_CODES, credits_path="/")
    with pytest.raises(DecodeError):
        Decoder(silent).task(TaskRef("a"), 200, {}, envelope(200, data={"taskId": "a"}).body)


def test_a_callback_is_read_as_the_provider_spells_it() -> None:
    data = {"job": "a", "state": "running", "links": {"voice": VOCALS}}
    done = Decoder(RESELLER).callback(open_callback(envelope(200, data=data).body)).task
    assert (done.task_id, done.status) == ("a", TaskStatus.SUCCESS)
    failed = (
        Decoder(RESELLER).callback(open_callback(envelope(531, "it broke", data=data).body)).task
    )
    assert (failed.error_code, failed.error_message) == (531, "it broke")


def test_a_word_for_a_status_that_is_not_listed_is_kept_and_pending() -> None:
    data = {"job": "a", "state": "PENDING", "links": None}
    task = Decoder(RESELLER).task(TaskRef("a"), 200, {}, envelope(200, data=data).body)
    assert task.status == "PENDING"
    assert not isinstance(task.status, TaskStatus)
    assert not task.is_final


@pytest.mark.parametrize("each", [*BUILT_IN, RESELLER], ids=lambda each: str(each.name))
def test_a_provider_survives_a_pickle(each: Provider) -> None:
    assert pickle.loads(pickle.dumps(each)) == each

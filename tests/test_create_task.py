"""Creating a task, in virtual time."""

from __future__ import annotations

from typing import Any

import pytest
from fakes import FakeProvider, envelope, make_client
from virtual_time import VIRTUAL_TIME

from vocalsep_async import (
    ClientClosedError,
    DecodeError,
    ErrorAction,
    InvalidArgumentError,
    SeparationType,
    ServerError,
    TransportError,
)
from vocalsep_async.providers import NO_CALLBACK_URL

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[VIRTUAL_TIME])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


async def test_a_created_task_is_returned_with_its_type_and_time(provider: FakeProvider) -> None:
    provider.script("/api/v1/vocal-removal/generate", envelope(200, data={"taskId": "new"}))
    async with make_client() as client:
        ref = await client.create_task(
            source_task_id="song",
            audio_id="track",
            type="split_stem",
            callback_url="http://x.example/cb",
        )
    assert (ref.task_id, ref.type) == ("new", SeparationType.SPLIT_STEM)
    assert ref.created_at is not None
    assert provider.posted == [
        {
            "taskId": "song",
            "audioId": "track",
            "type": "split_stem",
            "callBackUrl": "http://x.example/cb",
        }
    ]


async def test_a_task_is_created_without_a_callback_url(provider: FakeProvider) -> None:
    provider.script("/api/v1/vocal-removal/generate", envelope(200, data={"taskId": "new"}))
    async with make_client() as client:
        await client.create_task(audio_url="https://x.example/a.mp3")
    assert provider.posted[0]["callBackUrl"] == NO_CALLBACK_URL


async def test_a_foreign_song_is_sent_as_a_url(provider: FakeProvider) -> None:
    provider.script("/api/v1/vocal-removal/generate", envelope(200, data={"taskId": "new"}))
    async with make_client() as client:
        await client.create_task(
            audio_url="https://x.example/a.mp3",
            callback_url="https://x.example/cb",
            type=SeparationType.SPLIT_STEM_ADVANCED,
            stem_name="Piano",
        )
    assert provider.posted[0] == {
        "audioUrl": "https://x.example/a.mp3",
        "type": "split_stem_advanced",
        "callBackUrl": "https://x.example/cb",
        "stemName": "Piano",
    }


CREATE = "/api/v1/vocal-removal/generate"


@pytest.mark.parametrize(
    "fault",
    [
        TransportError("cut"),
        envelope(500, "broken"),
        envelope(200, data={}),
        envelope(200, data={"taskId": 7}),
    ],
)
async def test_a_billed_request_that_may_have_arrived_is_not_retried(
    provider: FakeProvider, fault: Any
) -> None:
    provider.script(CREATE, fault)
    async with make_client() as client:
        with pytest.raises((TransportError, ServerError, DecodeError)) as caught:
            await client.create_task(
                audio_url="http://x.example/a", callback_url="http://x.example/c"
            )
    assert len(provider.posted) == 1
    assert "may have been created" in caught.value.__notes__[0]


async def test_a_billed_request_that_was_never_sent_has_no_note(provider: FakeProvider) -> None:
    fault = TransportError("bad certificate", may_have_arrived=False, action=ErrorAction.RAISE)
    provider.script(CREATE, fault)
    async with make_client() as client:
        with pytest.raises(TransportError) as caught:
            await client.create_task(
                audio_url="http://x.example/a", callback_url="http://x.example/c"
            )
    assert not hasattr(caught.value, "__notes__")


async def test_closing_during_a_billed_request_adds_the_note(
    provider: FakeProvider,
) -> None:
    provider.script(CREATE, ClientClosedError("closed", may_have_arrived=True))
    async with make_client() as client:
        with pytest.raises(ClientClosedError) as caught:
            await client.create_task(
                audio_url="http://x.example/a", callback_url="http://x.example/c"
            )
    assert "may have been created" in caught.value.__notes__[0]


@pytest.mark.parametrize(
    "fault",
    [envelope(430, "often"), envelope(405, "often"), TransportError("x", may_have_arrived=False)],
)
async def test_a_billed_request_that_was_throttled_is_retried(
    provider: FakeProvider, fault: Any
) -> None:
    provider.script(CREATE, fault, envelope(200, data={"taskId": "new"}))
    async with make_client() as client:
        ref = await client.create_task(
            audio_url="http://x.example/a", callback_url="http://x.example/c"
        )
    assert ref.task_id == "new"
    assert len(provider.posted) == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"source_task_id": "a"},
        {"audio_id": "a"},
        {"source_task_id": "a", "audio_id": "b", "audio_url": "https://x.example/a"},
        {"audio_url": "not a url"},
        {"audio_url": "https://x.example/a", "type": "karaoke"},
        {"audio_url": "https://x.example/a", "stem_name": " "},
        {"audio_url": "https://x.example/a", "callback_url": "ftp://x.example"},
        {"source_task_id": "a", "audio_id": ""},
    ],
)
async def test_unusable_arguments_of_a_creation_are_refused_before_anything_is_sent(
    provider: FakeProvider, wrong: dict[str, Any]
) -> None:
    async with make_client() as client:
        with pytest.raises(InvalidArgumentError):
            await client.create_task(**{"callback_url": "https://x.example/cb", **wrong})
    assert provider.posted == []

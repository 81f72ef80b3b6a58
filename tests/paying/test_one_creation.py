"""Whatever becomes of a creation, of the wait or of the files, one song has one creation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from paying.runs import Scene, scene
from paying.song_host import (
    CREATION,
    FILE,
    POLL,
    Act,
    Moment,
    answers,
    every,
    hangs_up,
    resets,
    says_nothing,
)
from paying.song_host import envelope as body_of
from paying.songs_program import client_of, song_of

from vocalsep_async import CreationUncertainError, DownloadOptions, TaskOutcome, VocalSepClient

pytestmark = pytest.mark.anyio

HTML = b"<html><h1>Bad gateway</h1></html>"
# Each of them may come from a server that has carried the creation out.
FAULTS: Mapping[str, tuple[Moment, Act]] = {
    "no answer within the timeout": (Moment.CARRIED_OUT, says_nothing),
    "no answer at all": (Moment.READ, says_nothing),
    "reset after the request": (Moment.READ, resets),
    "reset before the answer": (Moment.CARRIED_OUT, resets),
    "closed after the request": (Moment.READ, hangs_up),
    "closed in the answer": (Moment.HALF_ANSWERED, hangs_up),
    "reset in the answer": (Moment.HALF_ANSWERED, resets),
    "code 500": (Moment.CARRIED_OUT, answers(body_of(500, "internal error"))),
    "status 500": (Moment.CARRIED_OUT, answers(body_of(500, "no"), "500 Internal Server Error")),
    "status 502": (Moment.CARRIED_OUT, answers(HTML, "502 Bad Gateway")),
    "status 504": (Moment.CARRIED_OUT, answers(b"", "504 Gateway Timeout")),
    "an empty success": (Moment.CARRIED_OUT, answers(b"")),
    "a success without an id": (Moment.CARRIED_OUT, answers(body_of(data={}))),
    "a redirect to itself": (
        Moment.CARRIED_OUT,
        answers(b"", "307 Temporary Redirect", f"Location: {CREATION.split()[1]}"),
    ),
    "a redirect for good": (
        Moment.CARRIED_OUT,
        answers(b"", "308 Permanent Redirect", f"Location: {CREATION.split()[1]}"),
    ),
}


async def one(stage: Scene, client: VocalSepClient, label: str, **options: Any) -> TaskOutcome:
    given = next(each for each in stage.songs.given if each[0] == label)
    return await client.separate(
        song_of(given), journal=stage.journal, download_to=stage.stems, **options
    )


@pytest.mark.parametrize("is_reused", [False, True], ids=["new connection", "used connection"])
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_creation_whose_fate_is_unknown_is_sent_once_and_reported(
    tmp_path: Path, fault: str, *, is_reused: bool
) -> None:
    async with scene(tmp_path, urls=2) as stage:
        host = stage.host
        async with client_of(host.url, request_timeout=2.0) as client:
            if is_reused:
                assert (await one(stage, client, "url 1")).succeeded
            host.at(every(CREATION), *FAULTS[fault])
            with pytest.raises(CreationUncertainError, match="may have been created"):
                await one(stage, client, "url 0")
            host.be_quiet()
            requests = len(host.requests)
            # By another client, as another process would have it.
        async with client_of(host.url) as client:
            with pytest.raises(CreationUncertainError, match="may have been created"):
                await one(stage, client, "url 0")
            assert len(host.requests) == requests
            assert host.posted[stage.songs.names["url 0"]] == 1
            assert (await one(stage, client, "url 0", on_uncertain="create")).succeeded
        assert host.posted[stage.songs.names["url 0"]] == 2
        assert host.posted.total() == 2 + is_reused


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_run_reports_the_song_whose_fate_is_unknown_and_separates_the_others(
    tmp_path: Path, fault: str
) -> None:
    async with scene(tmp_path, files=2, urls=2) as stage:
        nth = iter(range(1, 100))
        host = stage.host
        host.at(lambda visit: every(CREATION)(visit) and next(nth) == 2, *FAULTS[fault])
        async with client_of(host.url, request_timeout=2.0) as client:
            sources = list(map(song_of, stage.songs.given))
            async with client.separate_many(
                sources, journal=stage.journal, download_to=stage.stems
            ) as run:
                outcomes = [outcome async for outcome in run]
        errors = [each.error for each in outcomes if each.error is not None]
        assert {type(each) for each in errors} == {CreationUncertainError}
        assert len(await stage.assert_the_same_run_completes()) == 1


@pytest.mark.parametrize(
    "ending",
    [
        pytest.param({"successFlag": "CALLBACK_EXCEPTION"}, id="a callback that failed"),
        pytest.param({"successFlag": "ALL_STEMS_READY"}, id="an unknown word"),
    ],
)
async def test_a_task_that_ends_with_links_is_saved_and_not_created_again(
    tmp_path: Path, ending: dict[str, Any]
) -> None:
    async with scene(tmp_path, files=1, urls=1) as stage:
        stage.host.ending = lambda _: ending
        stage.assert_separated((await stage.run()).values())
        stage.assert_no_song_was_posted_twice()
        await stage.assert_nothing_is_left_to_do()


@pytest.mark.parametrize("line", [POLL, FILE])
@pytest.mark.parametrize("fault", ["reset before the answer", "status 502", "code 500"])
async def test_a_wait_or_a_save_that_fails_leads_to_no_creation(
    tmp_path: Path, line: str, fault: str
) -> None:
    async with scene(tmp_path, urls=2) as stage:
        stage.host.at(every(line), *FAULTS[fault])
        to = DownloadOptions(stage.stems, template="{label}/{stem}{ext}", patience=0.1)
        outcomes = await stage.run(timeout=0.3, to=to)
        for outcome in outcomes.values():
            assert outcome.error is not None or outcome.download_error is not None
            assert not isinstance(outcome.error, CreationUncertainError)
        assert await stage.assert_the_same_run_completes() == set()

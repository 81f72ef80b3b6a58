"""kie.ai's jobs from end to end: client and emulator, beside the older route."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vocalsep_async import (
    KIE,
    KIE_JOBS,
    Interval,
    InvalidParametersError,
    PollDone,
    RateLimit,
    RetryPolicy,
    TaskNotFoundError,
    TaskRef,
    TaskStatus,
    VocalSepClient,
)
from vocalsep_async.emulator import Emulator, Fault

pytestmark = pytest.mark.anyio

SONG: dict[str, Any] = {
    "callback_url": "https://hook.example/",
    "audio_url": "https://songs.example/a.mp3?signature=CANARY",
}


def client_of(emulator: Emulator, provider: Any = KIE_JOBS) -> VocalSepClient:
    return VocalSepClient(
        "a-key",
        base_url=emulator.url,
        provider=provider,
        rate_limit=RateLimit(1000, 1.0),
        retry=RetryPolicy(attempts=1),
        poll=Interval(0.01),
    )


async def test_a_job_is_created_awaited_and_downloaded(tmp_path: Path) -> None:
    async with (
        Emulator(provider="kie_jobs", speed=1000.0, rate_limit=None) as emulator,
        client_of(emulator) as client,
    ):
        ref = await client.create_task(**SONG, type="split_stem")
        task = await client.wait_for_task(ref)
        report = await client.download_stems(task, tmp_path)
        assert await client.get_credits() == 950.0
    assert ref.route == task.route == "kie_jobs"
    assert task.status is TaskStatus.SUCCESS
    assert len(task.stems) == len(task.origin_tracks) == len(report.files) == 12
    assert task.duration is not None


async def test_an_advanced_job_has_its_pair_of_tracks() -> None:
    async with Emulator(provider="kie_jobs") as emulator, client_of(emulator) as client:
        ref = await client.create_task(**SONG, type="split_stem_advanced", stem_name="drums")
        emulator.finish(ref.task_id)
        done = await client.poll_once(ref)
    assert isinstance(done, PollDone)
    assert [track.part for track in done.task.origin_tracks] == ["extract", "remove"]


async def test_a_failed_job_ends_the_wait_with_its_code() -> None:
    async with Emulator(provider="kie_jobs") as emulator, client_of(emulator) as client:
        task_id = emulator.add_task()
        emulator.fail(task_id, code=413, message="too long")
        task = await client.wait_for_task(task_id)
    assert (task.status, task.error_code) == (TaskStatus.GENERATE_AUDIO_FAILED, "413")


async def test_a_job_that_the_route_does_not_know_is_not_found() -> None:
    async with Emulator(provider="kie", rate_limit=None) as emulator:
        task_id = emulator.add_task()
        async with client_of(emulator) as client:
            with pytest.raises(TaskNotFoundError, match="recordInfo is null"):
                await client.get_task(task_id)
            assert (await client.get_task(TaskRef(task_id, route="kie"))).route == "kie"


async def test_a_creation_that_is_answered_with_500_is_sent_once() -> None:
    async with Emulator(provider="kie_jobs") as emulator, client_of(emulator) as client:
        emulator.inject(Fault.SERVER_ERROR)
        with pytest.raises(InvalidParametersError, match="wrong parameters") as caught:
            await client.create_task(**SONG)
        assert "may have been created" in caught.value.__notes__[0]
        assert len(emulator.requests) == 1


async def test_a_batch_tracks_the_tasks_of_both_routes_within_one_rate_limit() -> None:
    async with (
        Emulator(provider="kie", speed=1000.0, rate_limit=None) as emulator,
        client_of(emulator, KIE) as older,
        client_of(emulator) as jobs,
    ):
        refs = [await older.create_task(**SONG), await jobs.create_task(**SONG)]
        outcomes = await older.wait_for_tasks(refs)
    assert [ref.route for ref in refs] == ["kie", "kie_jobs"]
    tasks = [outcome.result() for outcome in outcomes.values()]
    assert [task.route for task in tasks] == ["kie", "kie_jobs"]


async def test_an_expired_link_is_renewed_on_the_route_of_the_record(tmp_path: Path) -> None:
    async with (
        Emulator(provider="kie_jobs", rate_limit=None) as emulator,
        client_of(emulator) as jobs,
        client_of(emulator, KIE) as older,
    ):
        task_id = emulator.add_task(duration=0.0)
        task = await jobs.get_task(task_id)
        emulator.expire_links()
        report = await older.download_stems(task, tmp_path)
    assert len(report.files) == 2


async def test_a_journal_restores_every_stem_of_a_job_without_the_link_to_the_song(
    tmp_path: Path,
) -> None:
    path = tmp_path / "batch.journal"
    async with Emulator(provider="kie_jobs", speed=1000.0, rate_limit=None) as emulator:
        async with client_of(emulator) as client:
            ref = await client.create_task(**SONG, type="split_stem", journal=path)
        for provider in (KIE_JOBS, KIE):
            async with client_of(emulator, provider) as client, client.track(journal=path) as batch:
                (task,) = [outcome.result() async for outcome in batch]
            assert (task.task_id, len(task.stems)) == (ref.task_id, 12)
            assert task.route == "kie_jobs"
    assert "CANARY" not in str(task.raw)
    assert b"CANARY" not in path.read_bytes()

"""The page on Temporal as it is, on a development server: the emulator counts the creations."""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import pytest
from frameworks.temporal_server import needs_server, temporal_server, until, worker
from pages import blocks_of, files_of
from temporalio import activity
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ActivityError, ApplicationError
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Worker

from vocalsep_async.contrib.temporal import SeparationInput, SeparationResult
from vocalsep_async.emulator import Emulator, Fault

pytestmark = [pytest.mark.anyio, needs_server]

PAGE = "docs/how-to/temporal.md"
SONG = SeparationInput("https://songs.example/Tides.mp3", label="Tides")


class Service:
    """The programs of the page, in a folder, for one server and one emulator."""

    def __init__(self, folder: Path, client: Client, emulator: Emulator) -> None:
        self.folder = folder
        self.client = client
        self.emulator = emulator
        self.environ = {
            **os.environ,
            # So that the programs find each other, also where Python leaves their folder out.
            "PYTHONPATH": str(folder),
            "VOCALSEP_API_KEY": "a-key",
            "VOCALSEP_BASE_URL": emulator.url,
        }
        address = client.service_client.config.target_host
        # A lost worker is to be noticed soon.
        for name, content in files_of(PAGE).items():
            text = content.replace("localhost:7233", address).replace("seconds=30", "seconds=2")
            folder.joinpath(name).write_text(text, encoding="utf-8")

    def worker(self) -> Any:
        return worker(self.folder, "worker.py", self.environ)

    def worker_here(
        self, replacement: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
    ) -> Worker:
        """A worker of this process, with an activity in place of the real one."""
        monkeypatch.syspath_prepend(self.folder)
        workflows = importlib.import_module("workflows")
        monkeypatch.delitem(sys.modules, "workflows")
        return Worker(
            self.client,
            task_queue="songs",
            workflows=[workflows.SeparateSong],
            activities=[replacement],
        )

    async def begin(self, song: SeparationInput = SONG) -> WorkflowHandle[Any, SeparationResult]:
        return await self.client.start_workflow(
            "SeparateSong", song, id="song", task_queue="songs", result_type=SeparationResult
        )

    async def heartbeat(self, handle: WorkflowHandle[Any, Any]) -> dict[str, Any]:
        """The details of the last heartbeat, as the server has them."""
        pending = (await handle.describe()).raw_description.pending_activities
        if not pending or not pending[0].heartbeat_details.payloads:
            return {}
        details = await self.client.data_converter.decode(pending[0].heartbeat_details.payloads)
        return dict(details[0])

    async def step(self, handle: WorkflowHandle[Any, Any], name: str) -> None:
        """Wait until the server knows that the song is so far."""
        while (await self.heartbeat(handle)).get("step") != name:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


def blocks() -> ModuleType:
    """The last blocks of the page, which are no programs."""
    module = ModuleType("blocks")
    for block in blocks_of(PAGE)[3:]:
        exec(compile(block, PAGE, "exec", dont_inherit=True), vars(module))
    return module


async def test_the_programs_of_the_page_separate_a_song(tmp_path: Path) -> None:
    async with temporal_server() as client, Emulator(speed=1_000.0) as emulator:
        service = Service(tmp_path, client, emulator)
        with service.worker():
            command = [sys.executable, "start.py"]
            done = await anyio.run_process(command, cwd=tmp_path, env=service.environ)
        (task_id,) = emulator.tasks
        assert done.stdout.decode() == f"{task_id} SUCCESS ['instrumental', 'vocal']\n"


async def test_a_worker_that_is_killed_while_a_task_runs_is_followed_by_one_that_waits_for_it(
    tmp_path: Path,
) -> None:
    async with temporal_server() as client, Emulator() as emulator:
        service = Service(tmp_path, client, emulator)
        handle = await service.begin()
        with service.worker() as first:
            await service.step(handle, "created")
            first.kill()
        with service.worker():
            (task_id,) = emulator.tasks
            emulator.finish(task_id)
            assert (await handle.result()).task_id == task_id
        assert emulator.tasks == (task_id,)


async def test_a_worker_that_is_killed_before_the_answer_leaves_the_song_perhaps_created(
    tmp_path: Path,
) -> None:
    async with temporal_server() as client, Emulator() as emulator:
        emulator.inject(Fault.STALLED)
        service = Service(tmp_path, client, emulator)
        handle = await service.begin()
        with service.worker() as first:
            await service.step(handle, "creating")
            first.kill()
        with service.worker(), pytest.raises(WorkflowFailureError) as caught:
            await handle.result()
        reason = blocks().reason(caught.value)
        assert reason.startswith("CreationUncertainError: the task of 'Tides' may have been")
        assert emulator.tasks == ()


async def test_a_worker_that_is_stopped_hands_its_songs_to_the_next_one(tmp_path: Path) -> None:
    async with temporal_server() as client, Emulator() as emulator:
        service = Service(tmp_path, client, emulator)
        handle = await service.begin()
        with service.worker() as first:
            await service.step(handle, "created")
            first.terminate()
            await until(lambda: first.poll() is not None)
            assert first.returncode == 0
        with service.worker():
            (task_id,) = emulator.tasks
            emulator.finish(task_id)
            assert (await handle.result()).task_id == task_id
        assert emulator.tasks == (task_id,)


async def test_a_workflow_that_is_cancelled_leaves_the_task_alone(tmp_path: Path) -> None:
    async with temporal_server() as client, Emulator() as emulator:
        service = Service(tmp_path, client, emulator)
        handle = await service.begin()
        with service.worker():
            await service.step(handle, "created")
            await handle.cancel()
            with pytest.raises(WorkflowFailureError) as caught:
                await handle.result()
        assert type(caught.value.cause).__name__ == "CancelledError"
        assert {each.method for each in emulator.requests} == {"POST", "GET"}


async def test_a_task_that_fails_ends_the_workflow_with_its_reason(tmp_path: Path) -> None:
    async with temporal_server() as client, Emulator() as emulator:
        failing = emulator.add_task()
        emulator.fail(failing, message="no voice in this song")
        service = Service(tmp_path, client, emulator)
        handle = await service.begin(SeparationInput(task_id=failing))
        with service.worker(), pytest.raises(WorkflowFailureError) as caught:
            await handle.result()
    assert "TaskFailedError" in blocks().reason(caught.value)
    assert "no voice in this song" in blocks().reason(caught.value)
    assert isinstance(caught.value.cause, ActivityError)
    failure = caught.value.cause.cause
    assert isinstance(failure, ApplicationError)
    assert failure.details[0]["task_id"] == failing


async def test_a_heartbeat_of_an_attempt_that_was_given_up_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What keeps an attempt that is cut off from creating anything."""
    tokens: list[bytes] = []
    seen: list[Any] = []

    @activity.defn(name="vocalsep_separate")
    async def in_two_attempts(song: SeparationInput) -> SeparationResult:
        info = activity.info()
        tokens.append(info.task_token)
        handle = activity.client().get_async_activity_handle(task_token=tokens[0])
        if info.attempt == 1:
            await handle.heartbeat({"step": "creating"})
            raise ApplicationError("again", next_retry_delay=timedelta(milliseconds=1))
        seen.extend(info.heartbeat_details)
        with pytest.raises(RPCError) as caught:
            await handle.heartbeat({"step": "created"})
        seen.append(caught.value.status)
        return SeparationResult(task_id="task-1", label=None, status="SUCCESS", stems=[])

    async with temporal_server() as client, Emulator() as emulator:
        service = Service(tmp_path, client, emulator)
        async with service.worker_here(in_two_attempts, monkeypatch):
            await (await service.begin()).result()
    assert seen == [{"step": "creating"}, RPCStatusCode.NOT_FOUND]


async def test_the_activity_in_place_of_the_real_one_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with temporal_server() as client, Emulator() as emulator:
        service = Service(tmp_path, client, emulator)
        async with service.worker_here(blocks().separated_at_once, monkeypatch):
            result = await (await service.begin()).result()
    assert result.task_id == "task-1"
    assert result.label == "Tides"
    assert emulator.requests == ()

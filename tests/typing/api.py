"""The public types, pinned: read by type checkers, never run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime
from io import BytesIO, StringIO
from ipaddress import IPv4Network
from pathlib import Path
from ssl import create_default_context
from typing import Any, assert_type

from vocalsep_async import (
    KIE_JOBS,
    Adaptive,
    Backoff,
    BatchRunner,
    BatchStats,
    Bid,
    ClientStats,
    DownloadError,
    DownloadOptions,
    DownloadProgress,
    DownloadReport,
    Durations,
    DurationView,
    Intent,
    Interval,
    Journal,
    Limiter,
    LimiterSnapshot,
    PollContext,
    PollDone,
    PollPending,
    PollPolicy,
    Provider,
    RateLimit,
    RateLimiter,
    RetryPolicy,
    SeparationTask,
    SeparationType,
    Slot,
    SlotResult,
    StemFile,
    StemStream,
    TaskOutcome,
    TaskRef,
    TaskStatus,
    TaskTimeoutError,
    UploadedFile,
    UploadProgress,
    VocalSepClient,
    VocalSepError,
)
from vocalsep_async.client import ClientOptions
from vocalsep_async.emulator import Emulator, UploadFault, fast_settings
from vocalsep_async.instrumentation import (
    CreationFailed,
    Event,
    EventListener,
    PollFinished,
    TaskFinished,
)
from vocalsep_async.providers import COMMON_CODES, Request


async def waits(client: VocalSepClient) -> None:
    assert_type(await client.get_task("id"), SeparationTask)
    assert_type(await client.get_task(TaskRef("id")), SeparationTask)
    assert_type(await client.get_task("id", timeout=5), SeparationTask)
    await client.get_task("id", 5)  # type: ignore[call-arg]
    assert_type(await client.wait_for_task("id", timeout=None), SeparationTask)
    assert_type(await client.wait_for_task("id", timeout=1, poll=Interval(5)), SeparationTask)
    await client.wait_for_task("id", on_update=print)
    await client.wait_for_task("id", on_update=an_async_callback)
    assert_type(await client.wait_for_tasks(["id"]), dict[str, TaskOutcome])
    assert_type(
        await client.wait_for_tasks({TaskRef("id")}, type="split_stem"), dict[str, TaskOutcome]
    )
    assert_type(await client.get_credits(), float)
    assert_type(await client.get_credits(timeout=None), float)
    assert_type(client.notify("id"), bool)
    assert_type(client.notify(TaskRef("id")), bool)
    assert_type(client.notify("id", record=await client.get_task("id")), bool)
    client.notify("id", record=None)
    assert_type(client.stats, ClientStats)
    assert_type(client.durations, Durations)
    client.durations.save("path")
    assert_type(client.durations.view("split_stem"), DurationView)
    assert_type(client.durations.view().expected_delay(0.0, 60.0), float)
    await client.aclose()


async def tracks(client: VocalSepClient, ids: AsyncIterator[str]) -> None:
    assert_type(client.track(ids), BatchRunner)
    client.track((), type="split_stem", max_concurrency=4, timeout=None, poll=Interval(5))
    client.track((), type=SeparationType.SPLIT_STEM)
    client.track((), type="karaoke")  # type: ignore[arg-type]
    TaskRef("id", type="split_stem")
    assert_type(TaskRef("id", route="kie_jobs").route, str | None)
    assert_type(TaskRef("id", label="Song").label, str | None)
    assert_type(TaskRef("id", expects_callback=True).expects_callback, bool)
    TaskRef("id", "split_stem")  # type: ignore[call-arg]
    async with client.track([TaskRef("id"), "id"], keep_open=True) as batch:
        assert_type(batch, BatchRunner)
        async for outcome in batch:
            assert_type(outcome, TaskOutcome)
        batch.add("id")
        assert_type(batch.notify("id"), bool)
        assert_type(client.notify("id"), bool)
        client.notify(TaskRef("id"))
        batch.close()
        assert_type(batch.stats, BatchStats)
        assert_type(batch.stats.eta, float)
        assert_type(batch.stats.last_error, VocalSepError | None)


async def saves(client: VocalSepClient, task: SeparationTask, outcome: TaskOutcome) -> None:
    assert_type(await client.download_stems(task, "stems"), DownloadReport)
    report = await client.download_stems(
        "id", Path("stems"), stems=["vocal"], template="{stem}{ext}", overwrite="never"
    )
    assert_type(report.paths, dict[str, Path])
    assert_type(report.files, tuple[StemFile, ...])
    assert_type(report.error, DownloadError | None)
    await client.download_stems(outcome, "stems", on_progress=shown, max_bytes=1 << 20)
    await client.download_stems(task, "stems", overwrite="sometimes")  # type: ignore[arg-type]
    client.track(["id"], download_to="stems")
    client.track(["id"], download_to=DownloadOptions("stems", stems=["vocal"], on_progress=shown))
    DownloadOptions("stems", overwrite="sometimes")  # type: ignore[arg-type]
    assert_type(outcome.files, Mapping[str, Path])
    async with client.open_stem(TaskRef("id"), "vocal") as stream:
        assert_type(stream, StemStream)
        assert_type(stream.size, int | None)
        async for chunk in stream:
            assert_type(chunk, bytes)


async def keeps(client: VocalSepClient) -> None:
    async with Journal("path", label="team", keep_links=True) as journal:
        assert_type(journal, Journal)
        assert_type(await journal.intents(), tuple[Intent, ...])
        assert_type((journal.path, journal.label), tuple[Path, str | None])
        await client.create_task(
            audio_url="https://example.com/a.mp3",
            callback_url="https://example.com",
            journal=journal,
        )
        client.track(["id"], journal=journal)
    async with client.track(journal=Path("path")) as batch:
        assert_type(batch.pending_ids(), tuple[str, ...])


async def polls(client: VocalSepClient) -> None:
    seen = await client.poll_once("id", state=None, poll=Interval(5))
    assert_type(seen, PollDone | PollPending)
    if isinstance(seen, PollPending):
        assert_type(seen.delay, float)
        assert_type(seen.state, dict[str, Any])
        await client.poll_once("id", state=seen.state)
    else:
        assert_type(seen.task, SeparationTask)


def shown(progress: DownloadProgress) -> None:
    assert_type(progress.total, int | None)


async def an_async_callback(task: SeparationTask) -> None:
    assert_type(task.status, TaskStatus | str)


def sent(progress: UploadProgress) -> None:
    assert_type((progress.sent, progress.total), tuple[int, int])


async def uploads(client: VocalSepClient, stem: StemStream) -> None:
    uploaded = await client.upload("song.mp3", on_progress=sent, timeout=None)
    assert_type(uploaded, UploadedFile)
    assert_type(uploaded.url, str)
    assert_type(uploaded.expires_at, datetime)
    await client.upload(Path("song.mp3"), name="my song", max_bytes=1 << 20)
    await client.upload(b"RIFF")
    await client.upload(BytesIO(b"RIFF"))
    # An async iterator of bytes.
    await client.upload(stem)
    await client.upload(StringIO("RIFF"))  # type: ignore[arg-type]
    await client.upload(5)  # type: ignore[arg-type]


async def creates(client: VocalSepClient) -> None:
    ref = await client.create_task(
        source_task_id="song", audio_id="track", callback_url="https://example.com"
    )
    assert_type(ref, TaskRef)
    assert_type(ref.created_at, datetime | None)
    await client.create_task(
        audio_url="https://example.com/a.mp3",
        callback_url="https://example.com",
        type=SeparationType.SPLIT_STEM,
        stem_name=None,
    )


async def constructs() -> None:
    async with VocalSepClient("key") as client:
        assert_type(client, VocalSepClient)
    VocalSepClient("key", rate_limit=None, poll=Backoff(), retry=RetryPolicy(attempts=1))
    VocalSepClient("key", rate_limit=RateLimit(20, 10.0), poll=Adaptive(cost=0.5))
    VocalSepClient()
    VocalSepClient(None, base_url=None)
    assert_type(VocalSepClient.from_env(), VocalSepClient)
    assert_type(
        VocalSepClient.from_env({"VOCALSEP_API_KEY": "key"}, poll=Interval(5), proxy=None),
        VocalSepClient,
    )
    VocalSepClient(trust_env=True, ssl=create_default_context(), allow_private_hosts=True)
    VocalSepClient(allow_private_hosts=["198.18.0.0/15", IPv4Network("10.0.0.0/8")])
    VocalSepClient(ssl=False)  # type: ignore[arg-type]
    VocalSepClient(allow_private_hosts=[5])  # type: ignore[list-item]
    options: ClientOptions = {"rate_limit": None, "user_agent": "my-service/2"}
    VocalSepClient("key", **options)
    VocalSepClient.from_env(**options)
    VocalSepClient.from_env(request_timout=5)  # type: ignore[call-arg]
    VocalSepClient.from_env(poll=5)  # type: ignore[arg-type]
    VocalSepClient("key", "https://api.kie.ai")  # type: ignore[call-arg]
    VocalSepClient("key", poll=5)  # type: ignore[arg-type]
    async with Emulator() as emulator:
        assert_type(emulator.url, str)
        assert_type(emulator.add_task(), str)
        assert_type(emulator.add_song(), tuple[str, str])
        assert_type(emulator.client(rate_limit=None), VocalSepClient)
        emulator.inject(UploadFault.REFUSED, times=2)
        emulator.client(poll=5)  # type: ignore[arg-type]
    with Emulator() as emulator:
        assert_type(emulator, Emulator)
    assert_type(emulator.client(**fast_settings()), VocalSepClient)
    VocalSepClient("key", **fast_settings(base_url=emulator.url))
    fast_settings(poll=5)  # type: ignore[arg-type]


def listens(event: Event) -> None:
    assert_type(event.name, str)
    if isinstance(event, PollFinished):
        assert_type(event.error, BaseException | None)
        assert_type(event.wait_ids, tuple[str, ...])
    if isinstance(event, CreationFailed):
        assert_type((event.error, event.may_exist), tuple[BaseException, bool])
    if isinstance(event, TaskFinished):
        assert_type(event.delay, float | None)
        event.polls = 2  # type: ignore[misc]


async def listens_in_vain(event: Event) -> None:
    """Type checkers accept it, since a coroutine is an object, too; the client rejects it."""


class Counter:
    def __call__(self, event: Event, /) -> int:
        return 1


listener: EventListener = Counter()
VocalSepClient("key", on_event=listens)
VocalSepClient("key", on_event=[listens, print, Counter()])
VocalSepClient("key", on_event=5)  # type: ignore[arg-type]
VocalSepClient("key", on_event=lambda: None)  # type: ignore[arg-type]


class MyLimiter(Limiter):
    async def acquire(self, bid: Callable[[], Bid]) -> Slot:
        assert_type(bid().deadline, float | None)
        return MySlot()

    async def try_acquire(self, bid: Callable[[], Bid]) -> Slot | float:
        return 1.0

    def snapshot(self) -> LimiterSnapshot:
        return LimiterSnapshot(rate=2.0, ceiling=2.0, in_flight=0, sent=0, throttled=0)

    def move(self, shift: float) -> None:
        assert_type(self.rate + shift, float)


class MySlot:
    def release(self, result: SlotResult, *, retry_after: float | None = None) -> None:
        pass


limiter: Limiter = RateLimiter(RateLimit(20, 10.0))
assert_type(limiter.rate, float)
VocalSepClient("key", limiter=limiter)
VocalSepClient("key", limiter=MyLimiter())
VocalSepClient("key", limiter=RateLimit(20, 10.0))  # type: ignore[arg-type]


class MyProvider(Provider):
    def poll_request(self, task_id: str) -> Request:
        return Request("GET", f"/jobs/{task_id}")


VocalSepClient("key", provider=KIE_JOBS)
VocalSepClient("key", provider=MyProvider(name="mine", codes=COMMON_CODES, credits_path="/credits"))
VocalSepClient("key", provider="kie")  # type: ignore[arg-type]


class MyPolicy:
    def delay(self, context: PollContext) -> float:
        return context.durations.due(context.age, 0.1)


policy: PollPolicy = MyPolicy()


def values(task: SeparationTask, outcome: TaskOutcome, error: TaskTimeoutError) -> None:
    assert_type(task.type, SeparationType | None)
    assert_type(task.stems.vocal, str | None)
    assert_type(task.stems.others, tuple[tuple[str, str], ...])
    assert_type(list(task.stems), list[tuple[str, str]])
    assert_type(task.duration, float | None)
    assert_type(task.raw, Mapping[str, Any])
    assert_type(task.raise_for_failure(), SeparationTask)
    assert_type(outcome.result(), SeparationTask)
    assert_type(outcome.succeeded, bool)
    assert_type(outcome.reason, str | None)
    assert_type(task.reason, str | None)
    assert_type(outcome.to_dict(keep_links=True), dict[str, Any])
    assert_type(outcome.error, VocalSepError | None)
    assert_type(error.task, SeparationTask | None)
    task.status = "SUCCESS"  # type: ignore[misc]

"""A user's program: every public name, from the package and from its module.

Type checkers read it outside of the checkout, beside the installed wheel, in their strictest modes.
"""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO

from aiohttp import web
from opentelemetry.metrics import get_meter_provider
from opentelemetry.trace import get_tracer_provider

import vocalsep_async
import vocalsep_async.batch
import vocalsep_async.client
import vocalsep_async.contrib.aiohttp
import vocalsep_async.contrib.asgi
import vocalsep_async.contrib.opentelemetry
import vocalsep_async.contrib.redis
import vocalsep_async.contrib.temporal
import vocalsep_async.downloads
import vocalsep_async.durations
import vocalsep_async.emulator
import vocalsep_async.errors
import vocalsep_async.instrumentation
import vocalsep_async.journal
import vocalsep_async.limiter
import vocalsep_async.models
import vocalsep_async.policies
import vocalsep_async.providers
import vocalsep_async.songs
import vocalsep_async.uploads
import vocalsep_async.webhooks
from vocalsep_async import Interval, Journal, PollContext, PollPolicy, VocalSepClient
from vocalsep_async.webhooks import CallbackUrl, parse_callback

EXPORTED: tuple[object, ...] = (
    vocalsep_async.APIError,
    vocalsep_async.Adaptive,
    vocalsep_async.AuthenticationError,
    vocalsep_async.Backoff,
    vocalsep_async.BatchRunner,
    vocalsep_async.BatchStats,
    vocalsep_async.Bid,
    vocalsep_async.CallbackTooLargeError,
    vocalsep_async.ClientClosedError,
    vocalsep_async.ClientStats,
    vocalsep_async.ConfigurationError,
    vocalsep_async.CreationUncertainError,
    vocalsep_async.DecodeError,
    vocalsep_async.DownloadError,
    vocalsep_async.DownloadOptions,
    vocalsep_async.DownloadProgress,
    vocalsep_async.DownloadReport,
    vocalsep_async.DurationView,
    vocalsep_async.Durations,
    vocalsep_async.ErrorAction,
    vocalsep_async.ErrorRule,
    vocalsep_async.Event,
    vocalsep_async.EventListener,
    vocalsep_async.ForgedCallbackError,
    vocalsep_async.InsufficientCreditsError,
    vocalsep_async.Intent,
    vocalsep_async.Interval,
    vocalsep_async.InvalidArgumentError,
    vocalsep_async.InvalidParametersError,
    vocalsep_async.Journal,
    vocalsep_async.JournalError,
    vocalsep_async.KIE,
    vocalsep_async.KIE_JOBS,
    vocalsep_async.Limiter,
    vocalsep_async.LimiterSnapshot,
    vocalsep_async.MaintenanceError,
    vocalsep_async.MalformedCallbackError,
    vocalsep_async.NotBegunError,
    vocalsep_async.NotFoundError,
    vocalsep_async.OriginTrack,
    vocalsep_async.PayloadTooLargeError,
    vocalsep_async.PollContext,
    vocalsep_async.PollDone,
    vocalsep_async.PollPending,
    vocalsep_async.PollPolicy,
    vocalsep_async.Provider,
    vocalsep_async.RateLimit,
    vocalsep_async.RateLimitedError,
    vocalsep_async.RateLimiter,
    vocalsep_async.RequestTimeoutError,
    vocalsep_async.RetryPolicy,
    vocalsep_async.SUNOAPI,
    vocalsep_async.SeparationTask,
    vocalsep_async.SeparationType,
    vocalsep_async.ServerError,
    vocalsep_async.Slot,
    vocalsep_async.SlotResult,
    vocalsep_async.Song,
    vocalsep_async.SongProgress,
    vocalsep_async.SongRunner,
    vocalsep_async.SongStats,
    vocalsep_async.StaleCallbackError,
    vocalsep_async.StemFile,
    vocalsep_async.StemStream,
    vocalsep_async.Stems,
    vocalsep_async.TaskFailedError,
    vocalsep_async.TaskNotFoundError,
    vocalsep_async.TaskOutcome,
    vocalsep_async.TaskRef,
    vocalsep_async.TaskStatus,
    vocalsep_async.TaskTimeoutError,
    vocalsep_async.TransportError,
    vocalsep_async.UnsignedCallbackError,
    vocalsep_async.UploadError,
    vocalsep_async.UploadProgress,
    vocalsep_async.UploadedFile,
    vocalsep_async.VocalSepClient,
    vocalsep_async.VocalSepError,
    vocalsep_async.WebhookError,
)
IN_THEIR_MODULES: tuple[object, ...] = (
    vocalsep_async.batch.BatchRunner,
    vocalsep_async.client.ClientOptions,
    vocalsep_async.client.VocalSepClient,
    vocalsep_async.contrib.aiohttp.CallbackReceiver,
    vocalsep_async.contrib.asgi.CallbackReceiver,
    vocalsep_async.contrib.opentelemetry.Instrumentation,
    vocalsep_async.contrib.opentelemetry.instrument,
    vocalsep_async.contrib.redis.RedisLimiter,
    vocalsep_async.contrib.temporal.SeparationActivity,
    vocalsep_async.contrib.temporal.SeparationInput,
    vocalsep_async.contrib.temporal.SeparationResult,
    vocalsep_async.downloads.DownloadOptions,
    vocalsep_async.downloads.Downloadable,
    vocalsep_async.downloads.OnProgress,
    vocalsep_async.downloads.Overwrite,
    vocalsep_async.downloads.StemStream,
    vocalsep_async.durations.DurationView,
    vocalsep_async.durations.Durations,
    vocalsep_async.emulator.CallbackFaults,
    vocalsep_async.emulator.CallbackKind,
    vocalsep_async.emulator.CallbackRecord,
    vocalsep_async.emulator.Emulator,
    vocalsep_async.emulator.Fault,
    vocalsep_async.emulator.RequestRecord,
    vocalsep_async.emulator.UploadFault,
    vocalsep_async.emulator.fast_settings,
    vocalsep_async.errors.APIError,
    vocalsep_async.errors.AuthenticationError,
    vocalsep_async.errors.CallbackTooLargeError,
    vocalsep_async.errors.ClientClosedError,
    vocalsep_async.errors.ConfigurationError,
    vocalsep_async.errors.CreationUncertainError,
    vocalsep_async.errors.DecodeError,
    vocalsep_async.errors.DownloadError,
    vocalsep_async.errors.ErrorAction,
    vocalsep_async.errors.ForgedCallbackError,
    vocalsep_async.errors.InsufficientCreditsError,
    vocalsep_async.errors.InvalidArgumentError,
    vocalsep_async.errors.InvalidParametersError,
    vocalsep_async.errors.JournalError,
    vocalsep_async.errors.MaintenanceError,
    vocalsep_async.errors.MalformedCallbackError,
    vocalsep_async.errors.NotBegunError,
    vocalsep_async.errors.NotFoundError,
    vocalsep_async.errors.PayloadTooLargeError,
    vocalsep_async.errors.RateLimitedError,
    vocalsep_async.errors.RequestTimeoutError,
    vocalsep_async.errors.ServerError,
    vocalsep_async.errors.StaleCallbackError,
    vocalsep_async.errors.TaskFailedError,
    vocalsep_async.errors.TaskNotFoundError,
    vocalsep_async.errors.TaskTimeoutError,
    vocalsep_async.errors.TransportError,
    vocalsep_async.errors.UnsignedCallbackError,
    vocalsep_async.errors.UploadError,
    vocalsep_async.errors.VocalSepError,
    vocalsep_async.errors.WebhookError,
    vocalsep_async.instrumentation.BatchFinished,
    vocalsep_async.instrumentation.BatchStarted,
    vocalsep_async.instrumentation.CreationConfirmed,
    vocalsep_async.instrumentation.CreationIntended,
    vocalsep_async.instrumentation.CreationSent,
    vocalsep_async.instrumentation.DownloadFinished,
    vocalsep_async.instrumentation.DownloadStarted,
    vocalsep_async.instrumentation.Event,
    vocalsep_async.instrumentation.EventListener,
    vocalsep_async.instrumentation.JournalClosed,
    vocalsep_async.instrumentation.JournalOpened,
    vocalsep_async.instrumentation.JournalWritten,
    vocalsep_async.instrumentation.OutcomeDelivered,
    vocalsep_async.instrumentation.Paused,
    vocalsep_async.instrumentation.PollFinished,
    vocalsep_async.instrumentation.PollStarted,
    vocalsep_async.instrumentation.RequestRetried,
    vocalsep_async.instrumentation.Resumed,
    vocalsep_async.instrumentation.StemFailed,
    vocalsep_async.instrumentation.StemSaved,
    vocalsep_async.instrumentation.StemStarted,
    vocalsep_async.instrumentation.TaskFinished,
    vocalsep_async.instrumentation.Throttled,
    vocalsep_async.instrumentation.UploadFinished,
    vocalsep_async.instrumentation.UploadStarted,
    vocalsep_async.instrumentation.WaitFinished,
    vocalsep_async.instrumentation.WaitStarted,
    vocalsep_async.journal.Journal,
    vocalsep_async.limiter.Bid,
    vocalsep_async.limiter.Limiter,
    vocalsep_async.limiter.LimiterSnapshot,
    vocalsep_async.limiter.OnPause,
    vocalsep_async.limiter.RateLimiter,
    vocalsep_async.limiter.Slot,
    vocalsep_async.limiter.SlotResult,
    vocalsep_async.models.BatchStats,
    vocalsep_async.models.ClientStats,
    vocalsep_async.models.DownloadProgress,
    vocalsep_async.models.DownloadReport,
    vocalsep_async.models.Intent,
    vocalsep_async.models.OriginTrack,
    vocalsep_async.models.PollDone,
    vocalsep_async.models.PollPending,
    vocalsep_async.models.SeparationTask,
    vocalsep_async.models.SeparationType,
    vocalsep_async.models.SeparationTypeName,
    vocalsep_async.models.StemFile,
    vocalsep_async.models.Stems,
    vocalsep_async.models.TaskOutcome,
    vocalsep_async.models.TaskRef,
    vocalsep_async.models.TaskStatus,
    vocalsep_async.policies.Adaptive,
    vocalsep_async.policies.Backoff,
    vocalsep_async.policies.Interval,
    vocalsep_async.policies.PollContext,
    vocalsep_async.policies.PollPolicy,
    vocalsep_async.policies.RateLimit,
    vocalsep_async.policies.RetryPolicy,
    vocalsep_async.providers.APIKLEY,
    vocalsep_async.providers.COMMON_CODES,
    vocalsep_async.providers.ErrorRule,
    vocalsep_async.providers.KIE,
    vocalsep_async.providers.KIE_JOBS,
    vocalsep_async.providers.NO_CREDITS,
    vocalsep_async.providers.Provider,
    vocalsep_async.providers.Request,
    vocalsep_async.providers.SUNOAPI,
    vocalsep_async.providers.THROTTLED,
    vocalsep_async.providers.provider_for,
    vocalsep_async.webhooks.Body,
    vocalsep_async.webhooks.CallbackEvent,
    vocalsep_async.webhooks.CallbackUrl,
    vocalsep_async.webhooks.Headers,
    vocalsep_async.webhooks.Key,
    vocalsep_async.webhooks.MAX_CALLBACK_BYTES,
    vocalsep_async.webhooks.ReceiverStats,
    vocalsep_async.webhooks.parse_callback,
    vocalsep_async.webhooks.verify_signature,
    vocalsep_async.songs.OnSongProgress,
    vocalsep_async.songs.OnUncertain,
    vocalsep_async.songs.Song,
    vocalsep_async.songs.SongProgress,
    vocalsep_async.songs.SongRunner,
    vocalsep_async.songs.SongStats,
    vocalsep_async.songs.SongStep,
    vocalsep_async.songs.Songs,
    vocalsep_async.songs.Source,
    vocalsep_async.uploads.BinaryStream,
    vocalsep_async.uploads.OnUploadProgress,
    vocalsep_async.uploads.UploadProgress,
    vocalsep_async.uploads.Uploadable,
    vocalsep_async.uploads.UploadedFile,
)


async def stems_of(song: str) -> str | None:
    async with VocalSepClient() as client:
        named = vocalsep_async.Song(("music", "track"), label="Tides", type="split_stem", key="1")
        outcome = await client.separate(named, download_to="stems", journal=Journal("j"))
        outcome = await client.separate(song, label="Tides", on_uncertain="create", timeout=None)
        try:
            await client.separate(b"RIFF", type="split_stem_advanced", stem_name="Piano")
        except vocalsep_async.CreationUncertainError as error:
            return f"{error.label} {error.began_at:%c} {error.reason}"
    return outcome.label


async def many(paths: list[str]) -> str:
    async with VocalSepClient() as client:
        options = vocalsep_async.DownloadOptions("stems", template="{label}{ext}", stems=["vocal"])
        songs = client.separate_many(
            paths, download_to=options, max_credits=100, resubmit=1, on_progress=show_song
        )
        async with songs as run:
            labels = [outcome.label async for outcome in run]
            counted = run.stats
    return f"{labels} {counted.not_begun} {counted.credits_spent}"


def show_song(progress: vocalsep_async.SongProgress) -> str:
    sent = f"{progress.sent} of {progress.total}"
    return f"{progress.song.name} {progress.state} {progress.task_id} {sent}"


async def separate(song: str) -> dict[str, str]:
    async with VocalSepClient() as client:
        ref = await client.create_task(audio_url=song)
        task = await client.wait_for_task(ref, timeout=600, poll=Interval(5))
        await client.download_stems(task, "stems", stems=["vocal"])
        await client.download_stems(
            task, "stems", timeout=600, patience=120.0, min_bytes_per_minute=None
        )
        client.open_stem(task, "vocal", patience=None, min_bytes_per_minute=1000)
        vocalsep_async.DownloadOptions(
            "stems", timeout=None, patience=5, min_bytes_per_minute=1 << 16
        )
        async with client.track([ref, "id"], type="split_stem", journal=Journal("j")) as batch:
            reasons = {outcome.task_id: outcome.reason async for outcome in batch}
    return dict(task.raise_for_failure().stems) | {"why": str(reasons)}


def sent(progress: vocalsep_async.UploadProgress) -> float:
    return progress.sent / progress.total


async def upload(song: str) -> str:
    async with VocalSepClient(upload_url="https://uploads.example.com") as client:
        await client.upload(BytesIO(b"RIFF"), name="song.wav", max_bytes=1 << 20)
        await client.upload(b"RIFF", timeout=60)
        uploaded = await client.upload(song, on_progress=sent)
    return f"{uploaded.url} {uploaded.size} {uploaded.expires_at:%c} {uploaded.sha256}"


class MyPolicy:
    def delay(self, context: PollContext) -> float:
        return context.durations.due(context.age, 0.5) - context.age


def behind_a_proxy() -> VocalSepClient:
    return VocalSepClient(trust_env=True, ssl=None, allow_private_hosts=("198.18.0.0/15",))


def on_callback(
    path: str, headers: Mapping[str, str], raw_headers: list[tuple[bytes, bytes]], body: bytes
) -> str:
    address = CallbackUrl("https://example.com/hooks", ["new", b"old"], field=None)
    try:
        vocalsep_async.webhooks.verify_signature(headers, body, "key", tolerance=None)
        vocalsep_async.webhooks.verify_signature(raw_headers, memoryview(body), ["a", b"b"], now=1)
        event = parse_callback(body.decode(), provider=vocalsep_async.KIE)
    except vocalsep_async.StaleCallbackError as error:
        return f"{error.skew:.0f} s"
    except vocalsep_async.WebhookError as error:
        return str(error)
    names = [address.check(path), address.check(path.encode()), address.url(), address.url("a")]
    return f"{event.task_id} {event.code} {event.is_final} {event.task.succeeded} {names}"


def support(error: vocalsep_async.APIError | vocalsep_async.DecodeError) -> str | None:
    return error.response_headers.get("cf-ray")


def trace(client: VocalSepClient) -> None:
    made: vocalsep_async.contrib.opentelemetry.Instrumentation
    made = vocalsep_async.contrib.opentelemetry.instrument(client)
    made = vocalsep_async.contrib.opentelemetry.instrument(
        client, tracer_provider=get_tracer_provider(), meter_provider=get_meter_provider()
    )
    made.remove()


def share_in_redis() -> VocalSepClient:
    limit = vocalsep_async.RateLimit(20, 10.0)
    limiter = vocalsep_async.contrib.redis.RedisLimiter(
        "redis://localhost", account="a", rate_limit=limit, on_store_loss="wait"
    )
    snapshot: vocalsep_async.LimiterSnapshot = limiter.snapshot()
    _mode: str | None = snapshot.mode
    _counts: tuple[int | None, int | None, int]
    _counts = (snapshot.processes, snapshot.queued, snapshot.losses)
    _seconds: tuple[float | None, float | None, float | None]
    _seconds = (snapshot.share, snapshot.price, snapshot.store_age)
    return VocalSepClient("any-key", limiter=limiter)


async def separate_in_temporal(client: VocalSepClient) -> list[str]:
    made = vocalsep_async.contrib.temporal.SeparationActivity(client)
    song = vocalsep_async.contrib.temporal.SeparationInput("song.mp3", label="Tides")
    result: vocalsep_async.contrib.temporal.SeparationResult = await made.separate(song)
    return [result.task_id, result.status, *result.stems]


def receive_in_asgi(client: VocalSepClient) -> vocalsep_async.contrib.asgi.CallbackReceiver:
    address = vocalsep_async.webhooks.CallbackUrl("https://example.com/callbacks", "secret")
    return vocalsep_async.contrib.asgi.CallbackReceiver(client, address, trust_callbacks=True)


def receive_in_aiohttp(client: VocalSepClient) -> web.Application:
    receiver = vocalsep_async.contrib.aiohttp.CallbackReceiver(
        client, "https://example.com/callbacks", keys=["new", "old"], tolerance=None
    )
    app = web.Application()
    app.add_routes(receiver.routes("/callbacks"))
    app.router.add_post("/more", receiver.handle)
    counted: vocalsep_async.webhooks.ReceiverStats = receiver.stats
    assert counted.woke == 0, receiver.url()
    return app


POLICY: PollPolicy = MyPolicy()

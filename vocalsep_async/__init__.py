"""Asyncio SDK for vocal-separation tasks.

A song on your disk becomes stems there::

    from vocalsep_async import VocalSepClient

    async with VocalSepClient() as client:  # reads VOCALSEP_API_KEY
        outcome = await client.separate("song.mp3", download_to="stems")
        print(dict(outcome.files))

A local server for tests is in `vocalsep_async.emulator`.
"""

# First: the modules below take long to load.
from vocalsep_async import _startup as _startup  # isort: split

from vocalsep_async._version import __version__
from vocalsep_async.batch import BatchRunner
from vocalsep_async.client import VocalSepClient
from vocalsep_async.downloads import DownloadOptions, StemStream
from vocalsep_async.durations import Durations, DurationView
from vocalsep_async.errors import (
    APIError,
    AuthenticationError,
    CallbackTooLargeError,
    ClientClosedError,
    ConfigurationError,
    CreationUncertainError,
    DecodeError,
    DownloadError,
    ErrorAction,
    ForgedCallbackError,
    InsufficientCreditsError,
    InvalidArgumentError,
    InvalidParametersError,
    JournalError,
    MaintenanceError,
    MalformedCallbackError,
    NotBegunError,
    NotFoundError,
    PayloadTooLargeError,
    RateLimitedError,
    RequestTimeoutError,
    ServerError,
    StaleCallbackError,
    TaskFailedError,
    TaskNotFoundError,
    TaskTimeoutError,
    TransportError,
    UnsignedCallbackError,
    UploadError,
    VocalSepError,
    WebhookError,
)
from vocalsep_async.instrumentation import Event, EventListener
from vocalsep_async.journal import Journal
from vocalsep_async.limiter import (
    Bid,
    Limiter,
    LimiterSnapshot,
    RateLimiter,
    Slot,
    SlotResult,
)
from vocalsep_async.models import (
    BatchStats,
    ClientStats,
    DownloadProgress,
    DownloadReport,
    Intent,
    OriginTrack,
    PollDone,
    PollPending,
    SeparationTask,
    SeparationType,
    StemFile,
    Stems,
    TaskOutcome,
    TaskRef,
    TaskStatus,
)
from vocalsep_async.policies import (
    Adaptive,
    Backoff,
    Interval,
    PollContext,
    PollPolicy,
    RateLimit,
    RetryPolicy,
)
from vocalsep_async.providers import KIE, KIE_JOBS, SUNOAPI, ErrorRule, Provider
from vocalsep_async.songs import Song, SongProgress, SongRunner, SongStats
from vocalsep_async.uploads import UploadedFile, UploadProgress

__all__ = [
    "KIE",
    "KIE_JOBS",
    "SUNOAPI",
    "APIError",
    "Adaptive",
    "AuthenticationError",
    "Backoff",
    "BatchRunner",
    "BatchStats",
    "Bid",
    "CallbackTooLargeError",
    "ClientClosedError",
    "ClientStats",
    "ConfigurationError",
    "CreationUncertainError",
    "DecodeError",
    "DownloadError",
    "DownloadOptions",
    "DownloadProgress",
    "DownloadReport",
    "DurationView",
    "Durations",
    "ErrorAction",
    "ErrorRule",
    "Event",
    "EventListener",
    "ForgedCallbackError",
    "InsufficientCreditsError",
    "Intent",
    "Interval",
    "InvalidArgumentError",
    "InvalidParametersError",
    "Journal",
    "JournalError",
    "Limiter",
    "LimiterSnapshot",
    "MaintenanceError",
    "MalformedCallbackError",
    "NotBegunError",
    "NotFoundError",
    "OriginTrack",
    "PayloadTooLargeError",
    "PollContext",
    "PollDone",
    "PollPending",
    "PollPolicy",
    "Provider",
    "RateLimit",
    "RateLimitedError",
    "RateLimiter",
    "RequestTimeoutError",
    "RetryPolicy",
    "SeparationTask",
    "SeparationType",
    "ServerError",
    "Slot",
    "SlotResult",
    "Song",
    "SongProgress",
    "SongRunner",
    "SongStats",
    "StaleCallbackError",
    "StemFile",
    "StemStream",
    "Stems",
    "TaskFailedError",
    "TaskNotFoundError",
    "TaskOutcome",
    "TaskRef",
    "TaskStatus",
    "TaskTimeoutError",
    "TransportError",
    "UnsignedCallbackError",
    "UploadError",
    "UploadProgress",
    "UploadedFile",
    "VocalSepClient",
    "VocalSepError",
    "WebhookError",
    "__version__",
]

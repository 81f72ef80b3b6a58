"""Asyncio SDK for tracking vocal-separation tasks.

    from vocalsep_async import VocalSepClient

    async with VocalSepClient() as client:  # reads VOCALSEP_API_KEY
        task = await client.wait_for_task(task_id)
        print(dict(task.stems))

A local server for tests is in `vocalsep_async.emulator`.
"""

import typing

from vocalsep_async._version import __version__
from vocalsep_async.batch import BatchRunner, BatchStats
from vocalsep_async.client import VocalSepClient
from vocalsep_async.dialects import KIE, SUNOAPI, Dialect, Rule
from vocalsep_async.downloads import DownloadReport, DownloadTo, Progress, StemFile, StemStream
from vocalsep_async.errors import (
    APIError,
    AuthenticationError,
    ClientClosedError,
    ConfigurationError,
    DecodeError,
    DownloadError,
    InsufficientCreditsError,
    InvalidParametersError,
    JournalError,
    MaintenanceError,
    NotFoundError,
    PayloadTooLargeError,
    RateLimitedError,
    RequestTimeoutError,
    ServerError,
    TaskFailedError,
    TaskNotFoundError,
    TaskTimeoutError,
    TransportError,
    Verdict,
    VocalSepError,
)
from vocalsep_async.models import (
    OriginTrack,
    SeparationTask,
    SeparationType,
    Stems,
    TaskOutcome,
    TaskRef,
    TaskStatus,
)
from vocalsep_async.pacing import RateLimit
from vocalsep_async.polling import Done, Pending
from vocalsep_async.schedule import (
    Adaptive,
    Backoff,
    DurationModel,
    Durations,
    Every,
    PollPolicy,
    RetryPolicy,
    Situation,
)
from vocalsep_async.stats import ClientStats

if typing.TYPE_CHECKING:
    from vocalsep_async.journal import Intent, Journal

__all__ = [
    "KIE",
    "SUNOAPI",
    "APIError",
    "Adaptive",
    "AuthenticationError",
    "Backoff",
    "BatchRunner",
    "BatchStats",
    "ClientClosedError",
    "ClientStats",
    "ConfigurationError",
    "DecodeError",
    "Dialect",
    "Done",
    "DownloadError",
    "DownloadReport",
    "DownloadTo",
    "DurationModel",
    "Durations",
    "Every",
    "InsufficientCreditsError",
    "Intent",
    "InvalidParametersError",
    "Journal",
    "JournalError",
    "MaintenanceError",
    "NotFoundError",
    "OriginTrack",
    "PayloadTooLargeError",
    "Pending",
    "PollPolicy",
    "Progress",
    "RateLimit",
    "RateLimitedError",
    "RequestTimeoutError",
    "RetryPolicy",
    "Rule",
    "SeparationTask",
    "SeparationType",
    "ServerError",
    "Situation",
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
    "Verdict",
    "VocalSepClient",
    "VocalSepError",
    "__version__",
]


def __getattr__(name: str) -> object:
    """Load what is seldom used when it is used first: SQLite takes its time."""
    if name in {"Intent", "Journal"}:
        from vocalsep_async import journal  # noqa: PLC0415

        found: object = getattr(journal, name)
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""Asyncio SDK for tracking vocal-separation tasks.

    from vocalsep_async import VocalSepClient

    async with VocalSepClient() as client:  # reads VOCALSEP_API_KEY
        task = await client.wait_for_task(task_id)
        print(dict(task.stems))

A local server for tests is in `vocalsep_async.emulator`.
"""

import typing

from vocalsep_async._batch.counters import BatchStats
from vocalsep_async._batch.runner import BatchRunner
from vocalsep_async._downloads.options import DownloadOptions
from vocalsep_async._downloads.report import DownloadProgress, DownloadReport, StemFile
from vocalsep_async._downloads.stream import StemStream
from vocalsep_async._limiting import RateLimit
from vocalsep_async._polling.stateless import PollDone, PollPending
from vocalsep_async._scheduling.backoff import RetryPolicy
from vocalsep_async._scheduling.hazards import Durations, HazardModel
from vocalsep_async._version import __version__
from vocalsep_async.client import VocalSepClient
from vocalsep_async.errors import (
    APIError,
    AuthenticationError,
    ClientClosedError,
    ConfigurationError,
    DecodeError,
    DownloadError,
    ErrorAction,
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
from vocalsep_async.policies import Adaptive, Backoff, Interval, PollContext, PollPolicy
from vocalsep_async.providers.base import KIE, SUNOAPI, ErrorRule, Provider
from vocalsep_async.stats import ClientStats

if typing.TYPE_CHECKING:
    from vocalsep_async._journal.journal import Intent, Journal

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
    "Provider",
    "PollDone",
    "DownloadError",
    "DownloadReport",
    "DownloadOptions",
    "HazardModel",
    "Durations",
    "Interval",
    "InsufficientCreditsError",
    "Intent",
    "InvalidParametersError",
    "Journal",
    "JournalError",
    "MaintenanceError",
    "NotFoundError",
    "OriginTrack",
    "PayloadTooLargeError",
    "PollPending",
    "PollPolicy",
    "DownloadProgress",
    "RateLimit",
    "RateLimitedError",
    "RequestTimeoutError",
    "RetryPolicy",
    "ErrorRule",
    "SeparationTask",
    "SeparationType",
    "ServerError",
    "PollContext",
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
    "ErrorAction",
    "VocalSepClient",
    "VocalSepError",
    "__version__",
]


def __getattr__(name: str) -> object:
    """Load what is seldom used when it is used first: SQLite takes its time."""
    if name in {"Intent", "Journal"}:
        from vocalsep_async import _journal  # noqa: PLC0415

        found: object = getattr(_journal, name)
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

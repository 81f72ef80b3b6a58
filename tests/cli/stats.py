"""Progress of a batch; a test overrides what matters to it."""

from __future__ import annotations

from typing import Any

from vocalsep_async import BatchStats
from vocalsep_async.cli.activity import Snapshot


def batch(**fields: Any) -> BatchStats:
    """Counts of a batch with 12 of 42 tasks finished."""
    usual: dict[str, Any] = {
        "pending": 30,
        "finished": 12,
        "succeeded": 11,
        "failed": 1,
        "polls": 50,
        "throttled": 0,
        "retried": 0,
        "rate": 2.0,
        "mean_delay": 2.7,
        "eta": 125.0,
    }
    return BatchStats(**(usual | fields))


def snapshot(**fields: Any) -> Snapshot:
    """Progress of that batch after 50 requests."""
    usual: dict[str, Any] = {
        "batch": batch(),
        "requests": 50,
        "throttled": 0,
        "request_rate": 1.84,
    }
    return Snapshot(**(usual | fields))

"""Counts of a batch and its client; a test overrides those that matter to it."""

from __future__ import annotations

from typing import Any

from vocalsep_async import BatchStats, ClientStats


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


def client(**fields: Any) -> ClientStats:
    """Counts of a client with 50 requests."""
    usual: dict[str, Any] = {
        "requests": 50,
        "throttled": 0,
        "in_flight": 1,
        "rate": 2.0,
        "paused_for": 0.0,
    }
    return ClientStats(**(usual | fields))

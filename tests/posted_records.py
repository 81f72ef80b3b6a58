"""Records as callbacks bring them."""

from __future__ import annotations

from functools import partial
from typing import Any

from vocalsep_async import SUNOAPI, Provider, SeparationTask
from vocalsep_async.providers._records import structure_task

INFO = {"vocal_url": "https://cdn.example/v.mp3", "instrumental_url": "https://cdn.example/i.mp3"}


def posted(
    task_id: str,
    code: int = 200,
    message: str = "",
    provider: Provider = SUNOAPI,
    **data: Any,
) -> SeparationTask:
    """The record of a callback, as the provider posts it: its status is the code beside it."""
    read = partial(provider.read_callback, code=code, message=message)
    return structure_task({"task_id": task_id, **data}, read=read, statuses=provider.statuses)


def success(task_id: str) -> SeparationTask:
    return posted(task_id, vocal_removal_info=INFO)

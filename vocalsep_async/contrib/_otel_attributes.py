"""Attributes of spans and metrics: bounded, and without the key or the query of a link."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from vocalsep_async._text import printable
from vocalsep_async.errors import APIError, DecodeError, ErrorAction, VocalSepError
from vocalsep_async.instrumentation import PollFinished
from vocalsep_async.models import TaskStatus

Attributes: TypeAlias = dict[str, str | int | float | bool]
Detailed: TypeAlias = dict[str, str | int | float | bool | Sequence[str]]

_LONGEST = 200
_LONGEST_MESSAGE = 500
"""Characters."""


def text(value: object) -> str:
    """*value* as an attribute of a span, printable and of bounded length."""
    return printable(str(value), _LONGEST)


def known(attributes: Mapping[str, object]) -> Attributes:
    """Those *attributes* that are not None."""
    return {
        name: value if isinstance(value, (int, float)) else text(value)
        for name, value in attributes.items()
        if value is not None
    }


def status_on_metrics(status: TaskStatus | str | None) -> str | None:
    """A status as one of few values."""
    if status is None or isinstance(status, TaskStatus):
        return status
    return "other"


def code_on_metrics(code: int | None) -> int | None:
    """A code as one of few values; None also for one that no HTTP status and no API has."""
    return code if code is not None and 100 <= code <= 599 else None


def error_type(error: BaseException) -> str:
    """The name of the class of *error*."""
    return text(type(error).__qualname__)


def of_error(error: BaseException | None) -> Detailed:
    """What is known of *error*, for a span: its class, and the answer that it came with."""
    if error is None:
        return {}
    attributes: Detailed = {"error.type": error_type(error)}
    if isinstance(error, APIError):
        attributes["vocalsep.code"] = error.code
    if isinstance(error, (APIError, DecodeError)) and error.http_status is not None:
        attributes["http.response.status_code"] = error.http_status
        for name, value in error.response_headers.items():
            if name != "date":
                attributes[f"http.response.header.{name}"] = (value,)
    return attributes


def message_of(error: BaseException) -> str:
    """The message of *error*; empty for a foreign one, which may hold anything."""
    return printable(str(error), _LONGEST_MESSAGE) if isinstance(error, VocalSepError) else ""


def verdict_of(poll: PollFinished) -> str:
    """What became of a poll, as one of few words."""
    match poll.error:
        case None if poll.status == TaskStatus.PENDING:
            return "pending"
        case None:
            # A success without links is polled again for a while.
            return "final" if poll.next_poll_in is None else "doubted"
        case asyncio.CancelledError():
            return "cancelled"
        case VocalSepError(action=action):
            return _action_taken(action, poll).value
        case _:
            return "raise"


def _action_taken(action: ErrorAction, poll: PollFinished) -> ErrorAction:
    """What the waits of a failed poll did, which the *action* of its error only suggests."""
    # No wait plans the repetition of these polls: the call or the program does.
    if not poll.wait_ids:
        return action
    # For example the last of several polls of a task that the API does not know.
    if poll.next_poll_in is None:
        return ErrorAction.RAISE
    # For example a rejected key, which a second poll is to confirm.
    return ErrorAction.RETRY if action is ErrorAction.RAISE else action

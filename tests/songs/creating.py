"""A provider in virtual time that creates tasks."""

from __future__ import annotations

from itertools import count

from fakes import Answer, FakeProvider, envelope, finished

from vocalsep_async._transport.api import Reply

GENERATE = "/api/v1/vocal-removal/generate"
DURATION = 60.0
"""Seconds for which each task runs."""


def creates_tasks(provider: FakeProvider, duration: float = DURATION) -> FakeProvider:
    """Have *provider* create a task for each request, unless an answer is scripted."""
    numbers = count(1)

    def answer(asked: str) -> Answer:
        return created if asked == GENERATE else polled(asked)

    def created() -> Reply:
        task_id = f"task-{next(numbers)}"
        provider.add(task_id, duration)
        return envelope(200, data={"taskId": task_id})

    def polled(task_id: str) -> Answer:
        before, provider.every_answer = provider.every_answer, None
        try:
            return provider._answer(task_id, provider.polls[-1][0])
        finally:
            provider.every_answer = before

    provider.every_answer = answer
    return provider


def creations(provider: FakeProvider) -> int:
    """How many creations reached the server."""
    return provider.sent.count(GENERATE)


def failed(task_id: str, status: str, message: str = "it failed", code: int = 500) -> Reply:
    """A task that has failed."""
    return envelope(
        200,
        data={
            "taskId": task_id,
            "successFlag": status,
            "errorCode": code,
            "errorMessage": message,
        },
    )


__all__ = ["DURATION", "GENERATE", "creates_tasks", "creations", "failed", "finished"]

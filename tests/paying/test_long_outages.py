"""Waits that meet a long outage, in virtual time: none of them leads to another creation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from batch.journals import journals_in_virtual_time, process
from fakes import Answer, FakeProvider, bare, envelope, finished
from virtual_time import VIRTUAL_TIME

from vocalsep_async import TaskNotFoundError, TaskTimeoutError, TransportError

pytestmark = pytest.mark.anyio

GENERATE = "/api/v1/vocal-removal/generate"
URL = "https://songs.example/a.mp3"
TEN_MINUTES = 600.0
OUTAGES: dict[str, Callable[[], Answer]] = {
    "status 502": lambda: bare(502, b"<html>Bad gateway</html>"),
    "code 500": lambda: envelope(500, "internal error"),
    "no answer": lambda: TransportError("reset", may_have_arrived=True),
}


@pytest.fixture(params=[VIRTUAL_TIME])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    journals_in_virtual_time(monkeypatch)
    return tmp_path / "songs.journal"


def answers_in_an_outage(outage: str, until: float) -> Callable[[str], Answer]:
    def answer(task_id: str) -> Answer:
        if task_id == GENERATE:
            return envelope(200, data={"taskId": "made"})
        is_over = anyio.current_time() >= until
        return finished(task_id) if is_over else OUTAGES[outage]()

    return answer


@pytest.mark.parametrize("outage", OUTAGES)
async def test_a_wait_goes_on_through_polls_that_fail_for_ten_minutes(
    provider: FakeProvider, path: Path, outage: str
) -> None:
    provider.every_answer = answers_in_an_outage(outage, anyio.current_time() + TEN_MINUTES)
    async with process(provider) as client:
        outcome = await client.separate(URL, journal=path)
        assert outcome.succeeded
    assert len(provider.posted) == 1


@pytest.mark.parametrize("outage", OUTAGES)
async def test_a_wait_that_an_outage_outlasts_goes_on_in_the_next_call(
    provider: FakeProvider, path: Path, outage: str
) -> None:
    provider.every_answer = answers_in_an_outage(outage, anyio.current_time() + TEN_MINUTES)
    async with process(provider) as client:
        outcome = await client.separate(URL, journal=path, timeout=TEN_MINUTES / 2)
        assert isinstance(outcome.error, TaskTimeoutError)
        assert outcome.task_id == "made"
        async with client.separate_many([URL], journal=path, timeout=TEN_MINUTES * 2) as run:
            (outcome,) = [each async for each in run]
        assert outcome.succeeded
        assert outcome.task_id == "made"
    assert len(provider.posted) == 1


async def test_a_task_that_the_api_does_not_know_is_not_created_again(
    provider: FakeProvider, path: Path
) -> None:
    provider.script(GENERATE, envelope(200, data={"taskId": "made"}))
    provider.every_answer = lambda _: envelope(200, data=None)
    async with process(provider) as client:
        for _ in range(2):
            outcome = await client.separate(URL, journal=path)
            assert isinstance(outcome.error, TaskNotFoundError)
            assert outcome.task_id == "made"
        provider.ends_all()
        assert (await client.separate(URL, journal=path)).succeeded
    assert len(provider.posted) == 1

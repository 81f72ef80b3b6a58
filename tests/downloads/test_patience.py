"""A file host that is away, or does not have the file yet, is waited for about a minute."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import cycle, islice
from typing import Any, cast

import anyio
import pytest
from attrs import evolve
from downloads.hosts import AUDIO, Answer, Host, files_of, never_poll
from hypothesis import given
from hypothesis import strategies as st
from virtual_time import VIRTUAL_TIME

from vocalsep_async import RetryPolicy, SeparationTask, Stems, TransportError
from vocalsep_async._downloads.patience import (
    Absence,
    NoFileYetError,
    Patience,
    Rests,
    TransferSlot,
)
from vocalsep_async._downloads.source import RemoteFile, StemLinks
from vocalsep_async._transport.files import FileTransport
from vocalsep_async.errors import ClientClosedError, ErrorAction, VocalSepError
from vocalsep_async.policies import FILE_HOST_GAP, FILE_HOST_PATIENCE

LINK = "https://cdn.example/vocal.mp3"
NOW = datetime(2026, 12, 1, tzinfo=UTC)
A_MINUTE = timedelta(minutes=1)
EVEN = RetryPolicy(jitter=0)
DEFAULT = Patience()


class _Clock(datetime):
    @classmethod
    def now(cls, _zone: tzinfo | None = None) -> Any:
        return NOW


@pytest.fixture(autouse=True)
def _at_that_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no time pass, because a link is young for less than all tests may take."""
    monkeypatch.setattr("vocalsep_async._downloads.source.datetime", _Clock)


class _Reply:
    start, encoding, content_type, is_delimited = 0, None, "audio/mpeg", True
    validator, size = '"one"', len(AUDIO)

    def __init__(self, status: int, retry_after: float | None = None) -> None:
        self.status, self.retry_after = status, retry_after
        self._data = [AUDIO]

    async def read(self) -> bytes:
        return self._data.pop() if self._data else b""


class _Files:
    """A file host that answers as *answer* says at each moment, in seconds from its beginning."""

    def __init__(self, answer: Callable[[float], _Reply | TransportError]) -> None:
        self.times: list[float] = []
        self.links: list[str] = []
        self._answer = answer
        self._began: float | None = None

    @asynccontextmanager
    async def get(self, link: str, _headers: Mapping[str, str]) -> AsyncIterator[_Reply]:
        if self._began is None:
            self._began = anyio.current_time()
        self.links.append(link)
        self.times.append(anyio.current_time() - self._began)
        answer = self._answer(self.times[-1])
        if isinstance(answer, TransportError):
            raise answer
        yield answer


def task_with(link: str = LINK, **fields: Any) -> SeparationTask:
    return SeparationTask(task_id="t", status="SUCCESS", stems=Stems(vocal=link), **fields)


YOUNG: dict[str, Any] = {"completed_at": NOW - A_MINUTE}


async def poll_young() -> SeparationTask:
    return task_with(**YOUNG)


async def fetch(
    files: _Files, links: StemLinks, retry: RetryPolicy = EVEN, patience: Patience = DEFAULT
) -> bytes:
    transport = cast("FileTransport", files)
    remote = RemoteFile("vocal", links, transport, retry, 1 << 30, patience=patience)
    received = b""
    async with remote:
        await remote.open()
        while (chunk := await remote.next()) is not None:
            received += chunk.data
    return received


def until(seconds: float, status: int, retry_after: float | None = None) -> _Files:
    """A file host that answers *status* for *seconds*, and then sends the file."""
    return _Files(lambda now: _Reply(200) if now >= seconds else _Reply(status, retry_after))


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", [VIRTUAL_TIME])
class TestWaiting:
    @pytest.mark.parametrize("status", [202, 403, 404, 410, 401, 423])
    @pytest.mark.parametrize("seconds", [0.1, 5.0, 15.0, 45.0, FILE_HOST_PATIENCE])
    async def test_a_file_that_is_not_there_yet_is_waited_for(
        self, status: int, seconds: float
    ) -> None:
        files = until(seconds, status)
        assert await fetch(files, StemLinks(task_with(**YOUNG), poll_young)) == AUDIO

    @pytest.mark.parametrize("fields", [{}, YOUNG], ids=["old", "young"])
    async def test_a_client_that_is_closed_while_a_link_is_renewed_is_not_waited_for(
        self, fields: dict[str, Any]
    ) -> None:
        async def poll() -> SeparationTask:
            raise ClientClosedError("the client is closed")

        files = until(math.inf, 403)
        with pytest.raises(ClientClosedError):
            await fetch(files, StemLinks(task_with(**fields), poll))
        assert files.times == [0]

    @pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
    @pytest.mark.parametrize("seconds", [0.1, 15.0, 45.0, FILE_HOST_PATIENCE])
    async def test_a_host_that_answers_errors_is_waited_for(
        self, status: int, seconds: float
    ) -> None:
        files = until(seconds, status)
        assert await fetch(files, StemLinks(task_with(), never_poll)) == AUDIO

    @pytest.mark.parametrize("seconds", [0.1, 15.0, 45.0, FILE_HOST_PATIENCE])
    async def test_a_host_that_cannot_be_reached_is_waited_for(self, seconds: float) -> None:
        reset = TransportError("the connection broke")
        files = _Files(lambda now: _Reply(200) if now >= seconds else reset)
        assert await fetch(files, StemLinks(task_with(), never_poll)) == AUDIO

    @pytest.mark.parametrize("status", [202, 404, 503])
    async def test_patience_ends_after_a_minute_in_a_few_requests(self, status: int) -> None:
        files = until(math.inf, status)
        with pytest.raises(TransportError, match=f"answered {status}") as caught:
            await fetch(files, StemLinks(task_with(**YOUNG), poll_young))
        assert ("the file is not there yet" in str(caught.value)) is (status != 503)
        assert files.times[-1] == pytest.approx(FILE_HOST_PATIENCE)
        assert len(files.times) < 15

    @pytest.mark.parametrize("status", [202, 404, 503])
    async def test_retry_after_is_kept_within_the_patience(self, status: int) -> None:
        for seconds, times in ((20.0, [0, 20, 40, 60]), (300.0, [0, 60])):
            files = until(math.inf, status, retry_after=seconds)
            retry = RetryPolicy(attempts=2, jitter=0)
            with pytest.raises(TransportError, match=f"answered {status}"):
                await fetch(files, StemLinks(task_with(**YOUNG), poll_young), retry)
            # The poll for a fresh link comes in between, and no other request.
            assert files.times == pytest.approx(times)

    async def test_short_delays_do_not_flood_a_host_that_is_away(self) -> None:
        files = until(math.inf, 503)
        quick = RetryPolicy(attempts=3, initial=0.001, maximum=0.001)
        with pytest.raises(TransportError, match="answered 503"):
            await fetch(files, StemLinks(task_with(), never_poll), quick)
        assert len(files.times) <= 3 + FILE_HOST_PATIENCE / FILE_HOST_GAP + 1

    async def test_a_permanent_error_is_not_waited_for(self) -> None:
        refused = TransportError("the address is not public", action=ErrorAction.RAISE)
        files = _Files(lambda _now: refused)
        with pytest.raises(TransportError, match="not public"):
            await fetch(files, StemLinks(task_with(), never_poll))
        assert files.times == [0]

    async def test_a_file_that_arrives_immediately_is_requested_once(self) -> None:
        files, began = until(0, 503), anyio.current_time()
        assert await fetch(files, StemLinks(task_with(**YOUNG), never_poll)) == AUDIO
        assert (files.times, anyio.current_time()) == ([0], began)

    async def test_a_young_link_that_is_refused_is_polled_for_once(self) -> None:
        polls: list[float] = []

        async def poll() -> SeparationTask:
            polls.append(anyio.current_time())
            return task_with(f"{LINK}?other", **YOUNG)

        files = until(15.0, 404)
        assert await fetch(files, StemLinks(task_with(**YOUNG), poll)) == AUDIO
        assert len(polls) == 1
        assert files.links == [LINK, *[f"{LINK}?other"] * (len(files.links) - 1)]

    async def test_a_failed_poll_does_not_end_the_wait_for_a_young_file(self) -> None:
        async def poll() -> SeparationTask:
            raise VocalSepError("no")

        assert await fetch(until(15.0, 404), StemLinks(task_with(**YOUNG), poll)) == AUDIO

    @pytest.mark.parametrize(
        "link, fields",
        [
            pytest.param(LINK, {}, id="nothing is known"),
            pytest.param(LINK, {"completed_at": NOW - 20 * A_MINUTE}, id="ended long ago"),
            pytest.param(LINK, {"created_at": NOW - 20 * A_MINUTE}, id="created long ago"),
            pytest.param(f"{LINK}?Expires=1000", YOUNG, id="expired"),
            pytest.param(f"{LINK}?expires=1000.5", YOUNG, id="expired, in other spelling"),
        ],
    )
    async def test_a_link_that_may_be_past_its_time_is_given_up_immediately(
        self, link: str, fields: dict[str, Any]
    ) -> None:
        async def poll() -> SeparationTask:
            return task_with(link, **fields)

        files, began = until(5.0, 404), anyio.current_time()
        with pytest.raises(TransportError, match="the link has expired"):
            await fetch(files, StemLinks(task_with(link, **fields), poll))
        assert anyio.current_time() == began


# A link that is down in the middle of a file


STEP = 1 << 16
LONG = AUDIO * 4


class _Link:
    """A file that arrives at a step a second over a link that is down for a while."""

    def __init__(self, began: float, ended: float, *, resumes: bool = True) -> None:
        self.ranges: list[int] = []
        self._began, self._ended = began, ended
        self._resumes = resumes
        self._position = 0
        self._start = anyio.current_time()
        self.status, self.start, self.encoding, self.content_type = 200, 0, None, "audio/mpeg"
        self.is_delimited, self.size, self.retry_after = True, len(LONG), None
        self.validator = '"one"' if resumes else None

    def _check(self) -> None:
        if self._began <= anyio.current_time() - self._start < self._ended:
            raise TransportError("the link is down")

    @asynccontextmanager
    async def get(self, _link: str, headers: Mapping[str, str]) -> AsyncIterator[_Link]:
        self._check()
        self._position = int(headers.get("Range", "bytes=0-")[6:-1])
        self.status, self.start = 206 if self._position else 200, self._position
        self.ranges.append(self._position)
        yield self

    async def read(self) -> bytes:
        await anyio.sleep(1.0)
        self._check()
        data = LONG[self._position : self._position + STEP]
        self._position += len(data)
        return data


async def received_over(link: _Link, patience: Patience) -> bytes:
    links = StemLinks(task_with(), never_poll)
    remote = RemoteFile(
        "vocal", links, cast("FileTransport", link), EVEN, 1 << 30, patience=patience
    )
    received = bytearray()
    async with remote:
        await remote.open()
        while (chunk := await remote.next()) is not None:
            del received[chunk.offset :]
            received += chunk.data
    return bytes(received)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", [VIRTUAL_TIME])
class TestOutages:
    @pytest.mark.parametrize(
        "seconds, patience",
        [
            (50.0, Patience()),
            (120.0, Patience(seconds=180.0)),
            (120.0, Patience(until=200.0)),
            (86_400.0, Patience(seconds=math.inf)),
        ],
    )
    async def test_a_link_that_is_down_for_less_than_the_patience_costs_nothing_but_time(
        self, seconds: float, patience: Patience
    ) -> None:
        patience = evolve(patience, until=patience.until + anyio.current_time())
        link = _Link(5.0, 5.0 + seconds)
        assert await received_over(link, patience) == LONG
        assert link.ranges == [0, 4 * STEP]

    @pytest.mark.parametrize(
        "patience, seconds",
        [
            (Patience(), FILE_HOST_PATIENCE),
            (Patience(seconds=100.0), 100.0),
            (Patience(seconds=100.0, until=500.0), 100.0),
            (Patience(until=300.0), 295.0),
            (Patience(until=10.0), FILE_HOST_PATIENCE),
        ],
    )
    async def test_a_link_that_is_down_for_longer_is_given_up_when_the_patience_ends(
        self, patience: Patience, seconds: float
    ) -> None:
        began = anyio.current_time()
        patience = evolve(patience, until=patience.until + began)
        with pytest.raises(TransportError, match="the link is down"):
            await received_over(_Link(5.0, math.inf), patience)
        assert anyio.current_time() - began == pytest.approx(5.0 + seconds)

    async def test_a_file_that_cannot_be_resumed_is_given_up_by_the_number_of_its_starts(
        self,
    ) -> None:
        class Flapping(_Link):
            def _check(self) -> None:
                if self._position >= 3 * STEP:
                    self._position = 0
                    raise TransportError("the link is down")

        link = Flapping(0.0, 0.0, resumes=False)
        with pytest.raises(TransportError, match="the link is down"):
            await received_over(link, Patience(seconds=math.inf))
        assert link.ranges == [0] * EVEN.attempts

    async def test_progress_renews_the_patience(self) -> None:
        class Flapping(_Link):
            def _check(self) -> None:
                # Down for half a minute after every four seconds, over and over.
                if 4.0 <= (anyio.current_time() - self._start) % 40.0 < 34.0:
                    raise TransportError("the link is down")

        began = anyio.current_time()
        assert await received_over(Flapping(0.0, 0.0), Patience()) == LONG
        assert anyio.current_time() - began > FILE_HOST_PATIENCE


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", [VIRTUAL_TIME])
class TestResting:
    async def test_a_slot_is_given_back_while_its_file_rests(self) -> None:
        limiter, rests = anyio.CapacityLimiter(1), Rests()
        async with TransferSlot(limiter, rests.rest) as slot:
            assert limiter.borrowed_tokens == 1
            async with anyio.create_task_group() as group:
                group.start_soon(slot.rest, 10.0)
                await anyio.sleep(5.0)
                assert limiter.borrowed_tokens == 0
            assert limiter.borrowed_tokens == 1
        assert limiter.borrowed_tokens == 0

    async def test_a_slot_that_is_not_held_is_not_given_back_twice(self) -> None:
        limiter, rests = anyio.CapacityLimiter(1), Rests()
        with anyio.move_on_after(5.0):
            async with TransferSlot(limiter, rests.rest) as slot:
                await slot.rest(10.0)
        assert limiter.borrowed_tokens == 0

    async def test_closing_ends_all_rests_now_and_from_now_on(self) -> None:
        rests, began = Rests(), anyio.current_time()
        ended: list[float] = []

        async def rest() -> None:
            with pytest.raises(ClientClosedError, match="was closed while a file was fetched"):
                await rests.rest(3600.0)
            ended.append(anyio.current_time() - began)

        async with anyio.create_task_group() as group:
            group.start_soon(rest)
            group.start_soon(rest)
            await anyio.sleep(7.0)
            rests.close()
            rests.close()
        await rest()
        assert ended == [7.0] * 3


@pytest.mark.parametrize(
    "link, fields, is_young",
    [
        (LINK, {}, False),
        (LINK, YOUNG, True),
        (LINK, {"completed_at": NOW + A_MINUTE}, True),
        (LINK, {"created_at": NOW - A_MINUTE}, True),
        (LINK, {"created_at": NOW - A_MINUTE, "completed_at": NOW - 20 * A_MINUTE}, False),
        (f"{LINK}?Expires={(NOW + 60 * A_MINUTE).timestamp():.0f}", {}, True),
        (f"{LINK}?Expires={(NOW - A_MINUTE).timestamp():.0f}", YOUNG, False),
        (f"{LINK}?expires={(NOW + 60 * A_MINUTE).timestamp():.3f}", {}, True),
        (f"{LINK}?expires=nan", YOUNG, True),
        (f"{LINK}?Expires=soon", {}, False),
    ],
    # The values hold the time, and processes that share the tests must agree on their names.
    ids=range(10),
)
def test_a_link_is_young_by_its_own_query_or_else_by_its_task(
    link: str, fields: dict[str, Any], *, is_young: bool
) -> None:
    assert StemLinks(task_with(link, **fields), never_poll).is_young("vocal") is is_young


@given(
    st.integers(1, 6),
    st.lists(st.tuples(st.floats(0, 40), st.none() | st.floats(0, 300)), min_size=1),
    st.floats(0, 1, exclude_max=True),
)
def test_patience_is_never_short_and_never_endless(
    attempts: int, tries: list[tuple[float, float | None]], draw: float
) -> None:
    absence, now = Absence(RetryPolicy(attempts=attempts), Patience()), 0.0
    ends = now + tries[0][0] + FILE_HOST_PATIENCE
    for failures, (duration, retry_after) in enumerate(islice(cycle(tries), 200), 1):
        now += duration
        try:
            delay = absence.delay(NoFileYetError("away", retry_after), now, lambda: draw)
        except NoFileYetError:
            assert failures >= attempts
            assert now >= ends - 0.01
            return
        assert delay >= 0
        assert now + delay <= ends + 0.01 or failures < attempts
        now += delay
    raise AssertionError("never given up")


@pytest.mark.anyio
@pytest.mark.parametrize(
    "lines, seconds",
    [
        ((), None),
        (("Retry-After: 7",), 7.0),
        (("Retry-After: 0",), 0.0),
        (("Retry-After: 86400",), 300.0),
        (("Retry-After: soon",), None),
        (
            (
                "Date: Wed, 01 Jul 2026 00:00:00 GMT",
                "Retry-After: Wed, 01 Jul 2026 00:00:09 GMT",
            ),
            9.0,
        ),
    ],
)
async def test_a_reply_states_how_long_its_host_asks_to_wait(
    lines: tuple[str, ...], seconds: float | None
) -> None:
    with Host(Answer(b"busy", status=503, headers=lines)) as host:
        files = files_of(host)
        async with files.get(host.link("vocal"), {}) as reply:
            assert reply.retry_after == seconds
        await files.aclose()

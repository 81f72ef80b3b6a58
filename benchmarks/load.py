"""A big batch with faults to its end, and a batch through an hour of outage, in virtual time.

    python benchmarks/load.py [--ids 100000] [--few 1000] [--feed 100] [--tasks 1000]
                              [--throttled 0.013] [--limit 10000]

No server or network is used, see `batch_cost`. 2 % of the answers are 5xx, and 1 % of the
connections are cut. One more run has a provider that also throttles a share of all polls, whatever
their rate is, at so many requests in 10 s. Shown are what must be 0 (lost ids, second outcomes,
polls after the end), the CPU of each poll with few ids and with many, the share of the rate limit
that the throttled run used from its beginning to its end, and the memory while the second half
ends. The harness keeps some bytes for each id, made before, and no outcome.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import random
import sys
import time
from collections.abc import AsyncIterator, Coroutine, Iterable
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

from attrs import Factory, define

sys.path.insert(0, str(Path(__file__).parent))

from batch_cost import VirtualTimeLoop

from vocalsep_async import (
    Backoff,
    RateLimit,
    TaskOutcome,
    TaskStatus,
    TaskTimeoutError,
    TransportError,
    VocalSepClient,
)
from vocalsep_async._transport.api import Reply, Request

T = TypeVar("T")

ROUND_TRIP = 0.1
SHARE_OF_5XX, SHARE_OF_CUTS, SHARE_OF_FAILED = 0.02, 0.01, 0.05
SHORTEST, LONGEST = 10, 60
AMPLE = RateLimit(1_000_000, 10.0)
CONCURRENCY = 1_000
"""Polls under way: as many as an ample limit needs."""
GAP = Backoff(initial=15.0, maximum=60.0)
OUTAGE = 3600.0
CREATED_MS = 1_753_782_854_000
THROTTLED = Reply(200, {}, b'{"code": 430, "msg": "Your call frequency is too high", "data": null}')
_REFUSED = "no connection (Connection refused)"


def in_virtual_time(call: Coroutine[Any, Any, T]) -> T:
    """What *call* returns, run in a loop with virtual time."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(call)


def now() -> float:
    """Seconds on the clock of the loop."""
    return asyncio.get_running_loop().time()


# A provider


@define
class Provider:
    """Stands in for the transport; its tasks are the numbers below *count*.

    Args:
        count: the number of its tasks.
        longest: seconds that the longest task takes.
        has_faults: whether some answers are 5xx and some connections cut.
        throttling: the share of the other answers that throttle, whatever the rate is.
        outage: the moments from which on it is away, and back.
        is_refusing: whether connections are refused meanwhile; otherwise a gateway answers.

    Attributes:
        polls: the number of requests.
        throttled: those that it throttled.
        late_polls: those of a task whose final record had been received.
        polls_in_outage: those while it was away.
    """

    count: int
    longest: float = LONGEST
    has_faults: bool = True
    throttling: float = 0.0
    outage: tuple[float, float] = (0.0, 0.0)
    is_refusing: bool = True
    polls: int = 0
    throttled: int = 0
    late_polls: int = 0
    polls_in_outage: int = 0
    host: str = "provider.example"
    loop: None = None
    needs_closing: bool = False
    _received: bytearray = Factory(lambda self: bytearray(self.count), takes_self=True)
    _chance: random.Random = Factory(lambda: random.Random(7))
    _began: float = Factory(now)
    _created: dict[int, float] = Factory(dict)

    def bind(self) -> None:
        """Accept any event loop."""

    def abandon(self) -> None:
        """Hold nothing of an event loop."""

    async def aclose(self) -> None:
        """Close nothing."""

    async def exchange(self, request: Request) -> Reply:
        """Answer a poll, or fail."""
        number = int(request.query["taskId"])
        self.polls += 1
        self.late_polls += self._received[number]
        await asyncio.sleep(ROUND_TRIP)
        if self.is_away:
            return self._missing()
        fate = self._chance.random() if self.has_faults else 1.0
        if fate < SHARE_OF_5XX:
            return Reply(500 + self.polls % 5, {}, b"<html>broken</html>")
        if fate < SHARE_OF_5XX + SHARE_OF_CUTS:
            raise TransportError("the connection broke")
        if self._chance.random() < self.throttling:
            self.throttled += 1
            return THROTTLED
        return self._record(number)

    @property
    def is_away(self) -> bool:
        """Whether the outage lasts."""
        return self.outage[0] <= now() - self._began < self.outage[1]

    def _missing(self) -> Reply:
        self.polls_in_outage += 1
        if self.is_refusing:
            raise TransportError(_REFUSED, may_have_arrived=False)
        return Reply(503, {}, b"<html>Service Unavailable</html>")

    def begin(self, number: int) -> None:
        """Begin a task later than at the beginning."""
        self._created[number] = now()

    def duration(self, number: int) -> float:
        """Seconds that a task takes."""
        return SHORTEST + number * 7919 % self.count / self.count * (self.longest - SHORTEST)

    def ended_by(self, number: int, moment: float) -> bool:
        """Whether a task of the beginning had ended *moment* seconds later."""
        return self.duration(number) <= moment

    def status(self, number: int) -> TaskStatus:
        """How a task ends."""
        is_failed = number % round(1 / SHARE_OF_FAILED) == 0
        return TaskStatus.GENERATE_AUDIO_FAILED if is_failed else TaskStatus.SUCCESS

    def _record(self, number: int) -> Reply:
        took = self.duration(number)
        has_ended = now() - self._created.get(number, self._began) >= took
        if has_ended:
            self._received[number] = 1
            self._created.pop(number, None)
        record = {
            "taskId": str(number),
            "successFlag": self.status(number) if has_ended else "PENDING",
            "createTime": CREATED_MS,
            "completeTime": CREATED_MS + int(took * 1000) if has_ended else None,
            "response": {"vocalUrl": "https://cdn.example/v.mp3"} if has_ended else None,
        }
        return Reply(200, {}, json.dumps({"code": 200, "msg": "success", "data": record}).encode())


def client_of(provider: Provider, limit: RateLimit) -> VocalSepClient:
    """A client that talks to *provider*."""
    with patch("vocalsep_async._engine.Transport", lambda *_, **__: provider):
        return VocalSepClient("a-key", rate_limit=limit)


# A big batch to its end


@define
class Load:
    """What became of a big batch.

    Attributes:
        ids: its tasks.
        limit: of the account.
        polls: requests.
        throttled: those that were throttled.
        late_polls: polls of a task whose final record had been received.
        lost: tasks without an outcome.
        repeated: second outcomes.
        wrong: outcomes that differ from how the task ended.
        elapsed: seconds until the last outcome.
        cpu: seconds of processor time, the harness included.
        blocks: blocks of memory in use when so many tenths of the outcomes had come.
        resident: bytes of the resident set at the same moments.
    """

    ids: int
    limit: RateLimit
    polls: int = 0
    throttled: int = 0
    late_polls: int = 0
    lost: int = 0
    repeated: int = 0
    wrong: int = 0
    elapsed: float = 0.0
    cpu: float = 0.0
    blocks: dict[int, int] = Factory(dict)
    resident: dict[int, int] = Factory(dict)

    @property
    def cpu_of_poll(self) -> float:
        """Microseconds of processor time for each poll."""
        return 1e6 * self.cpu / self.polls

    @property
    def used(self) -> float:
        """Share of the requests that the rate limit allows which were sent."""
        return self.polls / (self.limit.max_requests * self.elapsed / self.limit.period)

    def sample(self, outcomes: int) -> None:
        """Measure the memory, if another tenth of the outcomes has come."""
        tenth, rest = divmod(outcomes * 10, self.ids)
        if rest == 0 and tenth >= 5:
            gc.collect()
            self.blocks[tenth] = sys.getallocatedblocks()
            self.resident[tenth] = _resident()


async def load(
    count: int,
    *,
    feed: float = 0.0,
    throttling: float = 0.0,
    limit: RateLimit = AMPLE,
) -> Load:
    """Track *count* tasks to their ends.

    Args:
        count: the number of tasks.
        feed: tasks that begin each second, and are given to the batch then; 0 for all
            simultaneously.
        throttling: the share of the answers that throttle, whatever the rate is.
        limit: of the account.
    """
    found, provider = Load(count, limit), Provider(count, throttling=throttling)
    started = now()
    ids = [str(number) for number in range(count)]
    seen = bytearray(count)
    outcomes = 0
    began = time.process_time()
    tasks: Iterable[str] | AsyncIterator[str] = _fed(provider, ids, feed) if feed else ids
    async with (
        client_of(provider, limit) as client,
        client.track(tasks, max_concurrency=CONCURRENCY, poll=GAP) as batch,
    ):
        async for outcome in batch:
            _note(found, provider, outcome, seen)
            outcomes += 1
            found.sample(outcomes)
    found.cpu, found.elapsed = time.process_time() - began, now() - started
    found.polls, found.throttled = provider.polls, provider.throttled
    found.late_polls = provider.late_polls
    found.lost = seen.count(0)
    return found


async def _fed(provider: Provider, ids: list[str], rate: float) -> AsyncIterator[str]:
    each_turn = max(1, round(rate / 10))
    for number, task_id in enumerate(ids):
        provider.begin(number)
        yield task_id
        if number % each_turn == 0:
            await asyncio.sleep(each_turn / rate)


def _note(found: Load, provider: Provider, outcome: TaskOutcome, seen: bytearray) -> None:
    number = int(outcome.task_id)
    found.repeated += seen[number]
    seen[number] = 1
    found.wrong += outcome.task is None or outcome.status is not provider.status(number)


def _resident() -> int:
    """Bytes of the resident set; 0 where the system has no such file."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text(encoding="ascii").split()[1]) * 4096 if statm.exists() else 0


# An outage


@define
class Outage:
    """What became of a batch through an outage.

    Attributes:
        tasks: how many.
        ended: those that ended while the provider was away.
        timed_out: outcomes that are timeouts.
        wrong: outcomes that are neither the end of the task nor a timeout at the deadline whose
            cause is the outage.
        polls_in_outage: requests meanwhile.
        late_polls: polls of a task whose final record had been received.
        known_after: seconds from the return until all that ended meanwhile are known.
        elapsed: seconds until the last outcome.
    """

    tasks: int
    ended: int = 0
    timed_out: int = 0
    wrong: int = 0
    polls_in_outage: int = 0
    late_polls: int = 0
    known_after: float = 0.0
    elapsed: float = 0.0


async def outage(
    count: int,
    *,
    timeout: float | None,  # noqa: ASYNC109 - the batch's
    is_refusing: bool,
    limit: RateLimit = RateLimit(),  # noqa: B008 - a frozen value
) -> Outage:
    """Track *count* tasks while the provider is away for an hour, after 200 s.

    Args:
        count: the number of tasks, which begin simultaneously and end within 2400 s.
        timeout: of the batch.
        is_refusing: whether connections are refused; otherwise a gateway answers 503.
        limit: of the account.
    """
    away, back = 200.0, 200.0 + OUTAGE
    found = Outage(count)
    provider = Provider(
        count, longest=2400.0, has_faults=False, outage=(away, back), is_refusing=is_refusing
    )
    began = now()
    outcomes: dict[str, TaskOutcome] = {}
    async with (
        client_of(provider, limit) as client,
        client.track([str(each) for each in range(count)], timeout=timeout) as batch,
    ):
        async for outcome in batch:
            found.wrong += outcome.task_id in outcomes
            outcomes[outcome.task_id] = outcome
            found.elapsed = now() - began
    for number in range(count):
        outcome = outcomes[str(number)]
        has_ended = outcome.task is not None and outcome.status is provider.status(number)
        found.ended += away < provider.duration(number) <= back
        found.timed_out += isinstance(outcome.error, TaskTimeoutError)
        found.wrong += not has_ended and not _is_due(outcome, timeout)
    found.known_after = max(0.0, found.elapsed - back)
    found.polls_in_outage, found.late_polls = provider.polls_in_outage, provider.late_polls
    return found


def _is_due(outcome: TaskOutcome, timeout: float | None) -> bool:
    """Whether an outcome is a timeout at its deadline, caused by the outage."""
    error = outcome.error
    if timeout is None or not isinstance(error, TaskTimeoutError):
        return False
    is_caused = error.last_error is not None or not outcome.polls
    return is_caused and abs(outcome.elapsed - timeout) < 1.0


def main() -> None:
    """Run the loads and print the results."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--ids", type=int, default=100_000)
    options.add_argument("--few", type=int, default=1_000)
    options.add_argument("--feed", type=float, default=100.0)
    options.add_argument("--tasks", type=int, default=1_000)
    options.add_argument("--throttled", type=float, default=0.013, metavar="SHARE")
    options.add_argument("--limit", type=int, default=10_000, metavar="REQUESTS")
    chosen = options.parse_args()
    # The warnings of failed polls would fill the screen.
    logging.getLogger("vocalsep_async").addHandler(logging.NullHandler())
    for count, feed in ((chosen.few, 0.0), (chosen.ids, 0.0), (chosen.ids, chosen.feed)):
        _print_load(in_virtual_time(load(count, feed=feed)), feed)
    limit = RateLimit(chosen.limit, 10.0)
    _print_load(
        in_virtual_time(load(chosen.ids, throttling=chosen.throttled, limit=limit)), feed=0.0
    )
    for timeout in (None, 3 * OUTAGE, OUTAGE / 2):
        for is_refusing in (True, False):
            _print_outage(
                in_virtual_time(outage(chosen.tasks, timeout=timeout, is_refusing=is_refusing)),
                f"timeout {timeout}, {'refused' if is_refusing else '503'}",
            )


def _print_load(found: Load, feed: float) -> None:
    print(
        f"load     {found.ids:,} ids, {f'{feed:g} a second' if feed else 'all at once'}: "
        f"{found.polls:,} polls, {found.late_polls} late, {found.lost} lost, "
        f"{found.repeated} repeated, {found.wrong} wrong, "
        f"{found.cpu_of_poll:.0f} us of CPU for each poll"
    )
    if found.throttled:
        print(
            f"         {found.throttled:,} throttled, {found.used:.0%} of the rate limit used "
            f"in {found.elapsed:.0f} s"
        )
    for tenth, blocks in found.blocks.items():
        size = found.resident[tenth] / 1e6
        print(f"         {10 * tenth} %: {blocks:,} blocks in use, {size:.1f} MB resident")
    sys.stdout.flush()


def _print_outage(found: Outage, how: str) -> None:
    print(
        f"outage   {found.tasks:,} tasks, {how}: {found.wrong} wrong, {found.timed_out} timed out, "
        f"{found.polls_in_outage:,} polls in the outage, {found.late_polls} late; all "
        f"{found.ended:,} that ended meanwhile known {found.known_after:.0f} s after the return",
        flush=True,
    )


if __name__ == "__main__":
    main()

"""The script on a real store whose clock the test sets, and processes that call it."""

from __future__ import annotations

import math
from typing import cast

import redis
from stores import StoreServer

from vocalsep_async import Bid, RateLimit, SlotResult
from vocalsep_async.contrib._redis.protocol import SCRIPT, Call, Reply, Report, decoded
from vocalsep_async.contrib._redis.reports import Reports

TIME = "redis.call('TIME')"
assert SCRIPT.count(TIME) == 1
CONTROLLED = SCRIPT.replace(TIME, "redis.call('HMGET', 'clock', 'seconds', 'micros')")
KEYS = ("{vocalsep:a}", "{vocalsep:a}:window", "{vocalsep:a}:processes", "{vocalsep:a}:durations-1")
LIMIT = RateLimit(20, 10.0)
MUST = Bid(must=True)


def set_clock(client: redis.Redis, moment: float) -> None:
    """Set the clock that the script reads, in seconds since 1970."""
    micros = round(moment * 1_000_000)
    client.hset("clock", "seconds", str(micros // 1_000_000))
    client.hset("clock", "micros", str(micros % 1_000_000))


class Account:
    """The budget of an account in *store*, whose clock is `now`."""

    def __init__(self, store: StoreServer) -> None:
        self.client = redis.Redis.from_url(store.url, decode_responses=True)
        self._script = self.client.register_script(CONTROLLED)
        self.now = 1_700_000_000.0
        self.calls = 0

    def run(self, call: Call) -> Reply | None:
        self.calls += 1
        set_clock(self.client, self.now)
        return decoded(self._script(keys=KEYS, args=call.arguments(self.now)))

    def forget(self) -> None:
        """Begin anew, as after a restart."""
        self.client.delete(*KEYS)

    def window(self) -> dict[str, float]:
        """The slots in use, and how long from now."""
        found = self.client.zrange(KEYS[1], 0, -1, withscores=True)
        scores = cast("list[tuple[str, float]]", found)
        return {slot: score / 1e6 - self.now for slot, score in scores if score / 1e6 > self.now}


class Process:
    """What one process knows; its calls and their replies may get lost."""

    def __init__(self, account: Account, name: str, limit: RateLimit = LIMIT) -> None:
        self.account = account
        self.limit = limit
        self.reports = Reports(name)
        self.number = 0
        self.epoch = self.grants = 0
        self.sent_without = False
        self.last: Call | None = None

    def call(
        self, slot: str | None = None, bid: Bid | None = None, *, queued: int | None = 0
    ) -> Call:
        self.number += 1
        self.last = Call(
            process=self.reports.process,
            number=self.number,
            limit=self.limit,
            epoch=self.epoch,
            grants=self.grants,
            sent_without=self.sent_without,
            queued=queued,
            slot=slot,
            bid=bid,
            held=sorted(self.reports.held),
            reports=self.reports.next_batch(),
            batch=self.reports.batch,
        )
        return self.last

    def on_reply(self, reply: Reply | None) -> Reply:
        assert reply is not None
        self.epoch, self.grants, self.sent_without = reply.epoch, reply.grants, False
        self.reports.on_reply()
        assert self.last is not None
        if reply.is_granted and self.last.slot is not None:
            self.reports.held.add(self.last.slot)
        return reply

    def beat(self) -> Reply:
        return self.on_reply(self.account.run(self.call()))

    def ask(self, bid: Bid = MUST, slot: str | None = None) -> tuple[str, Reply]:
        slot = slot or self.reports.new_slot()
        call = self.call(slot, bid, queued=bid.queued)
        return slot, self.on_reply(self.account.run(call))

    def end(self, slot: str, result: SlotResult, retry_after: float | None = None) -> None:
        self.reports.end(Report(slot, result, self.account.now, retry_after))


def worst(spans: list[tuple[float, float]], period: float) -> int:
    """Most requests in a window, if each is counted where it hurts between start and end."""
    ends = [end for _, end in spans if end < math.inf] + [start for start, _ in spans]
    return max(
        (sum(first <= end and last > end - period for first, last in spans) for end in ends),
        default=0,
    )

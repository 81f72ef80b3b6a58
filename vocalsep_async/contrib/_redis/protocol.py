"""Calls of the script ``limiter.lua`` and its replies: lists of integers and of names."""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from importlib.resources import files

from attrs import frozen

from vocalsep_async.limiter import Bid, SlotResult
from vocalsep_async.policies import RateLimit

SCRIPT = files(__package__).joinpath("limiter.lua").read_text(encoding="utf-8")

_MICRO = 1_000_000
_LONGEST = 1 << 52
"""Microseconds; the store's numbers are exact up to twice as many."""
_LETTERS = {
    SlotResult.ANSWERED: "A",
    SlotResult.THROTTLED: "T",
    SlotResult.MAINTENANCE: "M",
    SlotResult.FAILED: "F",
    SlotResult.LOST: "L",
    SlotResult.NOT_SENT: "N",
    SlotResult.UNUSED: "U",
}
_REASONS = ("", "throttled", "maintenance", "outage")


class Code(enum.IntEnum):
    """What came of a call."""

    COME_BACK = 0
    GRANTED = 1
    GRANTED_BEFORE = 2
    """The question was asked before, and its answer may have got lost."""
    PAUSED = 3
    ON_HOLD = 4
    """No process gets a slot, because the store has lost grants."""
    STALE = 5
    """A later call of this process came first."""
    NOT_ASKED = 6


@frozen
class Report:
    """How the request of a slot ended.

    Attributes:
        slot: its id.
        result: how it ended.
        ended: when, on the clock of the event loop.
        retry_after: seconds that the API asked for; None if it did not.
    """

    slot: str
    result: SlotResult
    ended: float
    retry_after: float | None = None


@frozen(kw_only=True)
class Call:
    """One call of the script.

    Attributes:
        process: name of this process.
        number: of the call; each has a greater one than those before.
        limit: as this process was told.
        epoch: of the store's state, as far as this process knows; 0 if it does not.
        grants: that this process knows of.
        sent_without: whether requests were sent without the store since the last reply.
        queued: requests that wait; None to leave.
        slot: id of the slot that is asked for; None for no question.
        bid: what it is worth; None for no question.
        held: ids of the slots whose requests are under way.
        batch: number of the *reports*.
        reports: how requests have ended.
    """

    process: str
    number: int
    limit: RateLimit
    epoch: int = 0
    grants: int = 0
    sent_without: bool = False
    queued: int | None = 0
    slot: str | None = None
    bid: Bid | None = None
    held: Sequence[str] = ()
    batch: int = 0
    reports: Sequence[Report] = ()

    def arguments(self, now: float) -> list[str | int]:
        """What the script gets; times become durations until *now*."""
        bid = self.bid or Bid()
        return [
            *(self.process, self.number, self.limit.max_requests, _micro(self.limit.period)),
            *(self.epoch, self.grants, int(self.sent_without)),
            -1 if self.queued is None else self.queued,
            self.slot or "",
            int(bid.must),
            _micro(bid.worth),
            self.batch,
            len(self.held),
            *self.held,
            *(each for report in self.reports for each in _fields(report, now)),
        ]


def _fields(report: Report, now: float) -> tuple[str, str, int, int]:
    # An age that is too small only holds the slot for longer.
    age = math.floor(max(0.0, now - report.ended) * _MICRO)
    retry_after = -1 if report.retry_after is None else _micro(report.retry_after)
    return report.slot, _LETTERS[report.result], age, retry_after


def _micro(seconds: float) -> int:
    return min(_LONGEST, math.ceil(max(0.0, seconds) * _MICRO)) if seconds < _LONGEST else _LONGEST


@frozen(kw_only=True)
class Reply:
    """What the script returned.

    Attributes:
        code: what came of the call.
        wait: seconds until the question is to be asked again.
        epoch: of the store's state.
        grants: slots granted so far, to all processes.
        price: what a slot costs now, in seconds of expected delay.
        allowed: requests per period that the account is found to allow.
        processes: processes with an open client.
        queued: their requests that wait.
        pause: seconds until the end of a pause, 0 while its probe is awaited; None without one.
        reason: of the pause; empty without one.
        limit: the strictest that the processes were told.
        free: seconds until a slot may be free for any bid.
        learned: version of what the store holds about durations; 0 for nothing.
    """

    code: Code
    wait: float
    epoch: int
    grants: int
    price: float
    allowed: float
    processes: int
    queued: int
    pause: float | None
    reason: str
    limit: RateLimit
    free: float
    learned: int = 0

    @property
    def is_granted(self) -> bool:
        """Whether the slot that was asked for is this process's."""
        return self.code in (Code.GRANTED, Code.GRANTED_BEFORE)


def decoded(raw: Sequence[int]) -> Reply | None:
    """The reply that *raw* is; None if a later call of this process came first."""
    code, wait, epoch, grants, price, allowed, processes, queued, *rest = map(int, raw)
    pause, reason, most, period, free, learned = rest
    if code == Code.STALE:
        return None
    return Reply(
        code=Code(code),
        wait=wait / _MICRO,
        epoch=epoch,
        grants=grants,
        price=price / _MICRO,
        allowed=allowed / 1000,
        processes=processes,
        queued=queued,
        pause=None if pause < 0 else pause / _MICRO,
        reason=_REASONS[reason],
        limit=RateLimit(most, period / _MICRO),
        free=free / _MICRO,
        learned=learned,
    )

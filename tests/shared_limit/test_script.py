"""The script that shares a budget, on a real store and on a clock that the test sets."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_histories import KEYS, LIMIT, MUST, Account, Process, worst
from stores import StoreServer

from vocalsep_async import Bid, RateLimit, SlotResult
from vocalsep_async._limiting import Grant, RateLimitState
from vocalsep_async.contrib._redis.protocol import SCRIPT, Code


@pytest.fixture
def account(store: StoreServer) -> Account:
    return Account(store)


def grants(
    account: Account, processes: list[Process], seconds: float, bid: Bid = MUST
) -> list[tuple[float, Process]]:
    """Have the processes ask whenever they were told to; the moments and who got the slots."""
    ask_at = dict.fromkeys(processes, account.now)
    until = account.now + seconds
    granted: list[tuple[float, Process]] = []
    while (moment := min(ask_at.values())) < until:
        process = min(ask_at, key=lambda each: ask_at[each])
        account.now = max(account.now, moment)
        slot, reply = process.ask(bid)
        if reply.is_granted:
            granted.append((account.now, process))
            process.end(slot, SlotResult.ANSWERED)
            ask_at[process] = account.now + reply.free
        else:
            assert reply.wait > 0
            ask_at[process] = account.now + reply.wait
    return granted


# The window


def test_a_burst_then_even_gaps_then_the_window(account: Account) -> None:
    process = Process(account, "p")
    moments = [moment for moment, _ in grants(account, [process], 30.0)]
    gaps = [later - earlier for earlier, later in itertools.pairwise(moments)]
    assert gaps[:3] == [0, 0, 0]
    assert gaps[3:10] == pytest.approx([0.5] * 7, abs=1e-4)
    assert worst([(each, each) for each in moments], 10.0) == 20
    assert 56 <= len(moments) <= 64


def test_thirty_simultaneous_questions_take_what_the_budget_has(account: Account) -> None:
    processes = [Process(account, f"p{number}", RateLimit(20, 0.002)) for number in range(30)]
    granted = sum(process.ask()[1].is_granted for process in processes)
    assert granted == 4
    processes = [Process(account, f"q{number}") for number in range(30)]
    account.forget()
    moments = []
    for _ in range(99):
        account.now += 0.1
        for process in processes:
            slot, reply = process.ask()
            if reply.is_granted:
                process.end(slot, SlotResult.ANSWERED)
                moments.append(account.now)
    # Within the first ten seconds, and never a 21st.
    assert len(moments) == 20


@pytest.mark.parametrize("after", [9.999, 10.0, 10.001, 10.0099])
def test_no_boundary_lets_a_21st_through(after: float, account: Account) -> None:
    process = Process(account, "p")
    first = account.now
    started = grants(account, [process], 9.99)
    assert len(started) == 20
    account.now = first + after
    assert process.ask()[1].code == Code.COME_BACK
    account.now = first + 10.0101
    assert process.ask()[1].is_granted
    account.now = first + 10.011
    # The first four started together.
    assert process.ask()[1].is_granted


def test_a_slot_is_free_a_period_after_the_answer_however_late_it_is_reported(
    account: Account,
) -> None:
    process = Process(account, "p", RateLimit(1, 10.0))
    slot, _ = process.ask()
    account.now += 3
    process.end(slot, SlotResult.ANSWERED)
    account.now += 4
    assert process.beat().free == pytest.approx(6.01)


def test_a_request_under_way_holds_its_slot_while_its_process_reports(account: Account) -> None:
    process, other = Process(account, "p", RateLimit(1, 10.0)), Process(account, "q")
    process.ask()
    for _ in range(40):
        account.now += 3
        process.beat()
        _, reply = other.ask()
        assert not reply.is_granted
        assert reply.wait <= 10.01


def test_the_slots_of_a_process_that_dies_come_free_by_themselves(account: Account) -> None:
    limit = RateLimit(1, 10.0)
    process, other = Process(account, "p", limit), Process(account, "q", limit)
    process.ask()
    account.now += 14.9
    assert not other.ask()[1].is_granted
    account.now += 0.2
    assert other.ask()[1].is_granted


def test_an_end_that_is_reported_after_the_lease_still_counts(account: Account) -> None:
    limit = RateLimit(1, 10.0)
    process, other = Process(account, "p", limit), Process(account, "q", limit)
    slot, _ = process.ask()
    account.now += 100
    process.end(slot, SlotResult.ANSWERED)
    process.beat()
    account.now += 9.9
    assert not other.ask()[1].is_granted
    account.now += 0.2
    assert other.ask()[1].is_granted


class History:
    """Processes that ask, answer, die and come back, whose calls get lost or come late."""

    def __init__(self, store: StoreServer, data: st.DataObject) -> None:
        self.account = Account(store)
        self.account.client.flushall()
        self._data = data
        self.limit = self._draw([RateLimit(5, 2.0), LIMIT, RateLimit(1, 1.0)])
        self._processes = [Process(self.account, f"p{number}", self.limit) for number in range(3)]
        self.spans: dict[str, tuple[float, float]] = {}

    def _draw(self, values: Sequence[object]) -> Any:
        return self._data.draw(st.sampled_from(values))

    def step(self) -> None:
        process = self._draw(self._processes)
        steps = [self.ask, self.ask, self.lose, self.end, self.end, self.wait, self.call, self.die]
        self._draw(steps)(process)
        if self._draw([True, False]):
            for each in self._processes:
                each.beat()

    def ask(self, process: Process, *, is_lost: bool = False) -> None:
        bid = self._draw([MUST, Bid(worth=1.0), Bid(worth=9.0, queued=9)])
        slot = process.reports.new_slot()
        call = process.call(slot, bid)
        reply = self.account.run(call)
        if is_lost:
            # Asked again with the same id; the first one may come once more, later.
            self.account.run(process.call(slot, bid))
            assert self.account.run(call) is None
            reply = self.account.run(process.call(slot, bid))
        if process.on_reply(reply).is_granted:
            self.spans[slot] = (self.account.now, math.inf)

    def lose(self, process: Process) -> None:
        self.ask(process, is_lost=True)

    def end(self, process: Process) -> None:
        if process.reports.held:
            slot = self._draw(sorted(process.reports.held))
            result = self._draw(list(SlotResult))
            process.end(slot, result)
            if result in (SlotResult.UNUSED, SlotResult.NOT_SENT):
                del self.spans[slot]
            else:
                self._end_span(slot)

    def _end_span(self, slot: str) -> None:
        self.spans[slot] = (self.spans[slot][0], self.account.now)

    def wait(self, _process: Process) -> None:
        self.account.now += self._draw([0.001, 0.1, 0.5, 1.0, 3.0])

    def call(self, process: Process) -> None:
        """Call without hearing the reply."""
        self.account.run(process.call())

    def die(self, process: Process) -> None:
        for slot in process.reports.held:
            self._end_span(slot)
        fresh = Process(self.account, f"{process.reports.process}x", self.limit)
        self._processes[self._processes.index(process)] = fresh


@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_history_puts_more_into_a_window_than_the_limit(
    data: st.DataObject, store: StoreServer
) -> None:
    history = History(store, data)
    for _ in range(data.draw(st.integers(10, 60), "steps")):
        history.step()
    assert worst(list(history.spans.values()), history.limit.period) <= history.limit.max_requests


COMPARED = sorted(set(SlotResult) - {SlotResult.FAILED, SlotResult.NOT_SENT}, key=str)
"""Without failures: an outage begins at the end of the first one here, at its start there."""


@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_one_process_may_send_whenever_a_rate_limiter_of_its_own_would_let_it(
    data: st.DataObject, store: StoreServer
) -> None:
    account = Account(store)
    account.client.flushall()
    limit = data.draw(st.sampled_from([RateLimit(5, 2.0), LIMIT]), "limit")
    process, alone = Process(account, "p", limit), RateLimitState(limit)
    under_way: dict[str, Grant] = {}
    throttled = 0
    for _ in range(data.draw(st.integers(10, 60), "steps")):
        match data.draw(st.sampled_from(["ask", "ask", "end", "pass"])):
            case "ask":
                # Not exactly when a slot comes free, which the store knows in microseconds.
                account.now += 37e-6
                wait = alone.wait(account.now)
                if 0 < wait < 1e-3:
                    account.now += 2e-3
                    wait = alone.wait(account.now)
                slot, reply = process.ask()
                assert reply.is_granted == (wait == 0)
                if reply.is_granted:
                    under_way[slot] = alone.start(account.now)
            case "end" if under_way:
                slot = data.draw(st.sampled_from(sorted(under_way)), "slot")
                result = data.draw(st.sampled_from(COMPARED), "result")
                # From the sixth on, the rate changes, and grows again in another manner.
                throttled += result is SlotResult.THROTTLED
                if throttled > 5 and result is SlotResult.THROTTLED:
                    result = SlotResult.ANSWERED
                process.end(slot, result)
                process.beat()
                record_end(alone, under_way.pop(slot), account.now, result)
            case _:
                account.now += data.draw(st.sampled_from([0.003, 0.1, 0.5, 1.1, 31.0]), "pass")
                process.beat()


def record_end(state: RateLimitState, grant: Grant, now: float, result: SlotResult) -> None:
    match result:
        case SlotResult.ANSWERED:
            state.on_answer(grant, now)
        case SlotResult.THROTTLED:
            state.on_throttled(grant, now)
        case SlotResult.MAINTENANCE:
            state.on_maintenance(grant, now)
        case SlotResult.LOST:
            state.on_lost(grant, now)
        case _:
            state.cancel(grant)


# Questions that are asked again


def test_a_question_that_is_asked_again_gets_the_same_slot(account: Account) -> None:
    process = Process(account, "p")
    slot = process.reports.new_slot()
    for number in range(100):
        reply = account.run(process.call(slot, MUST))
        assert reply is not None
        assert reply.code == (Code.GRANTED_BEFORE if number else Code.GRANTED)
    assert list(account.window()) == [slot]


def test_a_hundred_lost_answers_cost_a_hundred_slots_at_most_once(account: Account) -> None:
    process = Process(account, "p", RateLimit(1000, 10.0))
    lost = []
    for _ in range(100):
        slot = process.reports.new_slot()
        account.run(process.call(slot, MUST))
        process.end(slot, SlotResult.UNUSED)
        lost.append(slot)
        account.now += 0.05
    assert len(account.window()) <= 100
    process.beat()
    process.beat()
    assert account.window() == {}


def test_what_a_hung_store_runs_too_late_grants_nothing(account: Account) -> None:
    process = Process(account, "p")
    late = process.call(process.reports.new_slot(), MUST)
    assert late.slot is not None
    process.end(late.slot, SlotResult.UNUSED)
    process.beat()
    assert account.run(late) is None
    assert account.window() == {}


def test_a_batch_of_reports_counts_once_however_often_it_comes(account: Account) -> None:
    process = Process(account, "p")
    slots = [process.ask()[0] for _ in range(4)]
    process.end(slots[0], SlotResult.THROTTLED)
    first = account.run(process.call())
    assert first is not None
    assert first.pause == pytest.approx(1.0)
    account.now += 1.5
    probe = process.reports.new_slot()
    second = account.run(process.call(probe, MUST))
    assert second is not None
    # Once more, it would have ended the probe, and doubled the pause.
    third = account.run(process.call())
    assert third is not None
    assert third.pause == 0


# Pauses


def test_a_pause_of_one_process_holds_for_all_until_a_probe_is_answered(account: Account) -> None:
    first, second = Process(account, "p"), Process(account, "q")
    slot, _ = first.ask()
    first.end(slot, SlotResult.THROTTLED)
    first.beat()
    _, reply = second.ask()
    assert reply.code == Code.PAUSED
    assert reply.reason == "throttled"
    assert reply.wait == reply.pause == pytest.approx(1.0)
    account.now += 1.001
    probe, reply = second.ask()
    assert reply.is_granted
    assert first.ask()[1].code == Code.PAUSED
    second.end(probe, SlotResult.THROTTLED)
    assert second.beat().pause == pytest.approx(2.0)
    account.now += 2.001
    probe, _ = first.ask()
    first.end(probe, SlotResult.ANSWERED)
    assert first.beat().pause is None
    assert second.ask()[1].is_granted


def test_the_probe_of_a_process_that_died_does_not_hold_the_others_for_ever(
    account: Account,
) -> None:
    first, second = Process(account, "p"), Process(account, "q")
    slot, _ = first.ask()
    first.end(slot, SlotResult.MAINTENANCE)
    assert first.beat().pause == pytest.approx(30.0)
    account.now += 30.001
    assert first.ask()[1].is_granted
    account.now += 14.9
    assert second.ask()[1].code == Code.PAUSED
    account.now += 0.2
    assert second.ask()[1].is_granted


def test_a_retry_after_is_kept_for_as_long_as_it_says(account: Account) -> None:
    process = Process(account, "p")
    slot, _ = process.ask()
    process.end(slot, SlotResult.THROTTLED, retry_after=3600.0)
    assert process.beat().pause == pytest.approx(3600.0)
    for key in KEYS[:3]:
        assert account.client.pttl(key) > 3_600_000 + 10_000


def test_throttling_lowers_the_rate_once_credit_is_used_up_and_time_raises_it(
    account: Account,
) -> None:
    process = Process(account, "p")
    allowed = []
    for _ in range(8):
        account.now += 11
        slot, reply = process.ask()
        assert reply.is_granted
        process.end(slot, SlotResult.THROTTLED)
        allowed.append(process.beat().allowed)
        account.now += 11
        slot, _ = process.ask()
        process.end(slot, SlotResult.ANSWERED)
        process.beat()
    # Answers earn a little meanwhile.
    assert allowed[:5] == [20.0] * 5
    assert allowed[5] == pytest.approx(12.0)
    assert allowed[7] < allowed[5]
    lowest, last = account.now, allowed[7]
    recovered = []
    for periods in (1, 8, 16, 30):
        account.now = lowest + periods * 10
        recovered.append(process.beat().allowed)
    assert recovered == sorted(recovered)
    assert recovered[0] < last + 2
    assert recovered[-1] == 20.0


def test_an_outage_lets_only_probes_through(account: Account) -> None:
    process = Process(account, "p")
    for _ in range(30):
        slot, reply = process.ask()
        if reply.is_granted:
            process.end(slot, SlotResult.FAILED)
        account.now += 3
    assert process.beat().reason == "outage"
    account.now += 30
    slot, _ = process.ask()
    process.end(slot, SlotResult.ANSWERED)
    assert process.beat().pause is None


def test_a_request_that_was_not_sent_frees_the_window_and_not_the_spacing(
    account: Account,
) -> None:
    process = Process(account, "p", RateLimit(1, 10.0))
    slot, _ = process.ask()
    account.now += 4
    process.end(slot, SlotResult.NOT_SENT)
    assert process.beat().free == pytest.approx(6.0)
    account.now += 6.001
    slot, reply = process.ask()
    assert reply.is_granted
    process.end(slot, SlotResult.UNUSED)
    assert process.beat().free == 0


# Fairness


def test_requests_of_callers_take_turns_between_processes(account: Account) -> None:
    processes = [Process(account, f"p{number}") for number in range(4)]
    granted = grants(account, processes, 60.0)
    counts = [sum(who is process for _, who in granted) for process in processes]
    assert max(counts) - min(counts) <= 5
    assert sum(counts) >= 0.9 * 120
    assert account.calls / len(granted) <= 4.5
    moments = [moment for moment, _ in granted]
    assert worst([(each, each) for each in moments], 0.5) <= 6


def test_the_higher_bid_gets_the_slot_and_the_lower_one_its_turn(account: Account) -> None:
    many, few = Process(account, "p"), Process(account, "q")
    bids = {many: Bid(worth=10.0, queued=50), few: Bid(worth=2.0, queued=5)}
    got = dict.fromkeys(bids, 0)
    ask_at = dict.fromkeys(bids, account.now)
    until = account.now + 100
    while (moment := min(ask_at.values())) < until:
        process = min(ask_at, key=lambda each: ask_at[each])
        account.now = max(account.now, moment)
        slot, reply = process.ask(bids[process])
        got[process] += reply.is_granted
        if reply.is_granted:
            process.end(slot, SlotResult.ANSWERED)
        ask_at[process] = account.now + max(reply.wait, reply.free)
    assert got[many] > 0.9 * (got[many] + got[few])
    assert got[many] + got[few] > 180
    # A lone bidder pays nothing.
    account.now += many.beat().free
    assert few.ask(bids[few])[1].is_granted


def test_a_low_bid_comes_through_once_the_price_has_fallen(account: Account) -> None:
    high, low = Process(account, "p"), Process(account, "q")
    grants(account, [high], 30.0, Bid(worth=30.0, queued=3))
    account.now += high.ask(Bid(worth=30.0, queued=3))[1].free
    slot, reply = low.ask(Bid(worth=1.0, queued=3))
    assert not reply.is_granted
    assert 0.5 < reply.wait < 1.5
    account.now += reply.wait
    assert low.ask(Bid(worth=1.0, queued=3), slot)[1].is_granted


def test_a_bid_with_must_comes_before_bids_and_leaves_the_price(account: Account) -> None:
    high, caller = Process(account, "p"), Process(account, "q")
    for _ in range(20):
        account.now += 0.6
        slot, reply = high.ask(Bid(worth=30.0, queued=3))
        high.end(slot, SlotResult.ANSWERED)
    account.now += 0.6
    price = high.beat().price
    _, reply = caller.ask(MUST)
    assert reply.is_granted
    assert high.beat().price == price


# Losses


def test_an_empty_store_is_noticed_and_holds_all_for_a_moment(account: Account) -> None:
    processes = [Process(account, f"p{number}") for number in range(3)]
    before = grants(account, processes, 25.0)
    account.forget()
    _, reply = processes[0].ask()
    assert reply.code == Code.ON_HOLD
    after = grants(account, processes, 25.0)
    moments = [moment for moment, _ in before + after]
    assert worst([(each, each) for each in moments], 10.0) <= 20
    assert 2.4 < after[0][0] - before[-1][0] < 3.6
    assert len(after) >= 40


def test_a_store_that_lost_its_last_grants_is_noticed(account: Account) -> None:
    process = Process(account, "p")
    for _ in range(2):
        process.ask()
    copy = {key: account.client.dump(key) for key in KEYS[:1]}
    assert copy
    account.client.hset(KEYS[0], "grants", 1)
    _, reply = process.ask()
    assert reply.code == Code.ON_HOLD
    assert reply.grants == 2
    # Known now.
    account.now += 3
    assert process.ask()[1].is_granted


def test_a_process_that_sent_without_the_store_tells_it_and_all_hold(account: Account) -> None:
    process, other = Process(account, "p"), Process(account, "q")
    process.beat()
    for number in range(5):
        account.now += 1
        process.end(f"own{number}", SlotResult.ANSWERED)
    process.sent_without = True
    process.beat()
    assert len(account.window()) == 5
    assert other.ask()[1].code == Code.ON_HOLD


def test_a_clock_that_is_set_back_loses_the_state_and_holds(account: Account) -> None:
    process, other = Process(account, "p"), Process(account, "q")
    other.beat()
    before = grants(account, [process], 15.0)
    account.now -= 3600
    _, reply = process.ask()
    assert reply.code == Code.ON_HOLD
    assert reply.processes == 1
    assert other.beat().processes == 2
    after = grants(account, [process], 15.0)
    assert before
    assert len(after) >= 20


# Processes


def test_open_processes_count_until_they_leave_or_are_gone(account: Account) -> None:
    first, second, third = (Process(account, f"p{number}") for number in range(3))
    for process in (first, second):
        process.beat()
    assert third.beat().processes == 3
    account.run(third.call(queued=None))
    assert first.beat().processes == 2
    account.now += 9
    assert first.beat().processes == 2
    account.now += 2
    assert first.beat().processes == 1


def test_the_strictest_of_different_limits_holds(account: Account) -> None:
    first, second = Process(account, "p"), Process(account, "q", RateLimit(10, 20.0))
    assert first.beat().limit == LIMIT
    assert second.beat().limit == RateLimit(10, 20.0)
    assert first.beat().limit == RateLimit(10, 20.0)
    account.run(second.call(queued=None))
    assert first.beat().limit == LIMIT


def test_the_store_forgets_an_idle_account(account: Account) -> None:
    process = Process(account, "p")
    process.ask()
    for key in KEYS[:3]:
        assert 600_000 - 60_000 < account.client.pttl(key) <= 600_000
    process = Process(account, "p", RateLimit(20, 86_400.0))
    process.ask()
    for key in KEYS[:3]:
        assert account.client.pttl(key) > 2 * 86_400_000


def test_the_script_keeps_no_more_than_it_needs(account: Account) -> None:
    process = Process(account, "p")
    grants(account, [process], 300.0)
    assert account.client.zcard(KEYS[1]) <= 21
    assert set(account.client.keys()) == {*KEYS[:3], "clock"}


def test_the_script_is_plain_text_that_the_wheel_contains() -> None:
    assert SCRIPT.isascii()
    assert "Retry-After" in SCRIPT

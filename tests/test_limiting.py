"""The rate limiter: a state machine, and simulated requests and servers to run it with."""

import copy
import heapq
import itertools
import math
import random
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Literal

import pytest
from attrs import define, field
from hypothesis import assume, given
from hypothesis import strategies as st

from vocalsep_async._limiting import Grant, RateLimitState
from vocalsep_async._limiting.window import Window
from vocalsep_async.policies import RateLimit

Outcome = Literal["answered", "lost", "failed", "throttled", "maintenance", "cancelled", "not sent"]
LIMIT = RateLimit(20, 10.0)
TOLERATED = 5
"""Throttled requests that change nothing after many answers, or at first."""
LONG = 1000.0
"""Seconds after which no slot is held and no pause lasts."""


@define
class Sent:
    """One simulated request."""

    arrival: float
    round_trip: float
    counted: float
    """When the server counts it, as a fraction of the round trip."""
    outcome: Outcome
    retry_after: float | None = None
    started: float = math.nan

    @property
    def at_server(self) -> float:
        return self.started + self.counted * self.round_trip


def report(
    rate_limiter: RateLimitState,
    grant: Grant,
    now: float,
    outcome: Outcome,
    retry_after: float | None = None,
) -> None:
    match outcome:
        case "answered":
            rate_limiter.on_answer(grant, now)
        case "lost":
            rate_limiter.on_lost(grant, now)
        case "failed":
            rate_limiter.on_failed(grant, now)
        case "throttled":
            rate_limiter.on_throttled(grant, now, retry_after)
        case "maintenance":
            rate_limiter.on_maintenance(grant, now, retry_after)
        case "cancelled":
            rate_limiter.cancel(grant)
        case "not sent":
            rate_limiter.on_not_sent(grant, now)


def play(rate_limiter: RateLimitState, requests: Iterable[Sent]) -> None:
    """Let *requests* arrive, start each as soon as the rate limiter allows, and report its end."""
    arrivals = deque(sorted(requests, key=lambda request: request.arrival))
    waiting: deque[Sent] = deque()
    reports: list[tuple[float, int, Sent, Grant]] = []
    order = itertools.count()
    now = 0.0
    while arrivals or waiting or reports:
        while reports and reports[0][0] <= now:
            ended, _, request, grant = heapq.heappop(reports)
            report(rate_limiter, grant, ended, request.outcome, request.retry_after)
        while arrivals and arrivals[0].arrival <= now:
            waiting.append(arrivals.popleft())
        while waiting and rate_limiter.wait(now) == 0:
            request = waiting.popleft()
            request.started = now
            grant = rate_limiter.start(now)
            heapq.heappush(reports, (now + request.round_trip, next(order), request, grant))
        moments = [now + rate_limiter.wait(now)] if waiting else []
        moments += [arrivals[0].arrival] if arrivals else []
        moments += [reports[0][0]] if reports else []
        now = max(now, min(moments, default=now))


def most_in_a_window(times: Iterable[float], period: float) -> int:
    """The largest number of *times* within any stretch of *period* seconds, ends included."""
    window: deque[float] = deque()
    most = 0
    for time in sorted(times):
        window.append(time)
        while time - window[0] > period:
            window.popleft()
        most = max(most, len(window))
    return most


requests = st.builds(
    Sent,
    arrival=st.floats(0, 100),
    round_trip=st.one_of(st.floats(0, 1), st.floats(0, 40)),
    counted=st.sampled_from([0.0, 1.0]) | st.floats(0, 1),
    outcome=st.sampled_from(
        [
            *["answered"] * 3,
            "lost",
            "failed",
            "throttled",
            "maintenance",
            "cancelled",
            *["not sent"] * 2,
        ]
    ),
    retry_after=st.none() | st.floats(0, 300),
)
limits = st.builds(RateLimit, st.integers(1, 25), st.floats(0.1, 20))


@given(limits, st.lists(requests, max_size=80))
def test_the_server_never_counts_more_requests_in_a_period_than_the_limit(
    limit: RateLimit, sent: list[Sent]
) -> None:
    rate_limiter = RateLimitState(limit)
    play(rate_limiter, sent)
    arrived = [request for request in sent if request.outcome not in ("cancelled", "not sent")]
    counted = [request.at_server for request in arrived]
    assert most_in_a_window(counted, limit.period) <= limit.max_requests
    assert rate_limiter.in_flight == 0
    assert rate_limiter.sent == len(counted)
    assert rate_limiter.rate <= limit.max_requests / limit.period


@given(limits, st.floats(0.01, 15), st.integers(0, 2**32))
def test_many_simultaneous_requests_stay_within_the_limit(
    limit: RateLimit, slowest: float, seed: int
) -> None:
    random_ = random.Random(seed)
    sent = [Sent(0.0, random_.uniform(0, slowest), random_.random(), "answered") for _ in range(60)]
    play(RateLimitState(limit), sent)
    counted = [request.at_server for request in sent]
    assert most_in_a_window(counted, limit.period) <= limit.max_requests


@given(st.lists(requests, max_size=60))
def test_a_rate_limiter_always_allows_requests_again(sent: list[Sent]) -> None:
    for rate_limiter in (RateLimitState(LIMIT), RateLimitState(None)):
        play(rate_limiter, [copy.copy(request) for request in sent])
        now = 1e6
        assert rate_limiter.wait(now) == 0
        rate_limiter.on_answer(rate_limiter.start(now), now)
        assert rate_limiter.paused_until(now) == now


@given(limits, st.lists(requests, max_size=80))
def test_requests_are_started_no_faster_whatever_becomes_of_them(
    limit: RateLimit, sent: list[Sent]
) -> None:
    play(RateLimitState(limit), sent)
    started = [request.started for request in sent if request.outcome != "cancelled"]
    burst = min(4, max(1, limit.max_requests / 5))
    assert most_in_a_window(started, limit.period) <= limit.max_requests + burst


@given(limits, st.lists(requests, max_size=80))
def test_the_slots_of_requests_that_were_not_sent_come_back(
    limit: RateLimit, sent: list[Sent]
) -> None:
    """They delay the next requests, as any start does, but no slot is held for them."""
    for request in sent:
        request.outcome, request.round_trip = "not sent", 0.0
        request.arrival /= 10
    rate_limiter = RateLimitState(limit)
    play(rate_limiter, sent)
    # After a minute of nothing else, it is an outage.
    assume(not rate_limiter.is_outage)
    latest = max((request.started for request in sent), default=0.0)
    grants = []
    now = latest
    for _ in range(limit.max_requests):
        wait = rate_limiter.wait(now)
        assert wait <= limit.period / limit.max_requests + 1e-6
        now += wait
        grants.append(rate_limiter.start(now))
    assert rate_limiter.wait(now) == math.inf


def starts_at(rate_limiter: RateLimitState, now: float) -> list[Grant]:
    """Start as many requests as the rate limiter allows simultaneously."""
    grants = []
    while rate_limiter.wait(now) == 0:
        grants.append(rate_limiter.start(now))
    return grants


def answer_all(rate_limiter: RateLimitState, grants: Iterable[Grant], now: float) -> None:
    for grant in grants:
        rate_limiter.on_answer(grant, now)


@pytest.mark.parametrize(
    "limit, burst",
    [
        (RateLimit(20, 10.0), 4),
        (RateLimit(10, 10.0), 2),
        (RateLimit(3, 10.0), 1),
        (RateLimit(1, 10.0), 1),
        (RateLimit(1000, 10.0), 4),
    ],
)
def test_only_a_small_burst_starts_after_an_idle_time(limit: RateLimit, burst: int) -> None:
    rate_limiter = RateLimitState(limit)
    for now in (0.0, LONG, 2 * LONG):
        grants = starts_at(rate_limiter, now)
        assert len(grants) == burst
        answer_all(rate_limiter, grants, now)


def test_starts_after_the_burst_are_evenly_spaced() -> None:
    rate_limiter = RateLimitState(LIMIT)
    sent = [Sent(0.0, 0.1, 0.5, "answered") for _ in range(19)]
    play(rate_limiter, sent)
    gaps = [later.started - earlier.started for earlier, later in itertools.pairwise(sent)]
    assert gaps == pytest.approx([0.0] * 3 + [0.5] * 15)


def test_the_full_rate_limit_is_used() -> None:
    sent = [Sent(0.0, 0.1, 0.5, "answered") for _ in range(200)]
    play(RateLimitState(LIMIT), sent)
    assert sent[-1].started == pytest.approx(98.0, rel=0.03)


def test_a_slot_is_held_until_one_period_after_its_answer() -> None:
    rate_limiter = RateLimitState(RateLimit(1, 10.0))
    grant = rate_limiter.start(0.0)
    assert rate_limiter.wait(5.0) == math.inf
    assert rate_limiter.in_flight == 1
    rate_limiter.on_answer(grant, 30.0)
    assert rate_limiter.in_flight == 0
    assert rate_limiter.wait(30.0) == pytest.approx(10.01)
    assert rate_limiter.wait(40.0) > 0
    assert rate_limiter.wait(40.011) == 0


def test_a_lost_request_holds_its_slot_like_an_answered_one() -> None:
    rate_limiter = RateLimitState(RateLimit(1, 10.0))
    rate_limiter.on_lost(rate_limiter.start(0.0), 30.0)
    assert rate_limiter.wait(30.0) == pytest.approx(10.01)


def test_the_slot_of_a_request_that_was_not_sent_is_free_again() -> None:
    rate_limiter = RateLimitState(RateLimit(1, 10.0))
    rate_limiter.on_not_sent(rate_limiter.start(0.0), 0.0)
    assert rate_limiter.in_flight == 0
    assert rate_limiter.sent == 0
    # Not at once: what refuses connections is not tried without end.
    assert rate_limiter.wait(0.0) == pytest.approx(10.0)
    assert rate_limiter.wait(10.0) == 0


def test_requests_that_are_not_sent_are_spaced_like_others() -> None:
    sent = [Sent(0.0, 0.0, 0.0, "not sent") for _ in range(60)]
    play(RateLimitState(LIMIT), sent)
    gaps = [later.started - earlier.started for earlier, later in itertools.pairwise(sent)]
    assert gaps == pytest.approx([0.0] * 3 + [0.5] * 56)


# Throttling.


def throttled_once(
    limit: RateLimit | None = LIMIT, *, before: int = 0
) -> tuple[RateLimitState, list[Grant]]:
    """A rate limiter throttled first at second 0.5, and the requests started before that."""
    rate_limiter = RateLimitState(limit)
    first, *others = [rate_limiter.start(0.0) for _ in range(before + 1)]
    rate_limiter.on_throttled(first, 0.5)
    return rate_limiter, others


def overloaded_once(limit: RateLimit | None = LIMIT) -> RateLimitState:
    """A rate limiter of which more requests were throttled at second 0.5 than it tolerates."""
    rate_limiter = RateLimitState(limit)
    for grant in [rate_limiter.start(0.0) for _ in range(TOLERATED + 1)]:
        rate_limiter.on_throttled(grant, 0.5)
    return rate_limiter


def probe(rate_limiter: RateLimitState) -> tuple[float, Grant]:
    """Start the next probe as soon as it is allowed."""
    now = rate_limiter.paused_until(0.0)
    now += rate_limiter.wait(now)
    return now, rate_limiter.start(now)


def test_a_throttled_request_pauses_the_client() -> None:
    rate_limiter, _ = throttled_once()
    assert rate_limiter.wait(0.5) == 1.0
    assert rate_limiter.wait(1.0) == 0.5
    assert rate_limiter.paused_until(0.5) == 1.5
    assert rate_limiter.paused_until(9.0) == 9.0
    assert rate_limiter.throttled == 1
    assert "paused" in str(rate_limiter)


def test_the_first_pause_fits_a_short_period() -> None:
    rate_limiter, _ = throttled_once(RateLimit(1, 0.6))
    assert rate_limiter.paused_until(0.5) == pytest.approx(0.8)


@pytest.mark.parametrize(
    "limit, pause",
    [(RateLimit(20, 10.0), 1.0), (RateLimit(200, 10.0), 0.1), (RateLimit(1000, 10.0), 0.1)],
)
def test_the_first_pause_fits_the_limit(limit: RateLimit, pause: float) -> None:
    rate_limiter, _ = throttled_once(limit)
    assert rate_limiter.paused_until(0.5) == pytest.approx(0.5 + pause)


def test_pauses_double_up_to_the_period() -> None:
    rate_limiter, _ = throttled_once()
    pauses = []
    for _ in range(6):
        now, grant = probe(rate_limiter)
        rate_limiter.on_throttled(grant, now)
        pauses.append(rate_limiter.paused_until(now) - now)
    assert pauses == pytest.approx([2.0, 4.0, 8.0, 10.0, 10.0, 10.0])


def test_one_probe_is_sent_at_a_time() -> None:
    rate_limiter, _ = throttled_once()
    now, grant = probe(rate_limiter)
    assert rate_limiter.wait(now + 5) == math.inf
    rate_limiter.on_answer(grant, now + 5)
    assert rate_limiter.wait(now + 5) == 0
    assert "paused" not in str(rate_limiter)


def test_a_lost_probe_makes_room_for_the_next() -> None:
    rate_limiter, _ = throttled_once()
    now, grant = probe(rate_limiter)
    rate_limiter.on_lost(grant, now + 1)
    assert rate_limiter.wait(now + 1) == 0
    rate_limiter.start(now + 1)
    assert rate_limiter.wait(now + 2) == math.inf


def test_a_probe_that_was_not_sent_makes_room_for_the_next_after_the_usual_gap() -> None:
    rate_limiter, _ = throttled_once(RateLimit(2, 10.0))
    now, grant = probe(rate_limiter)
    rate_limiter.on_not_sent(grant, now)
    assert rate_limiter.paused_until(now) == now
    assert rate_limiter.wait(now) == pytest.approx(10 / 2)


def test_a_cancelled_probe_makes_room_for_the_next() -> None:
    rate_limiter, _ = throttled_once()
    now, grant = probe(rate_limiter)
    rate_limiter.cancel(grant)
    assert rate_limiter.wait(now) == 0


def test_the_answer_of_an_earlier_request_does_not_end_the_pause() -> None:
    rate_limiter, (earlier, later) = throttled_once(before=2)
    rate_limiter.on_answer(earlier, 0.6)
    assert rate_limiter.paused_until(0.6) == 1.5
    now, _ = probe(rate_limiter)
    rate_limiter.on_answer(later, now)
    assert rate_limiter.wait(now) == math.inf


def test_throttling_of_earlier_requests_changes_no_pause_and_no_rate() -> None:
    rate_limiter, earlier = throttled_once(before=3)
    rate = rate_limiter.rate
    for grant in earlier:
        rate_limiter.on_throttled(grant, 0.7)
    assert rate_limiter.paused_until(0.7) == 1.5
    assert rate_limiter.rate == rate
    assert rate_limiter.throttled == 4


def test_late_throttling_of_an_earlier_request_does_not_decrease_the_rate() -> None:
    rate_limiter, (late,) = throttled_once(before=1)
    now, grant = probe(rate_limiter)
    rate_limiter.on_answer(grant, now)
    rate = rate_limiter.rate
    rate_limiter.on_throttled(late, now + 25)
    assert rate_limiter.rate == rate


@pytest.mark.parametrize("count", [1, TOLERATED])
def test_a_few_throttled_requests_among_many_answers_leave_the_rate_as_it_is(count: int) -> None:
    rate_limiter = RateLimitState(LIMIT)
    for grant in [rate_limiter.start(0.0) for _ in range(count)]:
        rate_limiter.on_throttled(grant, 0.5)
    assert rate_limiter.rate == 2.0
    assert rate_limiter.wait(0.5) == 1.0


def test_answers_at_the_full_rate_pay_for_throttled_requests() -> None:
    rate_limiter = RateLimitState(LIMIT)
    now = 0.0
    for number in range(40 * 20):
        now += 1.0
        grant = rate_limiter.start(now)
        if number % 20 == 19:
            rate_limiter.on_throttled(grant, now)
            now, grant = probe(rate_limiter)
        rate_limiter.on_answer(grant, now)
    assert rate_limiter.rate == 2.0
    assert rate_limiter.throttled == 40


def test_answers_at_a_low_rate_hardly_pay_for_throttled_requests() -> None:
    """There another program uses the rest of the limit."""
    rate_limiter = overloaded_once()
    now, grant = probe(rate_limiter)
    rate_limiter.on_answer(grant, now)
    for _ in range(30):
        rate_limiter.on_answer(rate_limiter.start(12.0), 12.0)
    rate = rate_limiter.rate
    rate_limiter.on_throttled(rate_limiter.start(12.0), 12.0)
    assert rate_limiter.rate == pytest.approx(0.6 * rate)


def test_one_episode_decreases_the_rate_once() -> None:
    rate_limiter = overloaded_once()
    assert rate_limiter.rate == pytest.approx(0.6 * 2)
    for _ in range(3):
        now, grant = probe(rate_limiter)
        rate_limiter.on_throttled(grant, now)
    assert rate_limiter.rate == pytest.approx(0.6 * 2)


def test_the_next_episode_decreases_the_rate_again_after_a_period() -> None:
    rate_limiter = overloaded_once()
    now, grant = probe(rate_limiter)
    rate_limiter.on_answer(grant, now)
    rate = rate_limiter.rate
    rate_limiter.on_throttled(rate_limiter.start(now + 1), now + 2)
    assert rate_limiter.rate == rate
    now, grant = probe(rate_limiter)
    rate_limiter.on_answer(grant, now)
    rate_limiter.on_throttled(rate_limiter.start(11.0), 11.5)
    assert rate_limiter.rate == pytest.approx(0.6 * rate, rel=0.01)


def test_the_rate_never_falls_below_one_request_per_period() -> None:
    rate_limiter = RateLimitState(RateLimit(2, 10.0))
    for episode in range(1, 20):
        now = episode * LONG
        for moment in (now, now + 100):
            report(
                rate_limiter,
                rate_limiter.start(moment),
                moment,
                "throttled" if moment == now else "answered",
            )
        assert rate_limiter.rate >= 0.1


@pytest.mark.parametrize("requests", [20, 200, 1000])
def test_the_rate_recovers_in_small_steps_alike_at_any_limit(requests: int) -> None:
    rate_limiter = overloaded_once(RateLimit(requests, 10.0))
    now, grant = probe(rate_limiter)
    rate_limiter.on_answer(grant, now)
    most, rates = requests / 10, [rate_limiter.rate]
    while rate_limiter.rate < most and now < 500:
        now += 1 / rate_limiter.rate
        rate_limiter.on_answer(rate_limiter.start(now), now)
        rates.append(rate_limiter.rate)
    steps = [later - earlier for earlier, later in itertools.pairwise(rates)]
    assert rates[-1] == most
    assert all(0 < step < 0.01 * most for step in steps)
    assert 100 < now < 200


def test_the_steps_grow_with_the_time_since_the_last_decrease() -> None:
    def step_after(seconds: float) -> float:
        rate_limiter = overloaded_once()
        now, grant = probe(rate_limiter)
        rate_limiter.on_answer(grant, now)
        rate = rate_limiter.rate
        rate_limiter.on_answer(rate_limiter.start(seconds), seconds)
        return rate_limiter.rate - rate

    steps = [step_after(seconds) for seconds in (5, 79, 81, 159, 161, 500)]
    assert steps == pytest.approx([steps[0] * times for times in (1, 1, 2, 2, 4, 4)])


@pytest.mark.parametrize(
    "retry_after, pause",
    [(None, 1.0), (0.0, 1.0), (0.3, 1.0), (7.5, 7.5), (300.0, 300.0)],
)
def test_a_pause_lasts_at_least_as_long_as_the_server_asked(
    retry_after: float | None, pause: float
) -> None:
    rate_limiter = RateLimitState(LIMIT)
    rate_limiter.on_throttled(rate_limiter.start(0.0), 1.0, retry_after)
    assert rate_limiter.wait(1.0) == pytest.approx(pause)


def test_retry_after_counts_for_every_throttled_request() -> None:
    rate_limiter, (earlier,) = throttled_once(before=1)
    rate_limiter.on_throttled(earlier, 0.7, 20.0)
    assert rate_limiter.paused_until(0.7) == pytest.approx(20.7)
    now, grant = probe(rate_limiter)
    rate_limiter.on_throttled(grant, now, 30.0)
    assert rate_limiter.paused_until(now) == pytest.approx(now + 30)


def test_maintenance_pauses_half_a_minute_and_then_a_minute_each() -> None:
    rate_limiter = RateLimitState(LIMIT)
    rate_limiter.on_maintenance(rate_limiter.start(0.0), 1.0)
    pauses = [rate_limiter.paused_until(1.0) - 1.0]
    for _ in range(3):
        now, grant = probe(rate_limiter)
        assert rate_limiter.wait(now) == math.inf
        rate_limiter.on_maintenance(grant, now)
        pauses.append(rate_limiter.paused_until(now) - now)
    assert pauses == [30.0, 60.0, 60.0, 60.0]
    assert rate_limiter.rate == 2.0
    assert rate_limiter.throttled == 0
    now, grant = probe(rate_limiter)
    rate_limiter.on_answer(grant, now)
    assert rate_limiter.wait(now) == 0


def test_maintenance_lasts_at_least_as_long_as_the_server_asked() -> None:
    rate_limiter = RateLimitState(LIMIT)
    rate_limiter.on_maintenance(rate_limiter.start(0.0), 1.0, 120.0)
    assert rate_limiter.paused_until(1.0) == 121.0


def test_maintenance_met_by_a_probe_pauses_at_least_half_a_minute() -> None:
    rate_limiter, _ = throttled_once()
    now, grant = probe(rate_limiter)
    rate_limiter.on_maintenance(grant, now)
    assert rate_limiter.paused_until(now) == now + 30


# Cancelled grants.


def observed(rate_limiter: RateLimitState, now: float) -> tuple[Any, ...]:
    """Everything observable of the rate limiter at *now*, and the starts that it will allow."""
    ahead = copy.deepcopy(rate_limiter)
    starts = []
    for _ in range(30):
        wait = ahead.wait(now)
        if math.isinf(wait):
            break
        now += wait
        ahead.on_answer(ahead.start(now), now)
        starts.append(round(now, 6))
    return (
        starts,
        rate_limiter.sent,
        rate_limiter.throttled,
        rate_limiter.in_flight,
        rate_limiter.rate,
    )


@given(
    st.sampled_from([LIMIT, RateLimit(3, 5.0), None]),
    st.lists(requests, max_size=30),
    st.lists(st.floats(0, 20), max_size=5),
)
def test_a_cancelled_grant_leaves_no_trace(
    limit: RateLimit | None, earlier: list[Sent], gaps: list[float]
) -> None:
    rate_limiter = RateLimitState(limit)
    play(rate_limiter, earlier)
    now = max((request.started + request.round_trip for request in earlier), default=0.0)
    for gap in gaps:
        now += gap
        if rate_limiter.wait(now) == 0:
            before = observed(rate_limiter, now)
            rate_limiter.cancel(rate_limiter.start(now))
            assert observed(rate_limiter, now) == before


@given(
    st.sampled_from([LIMIT, RateLimit(3, 5.0), None]),
    st.lists(requests, max_size=30),
    st.integers(0, 4),
    st.floats(-10_000, 10_000),
)
def test_on_another_clock_the_same_starts_are_allowed_and_requests_in_flight_are_lost(
    limit: RateLimit | None, earlier: list[Sent], in_flight: int, shift: float
) -> None:
    rate_limiter = RateLimitState(limit)
    play(rate_limiter, earlier)
    now = max((request.started + request.round_trip for request in earlier), default=0.0)
    grants = [rate_limiter.start(now) for _ in range(in_flight) if rate_limiter.wait(now) == 0]
    moved = copy.deepcopy(rate_limiter)
    moved.move(shift, now + shift)
    for grant in grants:
        rate_limiter.on_lost(grant, now)
    starts, *others = observed(rate_limiter, now)
    starts_of_moved, *others_of_moved = observed(moved, now + shift)
    assert starts_of_moved == pytest.approx([start + shift for start in starts], abs=1e-3)
    assert others_of_moved == others
    # Throttling lowers the rate by what was answered, and by when it was lowered before.
    for each, clock in ((rate_limiter, now), (moved, now + shift)):
        moment = clock + 0.0037 + each.wait(clock)
        each.on_throttled(each.start(moment), moment)
    assert moved.rate == rate_limiter.rate


def test_on_another_clock_one_episode_still_lowers_the_rate_once() -> None:
    rate_limiter = RateLimitState(LIMIT)
    rate_limiter.on_throttled(rate_limiter.start(0.0), 0.1)
    rate_limiter.on_answer(rate_limiter.start(2.0), 2.1)
    rate = rate_limiter.rate
    rate_limiter.move(500.0, 503.0)
    rate_limiter.on_throttled(rate_limiter.start(503.0), 503.1)
    assert rate_limiter.rate == rate


def test_cancel_returns_exactly_the_gap_that_was_taken() -> None:
    """Even if the allowed rate changed in between."""
    plain, _ = throttled_once(before=3)
    rate_limiter = RateLimitState(LIMIT)
    first, *_, unsent = [rate_limiter.start(0.0) for _ in range(5)]
    rate_limiter.on_throttled(first, 0.5)
    rate_limiter.cancel(unsent)
    assert observed(rate_limiter, 1.5) == observed(plain, 1.5)


# No known limit.


def test_without_a_known_limit_no_rate_applies_until_the_first_throttling() -> None:
    rate_limiter = RateLimitState(None)
    assert rate_limiter.rate == math.inf
    for _ in range(1000):
        rate_limiter.on_answer(rate_limiter.start(1.0), 1.0)
    assert rate_limiter.wait(1.0) == 0
    assert rate_limiter.rate == math.inf


def test_without_a_known_limit_the_requests_in_flight_double_with_each_second_of_answers() -> None:
    rate_limiter = RateLimitState(None)
    together = []
    for second in range(9):
        grants = starts_at(rate_limiter, float(second))
        together.append(len(grants))
        answer_all(rate_limiter, grants, second + 1.0)
    assert together == [2, 4, 8, 16, 32, 64, 64, 64, 64]


def test_without_answers_the_requests_in_flight_do_not_grow() -> None:
    rate_limiter = RateLimitState(None)
    assert len(starts_at(rate_limiter, 0.0)) == 2
    assert rate_limiter.wait(100.0) == math.inf


def learned(accepted: int) -> tuple[RateLimitState, float]:
    """A rate limiter throttled first after *accepted* answers in ten seconds."""
    rate_limiter = RateLimitState(None)
    answer_all(rate_limiter, [rate_limiter.start(0.0) for _ in range(7)], 0.0)
    now = 20.0
    for _ in range(accepted):
        now += 9.0 / max(accepted, 1)
        rate_limiter.on_answer(rate_limiter.start(now), now)
    rate_limiter.on_throttled(rate_limiter.start(now), now)
    return rate_limiter, now


@pytest.mark.parametrize("accepted, rate", [(30, 2.1), (20, 1.4), (1, 1.4), (0, 1.4)])
def test_the_first_throttling_sets_a_rate_from_the_accepted_requests_or_the_usual_limit(
    accepted: int, rate: float
) -> None:
    rate_limiter, _ = learned(accepted)
    assert rate_limiter.rate == pytest.approx(rate)


def test_a_learned_rate_keeps_gaps_between_all_requests() -> None:
    """The limit may be one on the gaps."""
    rate_limiter, now = learned(20)
    now, grant = probe(rate_limiter)
    rate_limiter.on_answer(grant, now)
    assert len(starts_at(rate_limiter, now + LONG)) == 1


def test_a_learned_rate_grows_fast_until_throttled_and_then_slowly() -> None:
    rate_limiter, now = learned(20)
    for expected in (1.4 * 1.3, 1.4 * 1.3**2):
        now += 15
        for _ in range(round(rate_limiter.rate * 10)):
            rate_limiter.on_answer(rate_limiter.start(now), now)
        assert rate_limiter.rate == pytest.approx(expected, rel=0.02)
    too_high = rate_limiter.rate
    while rate_limiter.rate == too_high:
        rate_limiter.on_throttled(rate_limiter.start(now), now)
    assert rate_limiter.rate == pytest.approx(too_high / 1.3)
    now += 5
    rate = rate_limiter.rate
    for _ in range(round(rate * 10)):
        rate_limiter.on_answer(rate_limiter.start(now), now)
    assert rate_limiter.rate == pytest.approx(rate + 0.02 * too_high, rel=0.01)


# Outages.


def failed_for(seconds: float, limit: RateLimit | None = LIMIT) -> RateLimitState:
    """A rate limiter all of whose requests, one a second, failed for so long."""
    rate_limiter = RateLimitState(limit)
    for second in range(int(seconds) + 1):
        rate_limiter.on_failed(rate_limiter.start(float(second)), float(second))
    return rate_limiter


def test_failures_of_less_than_a_minute_change_nothing() -> None:
    assert failed_for(59).wait(59.0) == 0
    assert not failed_for(59).is_outage


def test_a_minute_of_nothing_but_failures_leaves_probes_further_and_further_apart() -> None:
    rate_limiter = failed_for(60)
    assert rate_limiter.is_outage
    gaps = [rate_limiter.paused_until(60.0) - 60.0]
    for _ in range(5):
        now, grant = probe(rate_limiter)
        rate_limiter.on_failed(grant, now)
        gaps.append(rate_limiter.paused_until(now) - now)
    assert gaps == [2.0, 4.0, 8.0, 16.0, 24.0, 24.0]


def test_connections_that_are_not_made_are_an_outage_too() -> None:
    rate_limiter = RateLimitState(LIMIT)
    for second in range(61):
        rate_limiter.on_not_sent(rate_limiter.start(float(second)), float(second))
    assert rate_limiter.is_outage


def test_the_first_answer_after_an_outage_brings_the_whole_rate_back() -> None:
    rate_limiter = failed_for(60)
    now, grant = probe(rate_limiter)
    rate_limiter.on_answer(grant, now)
    assert not rate_limiter.is_paused
    assert rate_limiter.rate == 2.0
    assert rate_limiter.wait(now) == 0


def test_an_answer_to_a_request_from_before_the_pause_ends_an_outage() -> None:
    rate_limiter = RateLimitState(LIMIT)
    late = rate_limiter.start(0.0)
    for second in range(61):
        rate_limiter.on_failed(rate_limiter.start(float(second)), float(second))
    assert rate_limiter.is_outage
    rate_limiter.on_answer(late, 60.5)
    assert not rate_limiter.is_paused


@pytest.mark.parametrize("outcome", ["answered", "throttled", "maintenance"])
def test_one_proper_answer_shows_that_the_service_works(outcome: Outcome) -> None:
    rate_limiter = failed_for(59)
    report(rate_limiter, rate_limiter.start(59.0), 59.0, outcome)
    now, grant = probe(rate_limiter)
    rate_limiter.on_answer(grant, now)
    now += LONG
    rate_limiter.on_failed(rate_limiter.start(now), now)
    assert not rate_limiter.is_outage


def test_requests_that_the_client_gave_up_are_no_outage() -> None:
    rate_limiter = RateLimitState(LIMIT)
    for second in range(200):
        rate_limiter.on_lost(rate_limiter.start(float(second)), float(second))
    assert not rate_limiter.is_paused


def test_a_probe_that_is_throttled_ends_the_outage_and_not_the_pause() -> None:
    rate_limiter = failed_for(60)
    now, grant = probe(rate_limiter)
    rate_limiter.on_throttled(grant, now)
    assert rate_limiter.is_paused
    assert not rate_limiter.is_outage


@pytest.mark.parametrize("outcome", ["throttled", "maintenance"])
def test_a_service_that_fails_during_another_pause_is_an_outage_after_a_minute(
    outcome: Outcome,
) -> None:
    rate_limiter = RateLimitState(LIMIT)
    report(rate_limiter, rate_limiter.start(0.0), 0.0, outcome)
    began, _ = now, grant = probe(rate_limiter)
    while now < began + 60:
        assert not rate_limiter.is_outage
        rate_limiter.on_failed(grant, now)
        now, grant = probe(rate_limiter)
        now += 1.0
    rate_limiter.on_failed(grant, now)
    assert rate_limiter.is_outage
    until = rate_limiter.paused_until(now)
    for _ in range(5):
        now, grant = probe(rate_limiter)
        rate_limiter.on_failed(grant, now)
    assert until < now
    assert rate_limiter.paused_until(now) - now == 24.0


# The window.


@given(limits, st.lists(st.tuples(st.floats(0, 30), st.floats(0, 3)), min_size=1, max_size=60))
def test_no_more_requests_start_than_slots_are_free_within_the_resolution_of_timers(
    limit: RateLimit, ends: list[tuple[float, float]]
) -> None:
    """Asked half a microsecond before each slot becomes free."""
    window = Window(limit.max_requests, limit.period)
    free_at: list[float] = []
    now = 0.0
    for gap, _ in ends:
        now = max(now + gap, *(moment - 5e-7 for moment in free_at[:1]), 0.0)
        started = 0
        while window.wait(now) <= 1e-6:
            window.start()
            started += 1
            busy = sum(1 for moment in free_at if moment > now + 1e-6)
            assert busy + started <= limit.max_requests
        for _ in range(started):
            window.end(now)
        free_at = sorted([*free_at, *[now + limit.period] * started])
        free_at = [moment for moment in free_at if moment > now + 1e-6]


# Another client of the same account.


@define
class World:
    """A server with a sliding window, our client, and another client with its own rate."""

    rate_limiter: RateLimitState
    other_gap: Callable[[random.Random], float]
    random: random.Random
    limit: RateLimit = LIMIT
    ours: list[int] = field(factory=lambda: [0, 0])
    """Our requests: accepted, throttled."""
    theirs: list[int] = field(factory=lambda: [0, 0])
    _accepted: deque[float] = field(factory=deque)
    _events: list[tuple[float, int, Callable[[float], None]]] = field(factory=list)
    _order: Any = field(factory=itertools.count)

    def run(self, seconds: float) -> None:
        self._at(0.0, self._try_send)
        self._at(self.other_gap(self.random), self._send_other)
        while self._events[0][0] <= seconds:
            now, _, event = heapq.heappop(self._events)
            event(now)

    def _at(self, moment: float, event: Callable[[float], None]) -> None:
        heapq.heappush(self._events, (moment, next(self._order), event))

    def _accepts(self, now: float) -> bool:
        while self._accepted and self._accepted[0] <= now - self.limit.period:
            self._accepted.popleft()
        accepted = len(self._accepted) < self.limit.max_requests
        if accepted:
            self._accepted.append(now)
        return accepted

    def _send_other(self, now: float) -> None:
        self.theirs[0 if self._accepts(now) else 1] += 1
        self._at(now + self.other_gap(self.random), self._send_other)

    def _try_send(self, now: float) -> None:
        wait = self.rate_limiter.wait(now)
        if wait == 0:
            self._send(self.rate_limiter.start(now), now)
        self._at(now + min(max(wait, 0.001), 0.05), self._try_send)

    def _send(self, grant: Grant, now: float) -> None:
        there, back = (self.random.uniform(0.025, 0.1) for _ in range(2))
        self._at(now + there, lambda arrived: self._arrive(grant, arrived, back))

    def _arrive(self, grant: Grant, now: float, back: float) -> None:
        accepted = self._accepts(now)
        self.ours[0 if accepted else 1] += 1
        outcome: Outcome = "answered" if accepted else "throttled"
        self._at(now + back, lambda later: report(self.rate_limiter, grant, later, outcome))


def world_of(
    seed: int, gap: Callable[[random.Random], float], limit: RateLimit | None = LIMIT
) -> World:
    return World(RateLimitState(limit), gap, random.Random(seed))


def throttled_share(counts: list[int]) -> float:
    return counts[1] / sum(counts)


OTHER_CLIENTS: dict[str, Callable[[random.Random], float]] = {
    "steadily": lambda random_: random_.uniform(0.8, 1.2),
    "at random": lambda random_: random_.expovariate(1.0),
}


@pytest.mark.parametrize("how", OTHER_CLIENTS)
def test_the_rate_settles_beside_a_client_that_uses_half_of_the_limit(how: str) -> None:
    worlds = [world_of(seed, OTHER_CLIENTS[how]) for seed in range(4)]
    for world in worlds:
        world.run(1200.0)
    ours = [sum(counts) for counts in zip(*(world.ours for world in worlds), strict=True)]
    theirs = [sum(counts) for counts in zip(*(world.theirs for world in worlds), strict=True)]
    assert throttled_share(ours) <= 0.06
    assert throttled_share(theirs) <= 0.10
    assert ours[0] >= 0.5 * 1200 * len(worlds)


@pytest.mark.parametrize("seed", range(2))
def test_a_single_client_is_never_throttled(seed: int) -> None:
    world = world_of(seed, lambda _: math.inf)
    world.run(600.0)
    assert world.ours[1] == 0
    assert world.ours[0] >= 0.93 * 2 * 600


@pytest.mark.parametrize("seed", range(2))
def test_without_a_known_limit_the_rate_settles_near_it(seed: int) -> None:
    world = world_of(seed, lambda _: math.inf, None)
    world.run(1200.0)
    assert throttled_share(world.ours) <= 0.06
    assert world.ours[0] >= 0.6 * 2 * 1200


# The representation.


def test_a_rate_limiter_shows_its_state() -> None:
    rate_limiter = RateLimitState(LIMIT)
    rate_limiter.start(0.0)
    assert str(rate_limiter) == ("2.00 requests/s, 1 in flight, 1 sent, 0 throttled")

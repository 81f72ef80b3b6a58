"""The judge of too many requests."""

from hypothesis import given
from hypothesis import strategies as st

from vocalsep_async.emulator.limiter import SlidingWindow

_gaps = st.lists(st.floats(0, 20, allow_nan=False), max_size=80)


def _accepted(window: SlidingWindow, gaps: list[float]) -> list[float]:
    now = 1000.0
    accepted: list[float] = []
    for gap in gaps:
        now += gap
        if window.admit(now):
            accepted.append(now)
    return accepted


@given(
    limit=st.integers(1, 8),
    period=st.floats(0.01, 30),
    gaps=_gaps,
    count_throttled=st.booleans(),
)
def test_no_window_holds_more_than_the_limit(
    limit: int, period: float, gaps: list[float], *, count_throttled: bool
) -> None:
    accepted = _accepted(SlidingWindow(limit, period, count_throttled=count_throttled), gaps)
    for first, last in zip(accepted, accepted[limit:], strict=False):
        assert last - first >= period


@given(st.integers(1, 8), st.floats(0.01, 30), _gaps)
def test_nobody_is_refused_while_there_is_room(
    limit: int, period: float, gaps: list[float]
) -> None:
    window, now = SlidingWindow(limit, period), 1000.0
    accepted: list[float] = []
    for gap in gaps:
        now += gap
        room = sum(now - at < period for at in accepted) < limit
        assert window.admit(now) == room
        if room:
            accepted.append(now)


def test_a_place_is_free_again_after_exactly_one_period() -> None:
    window = SlidingWindow(1, 10.0)
    assert [window.admit(now) for now in (0.0, 9.999, 10.0)] == [True, False, True]


def test_refused_requests_keep_the_caller_out_if_they_count() -> None:
    window = SlidingWindow(1, 10.0, count_throttled=True)
    assert [window.admit(now) for now in (0.0, 6.0, 12.0, 22.0)] == [True, False, False, True]

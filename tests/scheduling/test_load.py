"""How much of the rate limit polls have used lately."""

import math

import pytest

from vocalsep_async._scheduling.load import Load
from vocalsep_async._scheduling.queue import PollQueue


@pytest.mark.parametrize("share, low", [(0.2, True), (0.7, True), (1.0, False), (1.5, False)])
def test_a_load_is_low_while_polls_leave_slots_unused(share: float, *, low: bool) -> None:
    load = Load()
    for number in range(200):
        load.on_poll(number / (2.0 * share), 2.0)
    assert load.is_low(200 / (2.0 * share)) is low


def test_a_load_falls_while_nothing_is_polled() -> None:
    load = Load()
    for number in range(200):
        load.on_poll(number / 2.0, 2.0)
    assert not load.is_low(100.0)
    assert load.is_low(110.0)


def test_a_load_is_never_low_where_no_limit_is_known() -> None:
    load = Load()
    load.on_poll(0.0, math.inf)
    assert not load.is_low(0.0)


def test_a_queue_has_spare_slots_only_without_a_price() -> None:
    load = Load()
    load.on_poll(0.0, 2.0)
    queue: PollQueue[object] = PollQueue(lambda: 0.5, load=load)  # type: ignore[type-var]
    assert queue.has_spare(1.0)
    queue._heap.price = 1.0
    assert not queue.has_spare(1.0)

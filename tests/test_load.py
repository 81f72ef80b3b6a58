"""Big batches with faults, and batches through an outage, lose nothing; see benchmarks/load.py."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from vocalsep_async import RateLimit


def _benchmark() -> ModuleType:
    path = Path(__file__).parents[1] / "benchmarks" / "load.py"
    spec = importlib.util.spec_from_file_location("load", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


load = _benchmark()


@pytest.mark.parametrize("feed", [0.0, 50.0])
@pytest.mark.parametrize("number", [600, pytest.param(20_000, marks=pytest.mark.deep)])
def test_a_batch_among_faults_gives_each_task_one_outcome_and_polls_none_after_its_end(
    number: int, feed: float
) -> None:
    found = load.in_virtual_time(load.load(number, feed=feed))
    assert found.polls > number
    assert (found.lost, found.repeated, found.wrong, found.late_polls) == (0, 0, 0, 0)
    assert max(found.blocks.values()) < 1.1 * found.blocks[5]


@pytest.mark.parametrize(
    "number, limit",
    [
        (600, RateLimit(100, 10.0)),
        pytest.param(20_000, RateLimit(1_000, 10.0), marks=pytest.mark.deep),
    ],
)
def test_a_batch_that_is_throttled_at_random_loses_nothing_and_uses_most_of_the_rate_limit(
    number: int, limit: RateLimit
) -> None:
    found = load.in_virtual_time(load.load(number, throttling=0.02, limit=limit))
    assert found.throttled > 0.01 * found.polls
    assert (found.lost, found.repeated, found.wrong, found.late_polls) == (0, 0, 0, 0)
    assert found.used > 0.6


@pytest.mark.parametrize("is_refusing", [True, False], ids=["refused", "503"])
@pytest.mark.parametrize("timeout", [None, 1800.0, 4000.0, 20_000.0])
@pytest.mark.parametrize(
    "number, limit",
    [
        (30, RateLimit(2, 10.0)),
        pytest.param(1_000, RateLimit(), marks=pytest.mark.deep),
    ],
)
def test_a_batch_through_an_hour_of_outage_ends_with_what_is_true(
    number: int, limit: RateLimit, timeout: float | None, *, is_refusing: bool
) -> None:
    found = load.in_virtual_time(
        load.outage(number, timeout=timeout, is_refusing=is_refusing, limit=limit)
    )
    rate = limit.max_requests / limit.period
    assert (found.wrong, found.late_polls) == (0, 0)
    assert found.polls_in_outage <= load.OUTAGE * rate + limit.max_requests
    assert found.known_after < 1.3 * found.ended / rate + 30
    if timeout is None or timeout > 10_000:
        assert found.timed_out == 0
    if timeout == 1800:
        assert found.timed_out > 0

"""What a run of songs may cost: nothing begins that would exceed it."""

from __future__ import annotations

import asyncio
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocalsep_async import (
    ConfigurationError,
    InsufficientCreditsError,
    NotBegunError,
    SeparationType,
)
from vocalsep_async._songs.budget import Budget
from vocalsep_async.providers import Price

pytestmark = pytest.mark.anyio

VOCAL, STEMS, ADVANCED = SeparationType
PRICES = {kind: Price(cost, date(2026, 3, 1), "x") for kind, cost in ((VOCAL, 10), (STEMS, 50))}


async def test_a_creation_waits_until_it_is_known_what_those_before_it_cost() -> None:
    budget = Budget(PRICES, 20)
    await budget.reserve(VOCAL)
    await budget.reserve(VOCAL)
    third = asyncio.ensure_future(budget.reserve(VOCAL))
    await asyncio.sleep(0)
    assert not third.done()
    budget.settle(VOCAL, is_spent=True)
    await asyncio.sleep(0)
    assert not third.done()
    budget.settle(VOCAL, is_spent=False)
    await third
    assert budget.spent == 10


async def test_a_budget_that_is_spent_ends_the_creations() -> None:
    budget = Budget(PRICES, 20)
    await budget.reserve(VOCAL)
    budget.settle(VOCAL, is_spent=True)
    with pytest.raises(
        NotBegunError, match=r"max_credits is 20, 10 are spent.* costs 50"
    ) as caught:
        await budget.reserve(STEMS)
    assert caught.value.cause is None
    assert budget.has_ended
    with pytest.raises(NotBegunError):
        await budget.reserve(VOCAL)


async def test_an_error_ends_the_creations_once_and_for_all() -> None:
    budget = Budget(PRICES)
    cause = InsufficientCreditsError("no credits", code=429, http_status=200)
    budget.end(cause)
    budget.end(OSError("another"))
    budget.leave()
    with pytest.raises(NotBegunError, match="no credits") as caught:
        budget.check()
    assert caught.value.cause is cause


async def test_an_error_of_something_else_is_in_the_message_alone() -> None:
    budget = Budget(PRICES)
    budget.end(OSError("the disk is gone"))
    with pytest.raises(NotBegunError, match="the disk is gone") as caught:
        budget.check()
    assert caught.value.cause is None


async def test_a_creation_that_waits_ends_with_the_run() -> None:
    budget = Budget(PRICES, 10)
    await budget.reserve(VOCAL)
    waiting = asyncio.ensure_future(budget.reserve(VOCAL))
    await asyncio.sleep(0)
    budget.leave()
    with pytest.raises(NotBegunError, match="left"):
        await waiting


def test_an_unknown_price_is_an_error_where_there_is_a_limit() -> None:
    with pytest.raises(ConfigurationError, match="split_stem_advanced"):
        Budget(PRICES, 10).price(ADVANCED)
    assert Budget(PRICES).price(ADVANCED) is None


async def test_what_was_spent_is_not_known_once_a_price_is_not() -> None:
    budget = Budget(PRICES)
    await budget.reserve(ADVANCED)
    budget.settle(ADVANCED, is_spent=False)
    assert budget.spent == 0
    budget.settle(ADVANCED, is_spent=True)
    assert budget.spent is None


@given(
    st.integers(0, 200),
    st.lists(st.tuples(st.sampled_from([VOCAL, STEMS]), st.booleans(), st.integers(0, 3))),
)
def test_no_order_of_creations_exceeds_the_budget(
    most: int, creations: list[tuple[SeparationType, bool, int]]
) -> None:
    async def create(budget: Budget, kind: SeparationType, waits: int, *, is_spent: bool) -> None:
        try:
            await budget.reserve(kind)
        except NotBegunError:
            return
        for _ in range(waits):
            await asyncio.sleep(0)
        budget.settle(kind, is_spent=is_spent)

    async def run() -> float | None:
        budget = Budget(PRICES, most)
        calls = [create(budget, kind, waits, is_spent=spent) for kind, spent, waits in creations]
        await asyncio.gather(*calls)
        return budget.spent

    spent = asyncio.run(run())
    assert spent is not None
    assert spent <= most

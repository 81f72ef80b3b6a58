"""Labels of a run: the first song of the source keeps one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from virtual_time import VIRTUAL_TIME

from vocalsep_async import InvalidArgumentError
from vocalsep_async._songs.labels import Labels, LabelTurn

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[VIRTUAL_TIME])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


async def took(turn: LabelTurn, identity: str) -> bool:
    try:
        await turn.take(identity)
    except InvalidArgumentError:
        return False
    finally:
        turn.release()
    return True


async def test_the_order_of_the_source_decides_and_not_that_of_the_hashing() -> None:
    labels = Labels()
    first, second = labels.begin("Tides"), labels.begin("tides")
    later = asyncio.create_task(took(second, "b"))
    await asyncio.sleep(1)
    assert not later.done()
    assert await took(first, "a")
    assert not await later


async def test_one_song_may_come_again_under_its_label_and_another_may_not() -> None:
    labels = Labels()
    turns = [labels.begin("Tides") for _ in range(4)]
    taken = [await took(turn, each) for turn, each in zip(turns, "abac", strict=True)]
    assert taken == [True, False, True, False]


async def test_a_song_without_a_label_needs_none() -> None:
    labels = Labels()
    assert await took(labels.begin(None), "a")
    assert await took(labels.begin(None), "b")


async def test_songs_that_were_given_up_leave_their_label_to_the_next() -> None:
    labels = Labels()
    first, second, third = (labels.begin("Tides") for _ in range(3))
    second.release()
    waiting = asyncio.create_task(took(third, "c"))
    await asyncio.sleep(1)
    first.release()
    assert await waiting


async def test_a_song_that_is_given_up_while_it_waits_leaves_the_label_where_it_is() -> None:
    labels = Labels()
    first, second, third = (labels.begin("Tides") for _ in range(3))
    second.release()
    second.release()
    assert await took(first, "a")
    assert not await took(third, "c")


async def test_a_label_is_free_again_once_every_song_that_has_it_is_forgotten() -> None:
    labels = Labels()
    first, second = labels.begin("Tides"), labels.begin("tides")
    assert await took(first, "a")
    second.release()
    second.forget()
    assert not await took(labels.begin("TIDES"), "b")
    first.forget()
    third = labels.begin("Tides")
    assert not await took(third, "c")
    third.forget()
    assert labels._names["tides"].songs == 1


async def test_nothing_is_left_of_labels_whose_songs_are_forgotten() -> None:
    labels = Labels()
    turns = [labels.begin(label) for label in ("Tides", "Tides", "Harbour", None)]
    for turn, identity in zip(turns, "abcd", strict=True):
        await took(turn, identity)
    for turn in turns:
        turn.forget()
    assert labels._names == {}
    assert await took(labels.begin("Tides"), "e")

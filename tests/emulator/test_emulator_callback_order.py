"""Callbacks that overtake each other."""

from __future__ import annotations

import anyio
import pytest
from anyio.lowlevel import checkpoint
from virtual_time import VIRTUAL_TIME

from vocalsep_async.emulator.callback_order import CallbackOrder

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", [VIRTUAL_TIME])]


class Posting:
    """Posts callbacks a second apart from each other, and notes in which order and when."""

    def __init__(self) -> None:
        self.order = CallbackOrder()
        self.posted: list[str] = []
        self.began = anyio.current_time()
        self.took: dict[str, float] = {}

    async def post(self, name: str) -> None:
        """Post one; those in capitals are to be reordered."""
        async with self.order.turn(is_reordered=name.isupper()):
            # Time in which one that was overtaken must go on waiting.
            await checkpoint()
            self.posted.append(name)
            self.took[name] = anyio.current_time() - self.began

    async def post_all(self, names: str) -> None:
        """Post one a second."""
        async with anyio.create_task_group() as group:
            for name in names:
                group.start_soon(self.post, name)
                await anyio.sleep(1)


@pytest.mark.parametrize(
    "given, posted",
    [
        ("abc", "abc"),
        ("Abc", "bAc"),
        ("ABCD", "BADC"),
        ("aBCdE", "aCBdE"),
        ("ABc", "BAc"),
    ],
)
async def test_a_reordered_callback_lets_the_next_one_pass(given: str, posted: str) -> None:
    posting = Posting()
    await posting.post_all(given)
    assert "".join(posting.posted) == posted


async def test_a_callback_that_no_other_one_follows_waits_for_five_seconds() -> None:
    posting = Posting()
    await posting.post_all("A")
    assert posting.took == {"A": 5.0}
    await posting.post_all("B")
    assert posting.took["B"] == 10.0


async def test_a_callback_is_overtaken_although_the_other_one_fails() -> None:
    posting = Posting()
    async with anyio.create_task_group() as group:
        group.start_soon(posting.post, "A")
        await anyio.sleep(1)
        with pytest.raises(OSError, match="refused"):
            async with posting.order.turn(is_reordered=False):
                raise OSError("refused")
    assert posting.took == {"A": 1.0}


async def test_a_callback_that_is_given_up_while_it_waits_leaves_the_order_as_it_was() -> None:
    posting = Posting()
    with anyio.move_on_after(1):
        await posting.post("A")
    await posting.post_all("Bc")
    assert posting.posted == ["c", "B"]

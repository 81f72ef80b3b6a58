"""A song that is cancelled at any await, with a journal: the next call completes it, paid once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from batch.journals import process
from fakes import FakeProvider, is_idle
from songs.creating import creates_tasks, creations
from test_cancellation import STEPS, Mode, broken_off

from vocalsep_async import SongRunner, VocalSepClient

pytestmark = pytest.mark.anyio

SONGS = ["https://songs.example/a.mp3", "https://songs.example/b.mp3"]


async def one(client: VocalSepClient, journal: Path) -> bool:
    return (await client.separate(SONGS[0], journal=journal)).succeeded


async def many(client: VocalSepClient, journal: Path) -> bool:
    async with client.separate_many(SONGS, journal=journal) as run:
        return await all_of(run)


async def all_of(run: SongRunner) -> bool:
    return all([outcome.succeeded async for outcome in run])


@STEPS
@pytest.mark.parametrize("mode", ["native", "scope"])
@pytest.mark.parametrize("call, songs", [(one, 1), (many, 2)], ids=["one", "many"])
async def test_a_song_can_be_cancelled_at_every_await_and_is_paid_once(
    provider: FakeProvider, path: Path, call: Any, *, songs: int, mode: Mode, step: int
) -> None:
    creates_tasks(provider, duration=1.0)
    for n in range(1, 1_000, step):
        journal = path.with_name(f"{n}.journal")
        before = creations(provider)
        async with process(provider) as client:
            hits = await broken_off(call(client, journal), {n}, mode)
            assert is_idle(), f"cancelled at {n}: tasks are left"
            assert client._engine.journals._open == {}, f"cancelled at {n}: a journal is open"
            assert client.stats.in_flight == 0, f"cancelled at {n}: still counted"
            assert await call(client, journal), f"cancelled at {n}: not completed"
        assert creations(provider) - before == songs, f"cancelled at {n}: not paid once"
        if not hits:
            assert n > 20
            return
    raise AssertionError("the sweep found no end")

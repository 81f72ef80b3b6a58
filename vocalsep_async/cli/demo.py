"""A dozen tasks on the emulator, over real HTTP: what users would see of the real API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

import typer

from vocalsep_async import SeparationType, TaskRef, VocalSepClient
from vocalsep_async.cli.exits import Exit
from vocalsep_async.cli.following import Order
from vocalsep_async.cli.options import Settings
from vocalsep_async.cli.running import carry_out
from vocalsep_async.cli.screen import Screen
from vocalsep_async.cli.session import Session
from vocalsep_async.cli.stop import Stop
from vocalsep_async.emulator import Emulator

_TASKS = 12
_SPEED = 16.0
"""The emulator's tasks take 20 to 240 s divided by this."""
_SEED = 5
_KINDS = (SeparationType.SEPARATE_VOCAL, SeparationType.SPLIT_STEM)


def demo(
    context: typer.Context,
    *,
    to: Annotated[Path, typer.Option("--to", help="A folder for the stems and the report.")] = Path(
        "vocalsep-demo"
    ),
) -> None:
    """Separate a dozen songs on a local emulator, save the stems, write a report (half a minute).

    Nothing leaves this machine, and no key is needed.
    """
    settings: Settings = context.obj
    screen = Screen(is_quiet=settings.quiet)

    async def work(stop: Stop) -> Exit:
        async with (
            Emulator(speed=_SPEED, seed=_SEED, failure_rate=0.1) as emulator,
            VocalSepClient("demo-key", base_url=emulator.url) as client,
        ):
            screen.say(
                f"An emulator of the API runs at {emulator.url}, {_SPEED:g} times as fast as the "
                f"real one.\nCreating {_TASKS} tasks within 20 requests per 10 s, and following "
                "them:"
            )
            order = Order(tasks=_created(client), download_to=to)
            await Session(order, screen, stop, to / "report.html").run(client)
        # That some tasks fail is part of the show.
        return Exit.SUCCEEDED

    carry_out(settings, work)


async def _created(client: VocalSepClient) -> AsyncIterator[TaskRef]:
    for number in range(_TASKS):
        yield await client.create_task(
            audio_url="https://example.com/song.mp3",
            callback_url="https://example.com/never-called",
            type=_KINDS[number % len(_KINDS)],
        )

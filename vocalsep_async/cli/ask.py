"""The commands that ask once: `get`, `create` and `credits`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vocalsep_async import SeparationType, TaskRef
from vocalsep_async.cli import options
from vocalsep_async.cli.exits import Exit
from vocalsep_async.cli.options import Settings
from vocalsep_async.cli.running import carry_out
from vocalsep_async.cli.screen import Screen
from vocalsep_async.cli.stop import Stop
from vocalsep_async.cli.telling import lines_of, record


def get(
    context: typer.Context,
    task_id: Annotated[str, typer.Argument(metavar="ID", help="Id of a task.")],
    *,
    as_json: options.AsJson = False,
) -> None:
    """Look at a task once, and print how it stands and the links of its stems.

    The exit status is 1 if it has failed, 0 if it has succeeded or goes on.
    """
    settings: Settings = context.obj
    screen = Screen(is_quiet=settings.quiet)

    async def work(stop: Stop) -> Exit:
        failed = False
        with stop.scope():
            async with settings.client() as client:
                task = await client.get_task(task_id)
            for each in [record(task)] if as_json else lines_of(task):
                screen.result(each)
            failed = task.is_final and not task.succeeded
        return Exit.FAILED if failed else Exit.SUCCEEDED

    carry_out(settings, work)


def create(
    context: typer.Context,
    *,
    callback_url: Annotated[
        str, typer.Option(help="Where the API posts the result; it demands one.")
    ],
    audio_url: Annotated[str | None, typer.Option(help="A song from anywhere.")] = None,
    source_task_id: Annotated[
        str | None, typer.Option(help="The music task that made the song; with --audio-id.")
    ] = None,
    audio_id: Annotated[str | None, typer.Option(help="Which of its tracks.")] = None,
    type_: Annotated[
        SeparationType, typer.Option("--type", help="What to make of it.")
    ] = SeparationType.SEPARATE_VOCAL,
    stem_name: Annotated[
        str | None, typer.Option(help="The instrument, for split_stem_advanced.")
    ] = None,
    journal: Annotated[
        Path | None,
        typer.Option(help="Write down what is asked for before it is sent, and the id after it."),
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    r"""Create a task and print its id. EVERY CALL IS BILLED, also for the same song.

    Example:
        vocalsep create --audio-url https://example.com/song.mp3 \
            --callback-url https://example.com/hook --type split_stem
    """
    settings: Settings = context.obj
    screen = Screen(is_quiet=settings.quiet)

    async def work(stop: Stop) -> Exit:
        created: list[TaskRef] = []
        with stop.scope():
            async with settings.client() as client:
                ref = await client.create_task(
                    callback_url=callback_url,
                    audio_url=audio_url,
                    source_task_id=source_task_id,
                    audio_id=audio_id,
                    type=type_,
                    stem_name=stem_name,
                    journal=journal,
                )
                created.append(ref)
        for ref in created:
            screen.result({"task_id": ref.task_id, "type": ref.type} if as_json else ref.task_id)
        if not created:
            screen.warn("stopped; the task may have been created, and billed, all the same")
        return Exit.SUCCEEDED

    carry_out(settings, work)


def credits_(context: typer.Context, *, as_json: options.AsJson = False) -> None:
    """Print how many credits the account has left."""
    settings: Settings = context.obj
    screen = Screen(is_quiet=settings.quiet)

    async def work(stop: Stop) -> Exit:
        with stop.scope():
            async with settings.client() as client:
                left = await client.get_credits()
            screen.result({"credits": left} if as_json else f"{left:.15g}")
        return Exit.SUCCEEDED

    carry_out(settings, work)

"""The commands that follow tasks: `wait`, `track` and `download`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from attrs import evolve

from vocalsep_async import InvalidArgumentError
from vocalsep_async.cli import options
from vocalsep_async.cli.exits import Exit, worse
from vocalsep_async.cli.following import Order
from vocalsep_async.cli.ids import Ids
from vocalsep_async.cli.options import Settings
from vocalsep_async.cli.running import carry_out
from vocalsep_async.cli.screen import Screen
from vocalsep_async.cli.session import Session
from vocalsep_async.cli.stop import Stop


def wait(
    context: typer.Context,
    ids: options.Named,
    *,
    type_: options.Kind = None,
    timeout: options.Timeout = None,
    as_json: options.AsJson = False,
) -> None:
    """Wait until tasks have ended, and print what became of each."""
    order = Order(tasks=(), type=type_, timeout=timeout, as_json=as_json)
    _follow(context, ids, None, order, None)


def track(
    context: typer.Context,
    ids: options.Given = None,
    *,
    file: options.File = None,
    type_: options.Kind = None,
    timeout: options.Timeout = None,
    journal: options.JournalPath = None,
    to: options.To = None,
    stem: options.StemNames = None,
    as_json: options.AsJson = False,
    report: options.Report = None,
) -> None:
    """Follow many tasks at once, and print what becomes of each as soon as it is known.

    Stopped by Ctrl-C or SIGTERM, it ends within two seconds; with --journal the same command goes
    on where it ended, and asks for no finished task again.

    Examples:
        vocalsep track ID ID ID

        vocalsep track --file ids.txt --journal batch.journal --to stems --report report.html

        produce-ids | vocalsep track - --json | jq .stems.vocal
    """
    order = Order(
        tasks=(),
        type=type_,
        timeout=timeout,
        journal=journal,
        download_to=to,
        stems=stem,
        as_json=as_json,
    )
    _follow(context, ids or (), file, order, report)


def download(
    context: typer.Context,
    ids: options.Given = None,
    *,
    to: Annotated[Path, typer.Option("--to", help="Save the stems below this folder.")],
    file: options.File = None,
    stem: options.StemNames = None,
    timeout: options.Timeout = None,
    as_json: options.AsJson = False,
    report: options.Report = None,
) -> None:
    """Save the stems of tasks, waiting for those that have not ended.

    Each file is there whole or not at all. The same command again fetches only what is missing.

    Example:
        vocalsep download ID --to stems --stem vocal --stem drums
    """
    order = Order(tasks=(), timeout=timeout, download_to=to, stems=stem, as_json=as_json)
    _follow(context, ids or (), file, order, report)


def _follow(
    context: typer.Context,
    given: Sequence[str],
    file: Path | None,
    order: Order,
    report: Path | None,
) -> NoReturn:
    settings: Settings = context.obj
    screen = Screen(is_quiet=settings.quiet)

    async def work(stop: Stop) -> Exit:
        ids = Ids(given, file, screen.warn)
        if not ids and order.journal is None:
            raise InvalidArgumentError(_nothing_given(context))
        if order.stems and order.download_to is None:
            raise InvalidArgumentError("--stem says which stems to save: say where, with --to")
        async with settings.client() as client:
            session = Session(evolve(order, tasks=ids.all()), screen, stop, report)
            status = await session.run(client)
        return worse(status, Exit.FAILED) if ids.has_bad_lines else status

    carry_out(settings, work)


def _nothing_given(context: typer.Context) -> str:
    journal = ", or the --journal of an earlier run" if context.info_name == "track" else ""
    return f"give ids of tasks, --file, - to read standard input{journal}"

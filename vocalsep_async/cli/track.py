"""Following tasks from a shell, until all have ended or somebody says stop."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import anyio
import typer
from attrs import define, frozen

from vocalsep_async import (
    AuthenticationError,
    BatchRunner,
    InsufficientCreditsError,
    SeparationType,
    TaskOutcome,
    TaskTimeoutError,
    VocalSepClient,
    VocalSepError,
)


class Exit(IntEnum):
    """What the exit status tells."""

    SUCCEEDED = 0
    """All tasks did, and their stems are saved if that was asked for."""
    FAILED = 1
    """Some task did not."""
    USAGE = 2
    """The command cannot be carried out as it was given."""
    REFUSED = 3
    """The account was refused: a dead key, or no credits."""
    TIMED_OUT = 4
    """Some task ran out of time, and nothing worse happened."""
    INTERRUPTED = 130
    """It was stopped by SIGINT or SIGTERM."""


@frozen
class _Order:
    ids: tuple[str, ...]
    type: SeparationType | None
    timeout: float | None
    journal: Path | None
    download_to: Path | None
    as_json: bool


@define
class _Following:
    """One run of the command."""

    order: _Order
    status: Exit = Exit.SUCCEEDED
    is_interrupted: bool = False
    open_ids: tuple[str, ...] = ()
    error: VocalSepError | None = None

    async def run(self) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(self._heed_signals, group.cancel_scope)
            try:
                await self._follow()
            except VocalSepError as error:
                self.error = error
            group.cancel_scope.cancel()
        # Raised here: a task group would wrap it.
        if self.error is not None:
            raise self.error

    async def _follow(self) -> None:
        order = self.order
        async with VocalSepClient.from_env() as client:
            batch = client.track(
                order.ids,
                type=order.type,
                timeout=order.timeout,
                journal=order.journal,
                download_to=order.download_to,
            )
            async with batch:
                try:
                    await self._print_all(batch)
                finally:
                    self.open_ids = batch.pending_ids()

    async def _print_all(self, batch: BatchRunner) -> None:
        async for outcome in batch:
            self.status = max(self.status, _judged(outcome), key=_SEVERITY.index)
            typer.echo(json.dumps(_told(outcome)) if self.order.as_json else _line(outcome))

    async def _heed_signals(self, scope: anyio.CancelScope) -> None:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for _ in signals:
                if self.is_interrupted:  # pragma: no cover - what was covered ends with it
                    # Whatever is written is written whole: a journal bears this at any moment.
                    os._exit(Exit.INTERRUPTED)
                self.is_interrupted = True
                scope.cancel()


_SEVERITY = (Exit.SUCCEEDED, Exit.TIMED_OUT, Exit.FAILED, Exit.REFUSED)


def _judged(outcome: TaskOutcome) -> Exit:
    if outcome.ok:
        return Exit.SUCCEEDED
    if isinstance(outcome.error, (AuthenticationError, InsufficientCreditsError)):
        return Exit.REFUSED
    return Exit.TIMED_OUT if isinstance(outcome.error, TaskTimeoutError) else Exit.FAILED


def _told(outcome: TaskOutcome) -> dict[str, Any]:
    return {
        "task_id": outcome.task_id,
        "status": outcome.status,
        "ok": outcome.ok,
        "stems": {} if outcome.task is None else dict(outcome.task.stems),
        "files": {stem: str(path) for stem, path in outcome.files.items()},
        "error": _problem(outcome),
        "polls": outcome.polls,
        "elapsed": outcome.elapsed,
    }


def _line(outcome: TaskOutcome) -> str:
    if outcome.ok and outcome.task is not None:
        names = ", ".join(outcome.files or dict(outcome.task.stems)) or "its tracks"
        saved = "saved" if outcome.files else "ready"
        return f"{outcome.task_id}  {outcome.status}  {saved}: {names}"
    return f"{outcome.task_id}  {outcome.status or 'not seen'}  {_problem(outcome)}"


def _problem(outcome: TaskOutcome) -> str | None:
    try:
        outcome.result()
    except VocalSepError as error:
        return str(error)
    return None


def track(
    ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ID]...", help="Ids of tasks; - reads them from standard input."),
    ] = None,
    *,
    file: Annotated[
        Path | None, typer.Option(help="A file with one id a line.", dir_okay=False)
    ] = None,
    type_: Annotated[
        SeparationType | None, typer.Option("--type", help="What kind of separation they are.")
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(help="Seconds for each task; no limit by default.", min=0)
    ] = None,
    journal: Annotated[
        Path | None, typer.Option(help="Keep a journal, and go on with what it holds.")
    ] = None,
    download_to: Annotated[
        Path | None, typer.Option("--to", help="Save the stems below this folder.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON object for each task, one a line.")
    ] = False,
) -> None:
    """Follow tasks and print what becomes of each; the key comes from VOCALSEP_API_KEY.

    Exit status: 0 all succeeded, 1 some failed, 2 usage, 3 refused by the account (key, credits),
    4 timed out, 130 interrupted. Interrupted once, it stops within two seconds; the journal keeps
    what is open, and the same command goes on with it.
    """
    try:
        given = tuple(_given(ids or [], file))
        if not given and journal is None:
            _fail("give ids of tasks, --file, or the --journal of an earlier run")
        order = _Order(given, type_, timeout, journal, download_to, as_json)
        following = _Following(order)
        anyio.run(following.run)
    except OSError as error:
        _fail(f"{error.filename or 'a file'}: {error.strerror}")
    except VocalSepError as error:
        _fail(str(error))
    if following.is_interrupted:
        _say_what_is_open(following)
        raise typer.Exit(Exit.INTERRUPTED)
    raise typer.Exit(following.status)


def _say_what_is_open(following: _Following) -> None:
    count = len(following.open_ids)
    kept = (
        f"{following.order.journal} keeps them: run the same command again"
        if following.order.journal is not None
        else "without --journal they are not kept"
    )
    typer.echo(f"stopped; {count} tasks are open; {kept}", err=True)


def _given(ids: list[str], file: Path | None) -> Iterator[str]:
    for each in ids:
        yield from _read(sys.stdin) if each == "-" else (each,)
    if file is not None:
        with file.open(encoding="utf-8-sig") as lines:
            yield from _read(lines)


def _read(lines: Iterable[str]) -> Iterator[str]:
    return filter(None, map(str.strip, lines))


def _fail(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(Exit.USAGE)

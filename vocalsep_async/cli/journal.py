"""Looking into a journal, also while a batch writes to it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from vocalsep_async import DecodeError, Durations, InvalidArgumentError, JournalError, TaskRef
from vocalsep_async._journal.codec import unpacked
from vocalsep_async._journal.store import Row, Store
from vocalsep_async._text import counted, printable
from vocalsep_async.cli.exits import Exit
from vocalsep_async.cli.options import Settings
from vocalsep_async.cli.running import sentences
from vocalsep_async.cli.screen import Screen
from vocalsep_async.providers._decoder import restored_task

app = typer.Typer(no_args_is_help=True, help="Look into the journal of a batch.")

JournalPath = Annotated[Path, typer.Argument(metavar="PATH", help="The journal's file.")]

_LONGEST = 2_000
"""Characters of what a creation asked for."""


@app.command()
def show(context: typer.Context, path: JournalPath) -> None:
    """Say what a journal holds."""
    with _opened(context, path) as (store, screen):
        rows, intents = store.tasks(), _intents(store)
        ended = sum(row.record is not None for row in rows)
        screen.result(f"API: {printable(store.meta('base_url') or 'not known yet')}")
        screen.result(f"account: {printable(store.meta('label') or 'no label')}")
        screen.result(f"tasks: {len(rows)}, of which {ended} have ended")
        for intent in intents:
            screen.result(f"perhaps created, id not known: {printable(intent, _LONGEST)}")


@app.command()
def check(context: typer.Context, path: JournalPath) -> None:
    """Look for damage; the exit status is 1 if there is some."""
    with _opened(context, path) as (store, screen):
        store.check()
        _intents(store)
        _learned(store)
        count = 0
        for row in store.rows():
            _check_usable(row)
            count += 1
        screen.result(f"{path}: {counted(count, 'task')}, no damage")


@app.command()
def export(context: typer.Context, path: JournalPath) -> None:
    """Print every task as a JSON object, one a line."""
    with _opened(context, path) as (store, screen):
        for row in store.rows():
            screen.result(_told(row))


def _intents(store: Store) -> list[str]:
    told = []
    for began, request, error in store.intents():
        try:
            when = _time(began)
        except (TypeError, ValueError, OverflowError, OSError):
            raise JournalError(f"a creation is damaged: {began!r} is no time") from None
        if not _is_object(request):
            raise JournalError(f"a creation is damaged: {request!r:.60} is no request")
        told.append(f"{when} {request} ({error or 'the program ended before the answer'})")
    return told


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _learned(store: Store) -> None:
    told = store.meta("durations")
    if told is None:
        return
    try:
        Durations().update_from(json.loads(told))
    except (ValueError, RecursionError) as error:
        raise JournalError(f"what was learned about durations is damaged: {error}") from None


def _check_usable(row: Row) -> None:
    """Refuse what a batch would refuse."""
    record = _told(row)["record"]
    try:
        ref = TaskRef(row.task_id)
        if record is not None:
            restored_task(ref, record)
    except (InvalidArgumentError, DecodeError) as error:
        raise _damaged(row, error) from None


def _told(row: Row) -> dict[str, Any]:
    try:
        record = None if row.record is None else unpacked(row.record)
        files = None if row.files is None else json.loads(row.files)
        times = (_time(row.created_at), _time(row.added_at))
    except (ValueError, OverflowError, OSError, RecursionError) as error:
        raise _damaged(row, error) from None
    if not all(isinstance(each, dict | None) for each in (record, files)):
        raise _damaged(row, "it is no object")
    return {
        "task_id": row.task_id,
        "type": row.type,
        "created_at": times[0],
        "added_at": times[1],
        "status": row.status,
        "polls": row.polls,
        "elapsed": row.elapsed,
        "has_ended": record is not None,
        "files": files,
        "record": record,
    }


def _damaged(row: Row, why: object) -> JournalError:
    return JournalError(f"the record of task {row.task_id!r:.80} is damaged: {why}")


def _time(moment: float | None) -> str | None:
    return None if moment is None else datetime.fromtimestamp(moment, UTC).isoformat()


@contextmanager
def _opened(context: typer.Context, path: Path) -> Iterator[tuple[Store, Screen]]:
    settings: Settings = context.obj
    with sentences(settings):
        try:
            with closing(Store.read(path)) as store:
                yield store, Screen(is_quiet=settings.quiet)
        except JournalError as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(Exit.FAILED) from None

"""Looking into a journal, also while a batch writes to it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from vocalsep_async import Durations, JournalError
from vocalsep_async._text import counted
from vocalsep_async.journal import Row, Store, unpacked

app = typer.Typer(no_args_is_help=True, help="Look into the journal of a batch.")

JournalPath = Annotated[Path, typer.Argument(metavar="PATH", help="The journal's file.")]


@app.command()
def show(path: JournalPath) -> None:
    """Say what a journal holds."""
    console = Console(soft_wrap=True, highlight=False, markup=False)
    with _opened(path) as store:
        rows, intents = store.tasks(), _intents(store)
        ended = sum(row.record is not None for row in rows)
        console.print(f"API: {store.meta('base_url') or 'not known yet'}")
        console.print(f"account: {store.meta('label') or 'no label'}")
        console.print(f"tasks: {len(rows)}, of which {ended} have ended")
        for intent in intents:
            console.print(f"perhaps created, id not known: {intent}")


@app.command()
def check(path: JournalPath) -> None:
    """Look for damage; the exit status is 1 if there is some."""
    with _opened(path) as store:
        store.check()
        _intents(store)
        _learned(store)
        count = sum(1 for row in store.rows() if _told(row))
    typer.echo(f"{path}: {counted(count, 'task')}, no damage")


@app.command()
def export(path: JournalPath) -> None:
    """Print every task as a JSON object, one a line."""
    with _opened(path) as store:
        for row in store.rows():
            typer.echo(json.dumps(_told(row)))


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


def _told(row: Row) -> dict[str, Any]:
    try:
        record = None if row.record is None else unpacked(row.record)
        files = None if row.files is None else json.loads(row.files)
        times = (_time(row.created_at), _time(row.added_at))
    except (ValueError, OverflowError, OSError, RecursionError) as error:
        raise JournalError(f"the record of task {row.task_id!r} is damaged: {error}") from None
    if not all(isinstance(each, dict | None) for each in (record, files)):
        raise JournalError(f"the record of task {row.task_id!r} is damaged: it is no object")
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


def _time(moment: float | None) -> str | None:
    return None if moment is None else datetime.fromtimestamp(moment, UTC).isoformat()


@contextmanager
def _opened(path: Path) -> Iterator[Store]:
    try:
        store = Store.read(path)
        try:
            yield store
        finally:
            store.close()
    except JournalError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None

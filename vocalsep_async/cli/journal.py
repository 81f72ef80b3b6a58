"""Commands that inspect a journal, also while a batch writes to it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from vocalsep_async import DecodeError, Durations, InvalidArgumentError, JournalError, TaskRef
from vocalsep_async._journal.codec import unpacked
from vocalsep_async._journal.store import Row, Store
from vocalsep_async._text import counted, printable
from vocalsep_async.cli.options import Settings
from vocalsep_async.cli.output import Output, print_error
from vocalsep_async.cli.process import ExitCode
from vocalsep_async.cli.run import errors_as_sentences
from vocalsep_async.providers._routes import decoder_for

app: typer.Typer = typer.Typer(no_args_is_help=True, help="Inspect the journal of a batch.")

JournalFile = Annotated[Path, typer.Argument(metavar="PATH", help="The journal's file.")]

_MAX_INTENT = 2_000
"""Characters of an intent's line."""


@app.command()
def show(context: typer.Context, path: JournalFile) -> None:
    """Print a summary of a journal."""
    with _open(context, path) as (store, output):
        rows, intents = store.tasks(), _intents(store)
        finished = sum(row.record is not None for row in rows)
        output.result(f"API: {printable(store.meta('base_url') or 'unknown')}")
        output.result(f"account: {printable(store.meta('label') or 'no label')}")
        output.result(f"tasks: {len(rows)}, {finished} finished")
        for intent in intents:
            output.result(f"possibly created, id unknown: {printable(intent, _MAX_INTENT)}")


@app.command()
def check(context: typer.Context, path: JournalFile) -> None:
    """Check a journal for damage; the exit status is 1 if there is any."""
    with _open(context, path) as (store, output):
        store.check()
        _intents(store)
        _check_durations(store)
        host, count = _host(store), 0
        for row in store.rows():
            _check_usable(row, host)
            count += 1
        output.result(f"{path}: {counted(count, 'task')}, no damage")


@app.command()
def export(context: typer.Context, path: JournalFile) -> None:
    """Print every task as a JSON object, one per line."""
    with _open(context, path) as (store, output):
        for row in store.rows():
            output.result(_row_to_dict(row))


@contextmanager
def _open(context: typer.Context, path: Path) -> Iterator[tuple[Store, Output]]:
    settings: Settings = context.obj
    with errors_as_sentences(settings):
        try:
            with closing(Store.read(path)) as store:
                yield store, Output(is_quiet=settings.quiet)
        except JournalError as error:
            # Not the usage error that it is elsewhere: damage is what these commands report.
            print_error(str(error))
            raise typer.Exit(ExitCode.FAILED) from None


def _intents(store: Store) -> list[str]:
    lines = []
    for began, request, error, label in store.intents():
        try:
            began_at = _isoformat(began)
        except (TypeError, ValueError, OverflowError, OSError):
            raise JournalError(f"an intent is damaged: {began!r} is not a time") from None
        if not _is_object(request):
            raise JournalError(f"an intent is damaged: {request!r:.60} is not a request")
        named = "" if label is None else f"{label}: "
        why = error or "the program ended before the answer"
        lines.append(f"{began_at} {named}{request} ({why})")
    return lines


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    # TypeError: a damaged row may hold NULL; RecursionError: text that is nested too deep.
    except (TypeError, ValueError, RecursionError):
        return False


def _check_durations(store: Store) -> None:
    durations = store.meta("durations")
    if durations is None:
        return
    try:
        Durations().update_from(json.loads(durations))
    except (ValueError, RecursionError) as error:
        raise JournalError(f"the learned durations are damaged: {error}") from None


def _host(store: Store) -> str:
    """The host of the API that the journal belongs to."""
    base_url = store.meta("base_url") or ""
    try:
        return urlsplit(base_url).hostname or ""
    except ValueError:
        raise JournalError(f"the base_url is damaged: {printable(base_url)!r}") from None


def _check_usable(row: Row, host: str) -> None:
    """Raise for a row that a batch could not continue from.

    Raises:
        JournalError: the row is damaged.
    """
    record = _row_to_dict(row)["record"]
    try:
        ref = TaskRef(row.task_id, route=row.route, label=row.label)
        if record is not None:
            decoder_for(row.route, host).restored(ref, record)
    except (InvalidArgumentError, DecodeError) as error:
        raise _damage(row, error) from None


def _row_to_dict(row: Row) -> dict[str, Any]:
    try:
        record = None if row.record is None else unpacked(row.record)
        files = None if row.files is None else json.loads(row.files)
        created_at, added_at = _isoformat(row.created_at), _isoformat(row.added_at)
    except (ValueError, OverflowError, OSError, RecursionError) as error:
        raise _damage(row, error) from None
    # Any JSON can be stored in these columns, not only objects.
    if not all(isinstance(each, dict | None) for each in (record, files)):
        raise _damage(row, "it is not an object")
    return {
        "task_id": row.task_id,
        "label": row.label,
        "type": row.type,
        "created_at": created_at,
        "added_at": added_at,
        "status": row.status,
        "polls": row.polls,
        "elapsed": row.elapsed,
        "has_ended": record is not None,
        "files": files,
        "route": row.route,
        "expects_callback": bool(row.expects_callback),
        "record": record,
    }


def _damage(row: Row, problem: object) -> JournalError:
    # Cut, because a damaged value may be of any length.
    return JournalError(f"the record of task {row.task_id!r:.80} is damaged: {problem}")


def _isoformat(timestamp: float | None) -> str | None:
    return None if timestamp is None else datetime.fromtimestamp(timestamp, UTC).isoformat()

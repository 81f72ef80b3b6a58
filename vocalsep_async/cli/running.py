"""Carrying a command out: what goes wrong becomes a sentence, and all of it an exit status."""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import NoReturn

import anyio
import typer

from vocalsep_async import VocalSepError
from vocalsep_async.cli.exits import Exit, status_of
from vocalsep_async.cli.options import Settings
from vocalsep_async.cli.stop import Stop

Work = Callable[[Stop], Awaitable[Exit]]

_QUERY = re.compile(r"(://[^\s?#'\"]*)[?#][^\s'\"]*")


def carry_out(settings: Settings, work: Work) -> NoReturn:
    """Do *work* in an event loop, and end the command.

    Raises:
        typer.Exit: always, but for a fault of the program, which is raised as it is.
    """
    stop = Stop()
    try:
        status = anyio.run(work, stop)
    except Exception as error:
        leaves = list(_leaves(error))
        if any(isinstance(each, BrokenPipeError) for each in leaves):
            _leave_the_pipe()
        expected = _expected(leaves)
        if expected is None:
            raise
        fail(settings, expected)
    raise typer.Exit(Exit.INTERRUPTED if stop.is_wanted else status)


def fail(settings: Settings, error: VocalSepError | OSError) -> NoReturn:
    """Say what went wrong, and end the command.

    Raises:
        typer.Exit: always.
    """
    if settings.debug:
        shown = "".join(traceback.format_exception(error))
        # The key is in no error; signed links may be in those of other libraries.
        typer.echo(_QUERY.sub(r"\1?…", shown).rstrip(), err=True)
    typer.echo(_sentence(error), err=True)
    raise typer.Exit(Exit.USAGE if isinstance(error, OSError) else status_of(error))


def _sentence(error: VocalSepError | OSError) -> str:
    if isinstance(error, OSError):
        return f"{error.filename or 'standard input'}: {error.strerror or error}"
    return str(error)


def _leave_the_pipe() -> NoReturn:
    """End quietly, as others do whose reader has gone."""
    # What is still in the buffer is written at exit, and would break the pipe again.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise typer.Exit(Exit.FAILED)


def _expected(leaves: Sequence[BaseException]) -> VocalSepError | OSError | None:
    """What users can do something about; None if some of it is a fault of the program."""
    found = [each for each in leaves if isinstance(each, (VocalSepError, OSError))]
    return found[0] if len(found) == len(leaves) else None


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """Task groups wrap what is raised in them."""
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    else:
        yield error

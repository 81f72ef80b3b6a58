"""Carrying a command out: what goes wrong becomes a sentence, and all of it an exit status."""

from __future__ import annotations

import re
import traceback
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
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
    with sentences(settings):
        status = anyio.run(work, stop)
    raise typer.Exit(Exit.INTERRUPTED if stop.is_wanted else status)


@contextmanager
def sentences(settings: Settings) -> Iterator[None]:
    """Run a block of which people are told in a sentence what goes wrong; it ends the command.

    Raises:
        typer.Exit: something did that users can do something about.
    """
    try:
        yield
    except Exception as error:
        leaves = list(_leaves(error))
        if any(isinstance(each, BrokenPipeError) for each in leaves):
            # As others end whose reader has gone.
            raise typer.Exit(Exit.FAILED) from None
        expected = _expected(leaves)
        if expected is None:
            raise
        fail(settings, expected)


def fail(settings: Settings, error: VocalSepError | OSError) -> NoReturn:
    """Say what went wrong, and end the command.

    Raises:
        typer.Exit: always.
    """
    if settings.debug:
        _say("".join(traceback.format_exception(error)))
    _say(_sentence(error))
    raise typer.Exit(status_of(error) if isinstance(error, VocalSepError) else Exit.USAGE)


def _say(text: str) -> None:
    # The key is in no error; signed links may be in those of other libraries.
    typer.echo(_QUERY.sub(r"\1?…", text).rstrip(), err=True)


def _sentence(error: VocalSepError | OSError) -> str:
    # Some errors of this package are timeouts, and so errors of the system too.
    if isinstance(error, VocalSepError):
        # A note may say that a call was billed all the same.
        return "\n".join((str(error), *getattr(error, "__notes__", ())))
    return f"{error.filename}: {error.strerror}" if error.filename else str(error)


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

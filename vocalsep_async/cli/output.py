"""Output of a command: results to standard output, messages and progress to standard error.

All output passes here, and here names and words from elsewhere lose what a terminal would act on:
ids, paths and messages may hold escape sequences, links of a terminal, or marks that turn text
around. The live display, whose own escape sequences must pass, does so itself.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

import anyio
import typer
from rich.console import Console
from rich.live import Live
from rich.style import Style
from rich.text import Text

from vocalsep_async import SeparationTask, TaskOutcome
from vocalsep_async._text import printable, printable_lines, shortened
from vocalsep_async.cli.activity import Snapshot
from vocalsep_async.cli.progress import format_line, render
from vocalsep_async.cli.wording import in_options

_LIVE_INTERVAL = 0.25
_LOG_INTERVAL = 5.0
_MAX_LINE = 10_000
"""Characters; links may be long."""
_WITHOUT_LINKS = ("dumb", "linux")
"""Terminals, by TERM, that may show the escape sequence of a link (OSC 8) as text."""
_MAX_NAMES = 4
"""Stems that one line names."""


class Output:
    """Standard output and standard error of a command.

    Args:
        is_quiet: whether only results, warnings and errors are written.

    Attributes:
        shows_progress: whether the progress of a batch is being shown.
    """

    def __init__(self, *, is_quiet: bool) -> None:
        self._is_quiet = is_quiet
        self.shows_progress: bool = False
        # Ids and file names are text, never markup.
        self._console = Console(
            stderr=True,
            highlight=False,
            markup=False,
            emoji=False,
            soft_wrap=True,
            # FORCE_COLOR and the like, which CI services set, make rich take a pipe for a terminal.
            force_terminal=None if _is_terminal(sys.stderr) else False,
        )

    def result(self, result: str | Mapping[str, Any]) -> None:
        """Write a line, or a JSON object on one line, to standard output.

        Raises:
            OSError: standard output is closed or full.
        """
        text = in_options(result) if isinstance(result, str) else json.dumps(_reworded(result))
        if sys.stdout is None:
            raise _output_error(errno.EBADF)
        try:
            # Not click's echo, which bypasses the live display of the same terminal.
            sys.stdout.write(f"{printable_lines(text)}\n")
            sys.stdout.flush()
        except OSError as error:
            _discard_output()
            raise _output_error(error.errno) from error

    def info(self, text: str) -> None:
        """Write a message to standard error, unless quiet."""
        if not self._is_quiet:
            self.warn(text)

    def warn(self, text: str) -> None:
        """Write a message to standard error, also when quiet."""
        self._console.print(printable_lines(in_options(text)))

    def ask(self, text: str) -> None:
        """Write the question that the next line of standard input answers, also when quiet."""
        self._console.print(printable_lines(text), end="")

    def file(self, what: str, path: Path) -> None:
        """Write where a file is to standard error, unless quiet; as a link where it is a terminal.

        The link is visible: many terminals open what looks like one, and ignore others.
        """
        if not self._console.is_terminal:
            self.info(f"{what}: {path.absolute()}")
        elif not self._is_quiet:
            url = path.absolute().as_uri()
            link = Style(link=url) if os.environ.get("TERM") not in _WITHOUT_LINKS else Style()
            self._console.print(Text(f"{what}: ").append(url, link))

    async def show_progress(self, snapshot: Callable[[], Snapshot]) -> None:
        """Show progress until cancelled: live on a terminal, else a line now and then."""
        if self._is_quiet:
            return
        self.shows_progress = True
        try:
            await (self._show_live if self._can_redraw() else self._show_lines)(snapshot)
        finally:
            self.shows_progress = False

    def _can_redraw(self) -> bool:
        # A terminal may be unable to move its cursor (TERM=dumb); a pipe may be said to be able to
        # (TTY_INTERACTIVE=1).
        return self._console.is_terminal and self._console.is_interactive

    async def _show_live(self, snapshot: Callable[[], Snapshot]) -> None:
        # Results appear above the display where both share a terminal. A standard output that
        # leads elsewhere must not be redirected to the terminal.
        with Live(
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=_is_terminal(sys.stdout),
            redirect_stderr=False,
        ) as live:
            while True:
                live.update(render(snapshot()), refresh=True)
                await anyio.sleep(_LIVE_INTERVAL)

    async def _show_lines(self, snapshot: Callable[[], Snapshot]) -> None:
        while True:
            await anyio.sleep(_LOG_INTERVAL)
            self.warn(format_line(snapshot()))


def print_error(text: str) -> None:
    """Write the error with which a command ends to standard error."""
    typer.echo(printable_lines(text), err=True)


def _reworded(result: Mapping[str, Any]) -> Mapping[str, Any]:
    """*result* with its reasons in the words of the command line, and all else as it is."""
    reason, not_saved = result.get("reason"), result.get("not_saved", {})
    if reason is None:
        return result
    words = {"reason": in_options(reason)}
    stems = {stem: in_options(why) for stem, why in not_saved.items()}
    return {**result, **words, **({"not_saved": stems} if stems else {})}


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty()


def _output_error(number: int | None) -> OSError:
    return OSError(number, os.strerror(number or errno.EIO), "standard output")


def _discard_output() -> None:
    # What is left in the buffer would be written at exit, and fail once more.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def outcome_line(outcome: TaskOutcome) -> str:
    """The result of a task on one line."""
    status = outcome.status or ("no status" if outcome.task_id else "no task")
    return printable(f"{_name(outcome)}  {status}  {_summary(outcome)}", _MAX_LINE)


def _name(outcome: TaskOutcome) -> str:
    if outcome.label is None or not outcome.task_id:
        return outcome.label or outcome.task_id
    return f"{outcome.label}  {shortened(outcome.task_id)}"


def _summary(outcome: TaskOutcome) -> str | None:
    task = outcome.task
    if task is None:
        return outcome.reason
    if outcome.succeeded:
        saved = "saved" if outcome.files else "ready"
        return f"{saved}: {_join_names(list(outcome.files) or list(dict(task.stems)))}"
    # The line already holds the id and the status, which the full reason would repeat.
    return (None if task.succeeded else task.error_message) or outcome.reason


def _join_names(stems: Sequence[str]) -> str:
    more = len(stems) - _MAX_NAMES
    return ", ".join(stems[:_MAX_NAMES]) + (f" and {more} more" if more > 0 else "")


def task_lines(task: SeparationTask) -> list[str]:
    """The state of a task on one line, and its links on one line each."""
    first = f"{task.task_id}  {task.status}"
    if task.error_message:
        first += f"  {task.error_message}"
    return [printable(each, _MAX_LINE) for each in (first, *_link_lines(dict(task.stems)))]


def _link_lines(stems: Mapping[str, str]) -> list[str]:
    width = max(map(len, stems), default=0)
    return [f"  {name:<{width}}  {link}" for name, link in stems.items()]


def task_to_dict(task: SeparationTask) -> dict[str, Any]:
    """The state of a task as plain JSON values, with whole links."""
    return {
        "task_id": task.task_id,
        "status": task.status,
        "stems": dict(task.stems),
        # A task that goes on has no reason to explain.
        "reason": task.reason if task.is_final else None,
        "created_at": _isoformat(task.created_at),
        "completed_at": _isoformat(task.completed_at),
    }


def _isoformat(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()

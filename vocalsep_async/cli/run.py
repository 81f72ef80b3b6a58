"""Runs a command: an event loop, errors as sentences, and a batch from its client to its report."""

from __future__ import annotations

import errno
import os
import shlex
import sys
import tempfile
import traceback
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import urlsplit

import anyio
import typer
from attrs import frozen

from vocalsep_async import (
    APIError,
    ConfigurationError,
    DecodeError,
    RateLimit,
    VocalSepClient,
    VocalSepError,
)
from vocalsep_async._text import counted, without_queries
from vocalsep_async.cli.activity import Activity, Snapshot
from vocalsep_async.cli.options import Settings
from vocalsep_async.cli.output import Output, print_error
from vocalsep_async.cli.process import ExitCode, StopSignal, exit_code_of_error
from vocalsep_async.cli.progress import missing_stems
from vocalsep_async.cli.view import BatchView, RunOptions
from vocalsep_async.cli.wording import in_options

if TYPE_CHECKING:
    from vocalsep_async.cli.recording import RunRecorder


# A command


def run_command(
    settings: Settings, command: Callable[[StopSignal], Awaitable[ExitCode]]
) -> NoReturn:
    """Run *command* in an event loop, and exit with its code.

    Raises:
        typer.Exit: always, except for a bug, whose error is raised as it is.
    """
    stop = StopSignal()
    with errors_as_sentences(settings):
        code = anyio.run(command, stop)
    raise typer.Exit(ExitCode.INTERRUPTED if stop.received else code)


@contextmanager
def errors_as_sentences(settings: Settings) -> Iterator[None]:
    """A block whose expected errors are printed as one sentence, and end the command.

    Raises:
        typer.Exit: the block raised an error of this package or of the operating system.
    """
    try:
        yield
    except Exception as error:
        leaves = list(_leaves(error))
        if any(isinstance(each, BrokenPipeError) for each in leaves):
            # Silent, as other programs are when the reader of a pipe has ended.
            raise typer.Exit(ExitCode.FAILED) from None
        expected = _first_expected(leaves)
        if expected is None:
            raise
        _fail(settings, expected)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    # Task groups wrap the errors that are raised in them.
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    else:
        yield error


def _first_expected(leaves: Sequence[BaseException]) -> VocalSepError | OSError | None:
    """The first error; None if one of them is a bug, which must not be hidden."""
    expected = [each for each in leaves if isinstance(each, (VocalSepError, OSError))]
    return expected[0] if len(expected) == len(leaves) else None


def _fail(settings: Settings, error: VocalSepError | OSError) -> NoReturn:
    if settings.debug:
        _print_error("".join(traceback.format_exception(error)))
        for line in _answers(error):
            _print_error(line)
    _print_error(_sentence(error))
    raise typer.Exit(
        exit_code_of_error(error) if isinstance(error, VocalSepError) else ExitCode.USAGE
    )


def _answers(error: BaseException | None) -> Iterator[str]:
    """What finds the answers behind *error* in logs of the provider, a line for each."""
    while error is not None:
        if isinstance(error, (APIError, DecodeError)) and error.response_headers:
            said = ", ".join(f"{name}: {value}" for name, value in error.response_headers.items())
            code = f"code {error.code}, " if isinstance(error, APIError) else ""
            yield f"The answer: {code}HTTP {error.http_status}, {said}"
        error = getattr(error, "last_error", None) or error.__cause__


def _print_error(text: str) -> None:
    # No error of this package holds the key; errors of other libraries may hold signed links.
    print_error("\n".join(map(without_queries, in_options(text).rstrip().split("\n"))))


def _sentence(error: VocalSepError | OSError) -> str:
    # First, because some errors of this package are a TimeoutError and so an OSError too.
    if isinstance(error, VocalSepError):
        # A note may say that a call was billed nevertheless.
        return "\n".join((str(error), *getattr(error, "__notes__", ())))
    return f"{error.filename}: {error.strerror}" if error.filename else str(error)


# A batch


@frozen
class BatchRun:
    """Tracks a batch until all tasks have an outcome or a signal stops it.

    Args:
        options: what to track.
        activity: listens to the events of the client.
        output: where to show it.
        stop: the signal.
    """

    _options: RunOptions
    _activity: Activity
    _output: Output
    _stop: StopSignal

    async def run(self, client: VocalSepClient) -> ExitCode:
        """Track with *client*; return the exit code.

        Raises:
            OSError: stems or the report cannot be written.
            VocalSepError: the batch could not be tracked.
        """
        report = self._options.report
        # Before the first request: an hour of polls should not end with an error of the disk.
        if self._options.download_to is not None:
            check_folder(self._options.download_to)
        if report is not None:
            check_file(report)
        async with AsyncExitStack() as stack:
            recorder = None
            if report is not None:
                recorder = await stack.enter_async_context(
                    recorder_for(client, self._options.limit, self._options.note)
                )
            view = BatchView(client, self._activity, self._options, self._output, recorder)
            code = ExitCode.INTERRUPTED
            with self._stop.scope():
                code = await view.run()
            # Before the report, which may wait for waveforms, or fail.
            self._print_end(view)
            if recorder is not None and report is not None:
                # An interrupted run gets its report too.
                with anyio.CancelScope(shield=True):
                    await recorder.write(report, wait_for_waveforms=not self._stop.received)
                self._output.file("report", report)
        return code

    def _print_end(self, view: BatchView) -> None:
        if self._stop.received:
            self._output.warn(self._interruption(view))
        elif view.stats is not None:  # pragma: no branch - an uninterrupted batch has ended
            self._output.info(summary(self._activity.snapshot(view.stats)))

    def _interruption(self, view: BatchView) -> str:
        if view.stats is None:
            return "interrupted before the batch started; run the same command again"
        journal = self._options.journal
        advice = (
            "progress is lost without --journal"
            if journal is None
            else f"progress is kept in {journal}: run the same command again to continue"
        )
        noun = self._activity.snapshot(view.stats).noun
        return f"interrupted with {counted(len(view.open_ids), noun)} still pending; {advice}"


def recorder_for(client: VocalSepClient, limit: RateLimit, note: str = "") -> RunRecorder:
    """What records a run of *client* for a report.

    Raises:
        ConfigurationError: a package that reports need is not installed.
    """
    try:
        # Imported late: its packages are large, and few runs need them.
        from vocalsep_async.cli.recording import RunRecorder  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"a report needs the package {error.name}, which is not installed: "
            'pip install "vocalsep-async[cli]"'
        ) from error
    host = urlsplit(client.base_url).hostname or ""
    return RunRecorder(command_line(sys.argv[1:]), host, limit, note)


def command_line(arguments: Sequence[str]) -> str:
    """The command as a shell takes it, without the logins and queries of links in it."""
    return shlex.join(["vocalsep", *map(without_queries, arguments)])


def summary(snapshot: Snapshot) -> str:
    """The counts of a finished batch on one line."""
    batch = snapshot.batch
    parts = [f"{counted(batch.finished, snapshot.noun)}: {snapshot.results}"]
    if snapshot.stems.missing:
        parts.append(missing_stems(snapshot.stems))
    elif snapshot.stems.saved:
        parts.append(f"{counted(snapshot.stems.saved, 'stem')} saved")
    parts.append(f"{counted(snapshot.requests, 'request')}, {snapshot.throttled:,} throttled")
    if batch.mean_delay is not None:
        parts.append(f"detected {batch.mean_delay:.1f} s after completion on average")
    return "; ".join(parts)


# Checks of the file system before a run

_NO_FOLDER = "a file is where a folder is needed: name another path, or move the file"


def check_folder(path: Path) -> None:
    """Create a folder if it does not exist, and check that files can be created in it.

    Raises:
        OSError: they cannot be created; the error names *path*.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise _with_path(path, error.errno) from None


def check_file(path: Path) -> None:
    """Check that a file can be written at *path*, and create its folder.

    Raises:
        OSError: it cannot be written; the error names *path*.
    """
    if path.is_dir():
        raise _with_path(path, errno.EISDIR)
    try:
        check_folder(path.parent)
    except OSError as error:
        raise _with_path(path, error.errno) from None


def _with_path(path: Path, number: int | None) -> OSError:
    # Of the system's words, "File exists" would sound as if the folder were there.
    is_file = number in (errno.EEXIST, errno.ENOTDIR)
    reason = _NO_FOLDER if is_file else os.strerror(number or errno.EIO)
    return OSError(number, reason, str(path))

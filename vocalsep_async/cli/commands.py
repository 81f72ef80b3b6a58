"""All commands of the command line; those that inspect a journal are in `journal`."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from attrs import evolve

from vocalsep_async import (
    InvalidArgumentError,
    SeparationType,
    TaskRef,
    VocalSepClient,
    __version__,
)
from vocalsep_async._songs.arguments import SONG_TEMPLATE
from vocalsep_async.cli import demo as demo_songs
from vocalsep_async.cli import journal as journal_commands
from vocalsep_async.cli import options
from vocalsep_async.cli.activity import Activity
from vocalsep_async.cli.inputs import TaskIds
from vocalsep_async.cli.log import log_shown_by
from vocalsep_async.cli.options import Settings
from vocalsep_async.cli.output import Output, task_lines, task_to_dict
from vocalsep_async.cli.process import ExitCode, StopSignal, worse
from vocalsep_async.cli.run import BatchRun, run_command
from vocalsep_async.cli.usage import Commands
from vocalsep_async.cli.view import RunOptions, Tasks
from vocalsep_async.emulator.__main__ import main as run_emulator

app: typer.Typer = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    # Typer's tracebacks can show local variables, which may hold links.
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(is_requested: bool) -> None:  # noqa: FBT001 - typer calls it with a position
    if is_requested:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    context: typer.Context,
    *,
    key_file: options.KeyFile = None,
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet", "-q", metavar="", help="Hide progress; print results and errors only."
        ),
    ] = False,
    debug: Annotated[
        bool,
        typer.Option(
            "--debug", metavar="", help="Print tracebacks of errors, and ids of requests."
        ),
    ] = False,
    provider: options.ProviderName = None,
    proxy: options.ProxyUrl = None,
    ca_file: options.CaFile = None,
    allow_private_hosts: options.AllowedHosts = None,
    _version: Annotated[
        bool,
        typer.Option(
            "--version",
            metavar="",
            help="Print the version and exit.",
            callback=_print_version,
            is_eager=True,
        ),
    ] = False,
) -> None:
    """Separate songs, track the tasks that do so, and save their stems.

    The API key comes from the environment variable VOCALSEP_API_KEY or from --key-file, never from
    an argument, which other users of the machine could see. VOCALSEP_BASE_URL sets another address
    of the API, VOCALSEP_UPLOAD_URL that of its upload host. Global options come before the command.

    Results are printed to standard output, everything else to standard error. VOCALSEP_LOG (debug,
    info or warning) adds the log, with times, to standard error.

    Exit status: 0 all tasks succeeded, 1 a task or a request failed, 2 wrong usage, 3 account
    rejected (invalid key, no credits), 4 timed out, 130 interrupted.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Names and reasons come from the server: a locale that cannot encode one of their
            # characters must not end a batch.
            stream.reconfigure(errors="backslashreplace")
    hosts = tuple(allow_private_hosts or ())
    context.obj = Settings(key_file, quiet, debug, provider, proxy, ca_file, hosts)


# Commands of one request


@app.command()
def get(
    context: typer.Context,
    task_id: Annotated[str, typer.Argument(metavar="ID", help="Task id.")],
    *,
    as_json: options.AsJson = False,
) -> None:
    """Poll a task once, and print its status and the links of its stems.

    The exit status is 1 if the task has failed, and 0 if it has succeeded or is not finished.
    """
    settings, output = _global_options(context)

    async def command(stop: StopSignal) -> ExitCode:
        # Stays so if a signal cancels the block.
        has_failed = False
        with stop.scope():
            async with settings.client() as client:
                task = await client.get_task(task_id)
            for each in [task_to_dict(task)] if as_json else task_lines(task):
                output.result(each)
            has_failed = task.is_final and not task.succeeded
        return ExitCode.FAILED if has_failed else ExitCode.SUCCEEDED

    run_command(settings, command)


@app.command()
def wait(
    context: typer.Context,
    ids: options.Ids,
    *,
    type_: options.TaskType = None,
    timeout: options.Timeout = None,
    as_json: options.AsJson = False,
) -> None:
    """Wait until tasks are finished, and print the outcome of each."""
    _track(context, ids, None, RunOptions(type=type_, timeout=timeout, as_json=as_json))


@app.command()
def track(
    context: typer.Context,
    ids: options.IdsOrStdin = None,
    *,
    file: options.IdFile = None,
    column: options.Column = None,
    type_: options.TaskType = None,
    timeout: options.Timeout = None,
    journal: options.JournalPath = None,
    to: options.To = None,
    stem: options.StemNames = None,
    template: options.Template = None,
    as_json: options.AsJson = False,
    report: options.Report = None,
    callbacks: options.CallbackPort = None,
) -> None:
    """Track many tasks at the same time, and print each outcome as soon as it is known.

    Ctrl-C or SIGTERM ends the command within two seconds. With --journal, the same command
    continues where it ended, and polls no finished task again.

    With --callbacks, the callbacks of the tasks are received on 127.0.0.1: forward their public
    address to that port. When a callback comes, its task is polled immediately.
    VOCALSEP_WEBHOOK_KEY verifies the signatures of kie.ai, VOCALSEP_CALLBACK_SECRET the addresses
    made by CallbackUrl.

    Examples:
        vocalsep track ID ID ID

        vocalsep track --file ids.txt --journal batch.journal --to stems --report report.html

        produce-ids | vocalsep track - --json | jq .stems.vocal
    """
    run_options = RunOptions(
        type=type_,
        timeout=timeout,
        journal=journal,
        download_to=to,
        stems=stem,
        template=template,
        as_json=as_json,
        report=report,
        callback_port=callbacks,
    )
    _track(context, ids or (), file, run_options, column)


@app.command()
def download(
    context: typer.Context,
    ids: options.IdsOrStdin = None,
    *,
    to: Annotated[Path, typer.Option("--to", help="Save the stems below this folder.")],
    file: options.IdFile = None,
    column: options.Column = None,
    stem: options.StemNames = None,
    template: options.Template = None,
    timeout: options.Timeout = None,
    as_json: options.AsJson = False,
    report: options.Report = None,
) -> None:
    """Save the stems of tasks, waiting for tasks that are not finished.

    A file appears only when it is complete. The same command again downloads only missing files.

    Example:
        vocalsep download ID --to stems --stem vocal --stem drums
    """
    run_options = RunOptions(
        timeout=timeout,
        download_to=to,
        stems=stem,
        template=template,
        as_json=as_json,
        report=report,
    )
    _track(context, ids or (), file, run_options, column)


@app.command()
def separate(
    context: typer.Context,
    sources: options.Sources,
    *,
    type_: options.SongType = SeparationType.SEPARATE_VOCAL,
    stem_name: options.StemName = None,
    to: options.StemsFolder = Path("stems"),
    stem: options.StemNames = None,
    template: options.SongTemplate = SONG_TEMPLATE,
    journal: options.SongJournal = None,
    max_credits: options.MaxCredits = None,
    yes: options.Agreed = False,
    dry_run: options.DryRun = False,
    on_uncertain: options.WhenUncertain = "report",
    resubmit: options.Resubmit = 0,
    timeout: options.Timeout = None,
    as_json: options.AsJson = False,
    report: options.Report = None,
) -> None:
    """Separate songs: upload them, create their tasks, wait, and save their stems. BILLED.

    Prints the cost and the credits of the account, and asks before it creates anything; without a
    terminal, agree with --yes. The journal beside the stems remembers what was paid for: after
    Ctrl-C, a crash or a failure, the same command continues where it stopped, and no song is
    created twice.

    A folder stands for the audio files in it and in the folders below it, but not for stems that
    were saved there. Paths in a list are relative to the folder of the list. Each song is named by
    its label or after its file; where two names are the same, the names of its folders are added.

    Examples:
        vocalsep separate song.mp3

        vocalsep separate songs/ --type split_stem --to stems --max-credits 500

        vocalsep separate songs.csv --dry-run
    """
    settings, output = _global_options(context)

    async def command(stop: StopSignal) -> ExitCode:
        # Imported late: no other command needs it.
        from vocalsep_async.cli.songs.run import SeparateOptions, SongRun  # noqa: PLC0415

        options.check_stems(stem or ())
        run_options = SeparateOptions(
            sources=sources,
            type=type_,
            stem_name=stem_name,
            to=to,
            stems=stem,
            template=template,
            journal=journal,
            max_credits=max_credits,
            is_agreed=yes,
            on_uncertain=on_uncertain,
            resubmit=resubmit,
            timeout=timeout,
            as_json=as_json,
            report=report,
        )
        run = SongRun(settings, run_options, output, stop)
        return await (run.quote_only() if dry_run else run.run())

    run_command(settings, command)


def _track(
    context: typer.Context,
    arguments: Sequence[str],
    file: Path | None,
    run_options: RunOptions,
    column: str | None = None,
) -> NoReturn:
    settings, output = _global_options(context)

    async def command(stop: StopSignal) -> ExitCode:
        ids = TaskIds(arguments, file, output.warn, column=column)
        # Without ids, a journal alone names the tasks.
        if not ids and run_options.journal is None:
            raise InvalidArgumentError(_no_ids(context))
        if run_options.stems and run_options.download_to is None:
            raise InvalidArgumentError("--stem selects stems to save: add --to with a folder")
        if run_options.template is not None and run_options.download_to is None:
            raise InvalidArgumentError("--template names files to save: add --to with a folder")
        options.check_stems(run_options.stems or ())
        activity = Activity()
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(settings.client(activity))
            tasks: Tasks = ids.all()
            if (port := run_options.callback_port) is not None:
                # Imported late: most runs receive no callbacks.
                from vocalsep_async.cli.listening import receiving  # noqa: PLC0415

                tasks = ids.with_callbacks()
                await stack.enter_async_context(
                    receiving(client, port, output, as_json=run_options.as_json)
                )
            run = BatchRun(evolve(run_options, tasks=tasks), activity, output, stop)
            code = await run.run(client)
        # A line that was skipped is a task that was not tracked.
        return worse(code, ExitCode.FAILED) if ids.skipped_lines else code

    run_command(settings, command)


def _no_ids(context: typer.Context) -> str:
    journal = ", or the --journal of an earlier run" if context.info_name == "track" else ""
    return f"no task ids: give ids, --file, - for standard input{journal}"


@app.command()
def create(
    context: typer.Context,
    *,
    callback_url: Annotated[
        str | None, typer.Option(help="URL to which the API posts the result.")
    ] = None,
    audio_url: Annotated[str | None, typer.Option(help="URL of the song.")] = None,
    source_task_id: Annotated[
        str | None,
        typer.Option(help="Music task that generated the song; used with --audio-id."),
    ] = None,
    audio_id: Annotated[str | None, typer.Option(help="Track of the music task.")] = None,
    type_: Annotated[
        SeparationType, typer.Option("--type", help="Type of separation.")
    ] = SeparationType.SEPARATE_VOCAL,
    stem_name: Annotated[
        str | None, typer.Option(help="Instrument to extract, for split_stem_advanced.")
    ] = None,
    journal: Annotated[
        Path | None,
        typer.Option(help="Record the request in this journal before it is sent, then the id."),
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Create a task and print its id. EVERY CALL IS BILLED, even for the same song.

    Example:
        vocalsep create --audio-url https://example.com/song.mp3 --type split_stem
    """
    settings, output = _global_options(context)

    async def command(stop: StopSignal) -> ExitCode:
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
        # Outside the scope: an id that was billed is printed even after a signal.
        for ref in created:
            output.result({"task_id": ref.task_id, "type": ref.type} if as_json else ref.task_id)
        if not created:
            output.warn("interrupted; the task may have been created and billed nevertheless")
        return ExitCode.SUCCEEDED

    run_command(settings, command)


@app.command("credits")
def credits_(context: typer.Context, *, as_json: options.AsJson = False) -> None:
    """Print the remaining credits of the account."""
    settings, output = _global_options(context)

    async def command(stop: StopSignal) -> ExitCode:
        with stop.scope():
            async with settings.client() as client:
                left = await client.get_credits()
            # Up to 15 digits, and so never an exponent where credits are counted one by one.
            output.result({"credits": left} if as_json else f"{left:.15g}")
        return ExitCode.SUCCEEDED

    run_command(settings, command)


app.add_typer(journal_commands.app, name="journal")


# Commands without an account


@app.command()
def callbacks(
    context: typer.Context,
    port: Annotated[
        int,
        typer.Argument(
            metavar="PORT", help="Port of 127.0.0.1; 0 for any that is free.", min=0, max=65_535
        ),
    ],
    *,
    as_json: options.AsJson = False,
) -> None:
    """Print each callback that arrives, until Ctrl-C, without any request to the API.

    A line holds the time, the task, the code, the status, whether the callback is verified or why
    not, and the seconds since the end of the task, if the callback says when that was.
    VOCALSEP_WEBHOOK_KEY verifies the signatures of kie.ai, VOCALSEP_CALLBACK_SECRET the addresses
    made by CallbackUrl.

    Example:
        vocalsep callbacks 8000
    """
    settings, output = _global_options(context)

    async def command(stop: StopSignal) -> ExitCode:
        # Imported late: it loads what only this command needs.
        from vocalsep_async.cli.callbacks import show_callbacks  # noqa: PLC0415

        with stop.scope():
            await show_callbacks(port, output, as_json=as_json)
        return ExitCode.SUCCEEDED

    run_command(settings, command)


@app.command()
def demo(
    context: typer.Context,
    *,
    to: Annotated[Path, typer.Option("--to", help="Folder for the stems and the report.")] = Path(
        "vocalsep-demo"
    ),
) -> None:
    """Separate a dozen songs on a local emulator, save the stems, write a report (15 seconds).

    No data leaves this machine, and no API key is needed.
    """
    settings, output = _global_options(context)

    async def command(stop: StopSignal) -> ExitCode:
        durations = await demo_songs.usual_durations()
        activity = Activity(expects_songs=True)
        async with (
            demo_songs.emulator() as emulator,
            VocalSepClient(
                demo_songs.KEY,
                base_url=emulator.url,
                rate_limit=demo_songs.LIMIT,
                poll=demo_songs.FasterPolls(demo_songs.SPEED),
                on_event=activity,
            ) as client,
        ):
            client.durations.update_from(durations)
            speed, limit = demo_songs.SPEED, demo_songs.REAL_LIMIT
            output.info(
                f"Emulating the API at {emulator.url}, {speed:g} times as fast as the real one, "
                f"which takes {limit.max_requests} requests per {limit.period:g} s.\n"
                f"Separating {len(demo_songs.TITLES)} songs; one fails on purpose:"
            )
            run_options = RunOptions(
                tasks=demo_songs.create_tasks(client),
                download_to=to,
                template=demo_songs.TEMPLATE,
                report=to / "report.html",
                limit=demo_songs.LIMIT,
                note=demo_songs.NOTE,
            )
            await BatchRun(run_options, activity, output, stop).run(client)
        # Whatever the outcomes: a song fails on purpose.
        return ExitCode.SUCCEEDED

    run_command(settings, command)


@app.command(
    # `--help` goes to the emulator's own parser.
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
)
def emulator(context: typer.Context) -> None:
    """Emulate the API on 127.0.0.1, for trials and tests; --help lists its own options."""
    raise typer.Exit(run_emulator(context.args, program="vocalsep emulator"))


def _global_options(context: typer.Context) -> tuple[Settings, Output]:
    settings: Settings = context.obj
    output = Output(is_quiet=settings.quiet)
    context.with_resource(log_shown_by(output))
    return settings, output

"""The command line (extra ``cli``)."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Annotated

import typer

from vocalsep_async import __version__
from vocalsep_async.cli import ask, journal
from vocalsep_async.cli.demo import demo
from vocalsep_async.cli.options import Settings
from vocalsep_async.cli.track import download, track, wait
from vocalsep_async.emulator.__main__ import main as serve

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:  # noqa: FBT001 - so typer calls it
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    context: typer.Context,
    *,
    key_file: Annotated[
        Path | None,
        typer.Option(help="Read the API key from this file, which only you may read."),
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Show no progress; results and errors only.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error comes from.")] = False,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version and exit.", callback=_show_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Track vocal-separation tasks, and save their stems.

    The API key comes from the environment variable VOCALSEP_API_KEY, or from --key-file; never
    from an argument, which other users of the machine can see. VOCALSEP_BASE_URL names another
    address of the API.

    Results go to standard output, all else to standard error.

    Exit status: 0 all succeeded, 1 some task failed, 2 wrong usage, 3 refused by the account (key,
    credits), 4 timed out, 130 interrupted.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Names and reasons come from the server; no locale may end a batch over them.
            stream.reconfigure(errors="backslashreplace")
    context.obj = Settings(key_file, quiet, debug)


app.command()(ask.get)
app.command()(wait)
app.command()(track)
app.command()(download)
app.command()(ask.create)
app.command("credits")(ask.credits_)
app.add_typer(journal.app, name="journal")
app.command()(demo)


@app.command(
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
)
def emulator(context: typer.Context) -> None:
    """Speak the API on 127.0.0.1, for trials and tests; --help shows its own options."""
    raise typer.Exit(serve(context.args, program="vocalsep emulator"))

"""The command line (extra ``cli``)."""

import anyio
import typer

from vocalsep_async.cli import journal
from vocalsep_async.cli.demo import run_demo
from vocalsep_async.cli.track import track

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_show_locals=False)
app.add_typer(journal.app, name="journal")
app.command()(track)


@app.callback()
def _root() -> None:
    """Track vocal-separation tasks."""


@app.command()
def demo() -> None:
    """Separate a dozen songs on a local emulator, and show how the waits went (under 30 s)."""
    anyio.run(run_demo)

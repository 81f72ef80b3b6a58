"""The manual, generated from the commands: ``python -m vocalsep_async.cli.manual``."""

from __future__ import annotations

import re
import sys

import typer
from typer.cli import get_docs_for_click

from vocalsep_async.cli import app

_NAME = "vocalsep"
_EXAMPLES = re.compile(r"^(Examples?:)\n(?=    )", re.MULTILINE)


def manual() -> str:
    """The manual of all commands, as Markdown."""
    command = typer.main.get_command(app)
    context = typer.Context(command, info_name=_NAME)
    markdown = get_docs_for_click(obj=command, ctx=context, name=_NAME)
    lines = "\n".join(map(str.rstrip, markdown.splitlines()))
    # Indented lines are a code block only after a blank line.
    return _EXAMPLES.sub(r"\1\n\n", lines).rstrip() + "\n"


if __name__ == "__main__":
    sys.stdout.write(manual())

"""The manual, generated from the commands: ``python -m vocalsep_async.cli.manual``."""

from __future__ import annotations

import re
import sys

import typer
from typer.cli import get_docs_for_click

from vocalsep_async.cli import app
from vocalsep_async.emulator.__main__ import options

_NAME = "vocalsep"
_EMULATOR = "$ vocalsep emulator [OPTIONS]\n```\n"
"""The usage of the one command with a parser of its own, which Typer knows nothing of."""
_EXAMPLES = re.compile(r"^(Examples?:)\n(?=    )", re.MULTILINE)


def manual() -> str:
    """The manual of all commands, as Markdown."""
    command = typer.main.get_command(app)
    context = typer.Context(command, info_name=_NAME)
    markdown = get_docs_for_click(obj=command, ctx=context, name=_NAME)
    lines = "\n".join(map(str.rstrip, markdown.splitlines()))
    # Indented lines are a code block only after a blank line.
    lines = lines.replace(_EMULATOR, _EMULATOR + _options_of_the_emulator())
    return _EXAMPLES.sub(r"\1\n\n", lines).rstrip() + "\n"


def _options_of_the_emulator() -> str:
    listed = (f"* `{name}`: {meaning[0].upper()}{meaning[1:]}.\n" for name, meaning in options())
    return f"\n**Options**:\n\n{''.join(listed)}"


if __name__ == "__main__":
    sys.stdout.write(manual())

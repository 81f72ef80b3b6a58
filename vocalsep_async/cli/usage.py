"""How a command line is read: errors of usage that can be printed, and an optional value."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from typing import Any

import typer
from typer.core import TyperGroup

from vocalsep_async._text import printable_lines, without_tokens
from vocalsep_async.cli.wording import without_logins

ALLOW_HOSTS = "--allow-private-hosts"
ALL_HOSTS = "all"
"""The value of `ALLOW_HOSTS` without a network."""
_UsageError: Any = typer.BadParameter.__base__
"""Typer brings its own click, or uses the one that is installed, depending on its version."""


_LINE_END = re.compile(r"(?<=\S)\n(?=\S)")
"""Within a paragraph; lines that begin with a blank, as examples do, are kept."""


class Commands(TyperGroup):
    """The commands of the program, as a group whose errors of usage can be printed."""

    def main(self, *arguments: Any, **options: Any) -> Any:
        """Read the command line, and run the command."""
        if not os.environ.get("COLUMNS", "").strip("0 "):
            # A terminal without a width is said to have one of 0, in which nothing would be shown.
            os.environ.pop("COLUMNS", None)
        for command in (self, *self.commands.values()):
            command.help = _flowing(command.help or "")
        return super().main(*arguments, **options)

    def make_context(
        self, info_name: Any, args: list[str], parent: Any = None, **extra: Any
    ) -> Any:
        """Read the global options."""
        with self._explained():
            return super().make_context(info_name, _completed(args, self.commands), parent, **extra)

    def invoke(self, ctx: Any) -> Any:
        """Read the options of the command, and run it."""
        with self._explained(), self._located(ctx):
            return super().invoke(ctx)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except _UsageError as error:
            # It repeats words of the command line, whatever they do to a terminal.
            error.message = printable_lines(without_tokens(without_logins(error.message)))
            raise

    @contextmanager
    def _located(self, context: Any) -> Iterator[None]:
        try:
            yield
        except _UsageError as error:
            name = getattr(error, "option_name", None)
            if any(name in each.opts for each in self.params):
                place = f"it belongs before the command: {context.info_name} {name} …"
                error.message = f"{error.message.rstrip('.')}; {place}"
            raise


def _flowing(text: str) -> str:
    """*text* with each paragraph in one line, which the help wraps to the width of the terminal."""
    # Otherwise it wraps each line by itself, and most of them in two, since sources are wider.
    return _LINE_END.sub(" ", inspect.cleandoc(text))


def _completed(words: Sequence[str], commands: Collection[str]) -> list[str]:
    """*words* with a value for each `ALLOW_HOSTS` that has none."""
    return [
        f"{word}={ALL_HOSTS}"
        if word == ALLOW_HOSTS and (after is None or after in commands or after.startswith("-"))
        else word
        for word, after in zip_longest(words, words[1:])
    ]
